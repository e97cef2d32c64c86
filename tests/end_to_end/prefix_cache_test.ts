// SPDX-License-Identifier: Apache-2.0
// Requests that begin alike, on the real engine.
import { assert, assertEquals, assertLess } from "@std/assert";
import OpenAI from "openai";
import { documents4096 } from "../fixtures/documents.ts";
import { TestServer } from "../fixtures/server.ts";

Deno.test("questions about one document run it once, and are answered as without a cache", async () => {
  const asked = (await documents4096()).find((each) => each.questions.length > 1)!;
  const [first, ...others] = asked.questions;
  const ask = async (openai: OpenAI, question: string) => {
    const started = performance.now();
    const { choices, usage } = await openai.chat.completions.create({
      model: "recall",
      temperature: 0,
      max_tokens: 100,
      messages: [{ role: "user", content: asked.document + question }],
    });
    const ms = performance.now() - started;
    const { cached_tokens } = usage!.prompt_tokens_details!;
    return { text: choices[0]!.message.content, prompt: usage!.prompt_tokens, cached_tokens, ms };
  };
  const answers = async (flags: string[]) => {
    await using server = new TestServer(["--memory", "2GiB", ...flags]);
    const baseURL = `${await server.ready()}/v1`;
    const openai = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
    const cold = await ask(openai, first!.question);
    const rest = await Promise.all(others.map(({ question }) => ask(openai, question)));
    return [cold, ...rest, await ask(openai, first!.question)];
  };
  const cached = await answers([]);
  const alone = await answers(["--no-prefix-cache"]);
  assertEquals(cached.map(({ text }) => text), alone.map(({ text }) => text));
  assert(alone.every(({ cached_tokens }) => cached_tokens === 0));
  const [cold, ...warm] = cached;
  assertEquals(cold!.cached_tokens, 0);
  for (const { cached_tokens, prompt } of warm) assertLess(prompt - cached_tokens!, 200);
  assertEquals(warm.at(-1)!.cached_tokens, cold!.prompt - 1);
  assertLess(3 * warm.at(-1)!.ms, cold!.ms);
});

Deno.test("with --deterministic a cached prefix and another length of steps change no bit", async () => {
  const asked = (await documents4096()).find((each) => each.questions.length > 1)!;
  const logprobs = async (flags: string[], questions: typeof asked.questions) => {
    await using server = new TestServer(["--memory", "2GiB", "--deterministic", ...flags]);
    const baseURL = `${await server.ready()}/v1`;
    const openai = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
    let last: unknown;
    for (const { question } of questions) {
      const { choices, usage } = await openai.chat.completions.create({
        model: "recall",
        temperature: 0,
        max_tokens: 100,
        logprobs: true,
        messages: [{ role: "user", content: asked.document + question }],
      });
      last = {
        cached: usage!.prompt_tokens_details!.cached_tokens! > 0,
        logprobs: choices[0]!.logprobs!.content!.map(({ logprob }) => logprob),
      };
    }
    return last as { cached: boolean; logprobs: number[] };
  };
  const warm = await logprobs([], asked.questions.slice(0, 2));
  const cold = await logprobs(["--step-ms", "3"], asked.questions.slice(1, 2));
  assertEquals([warm.cached, cold.cached], [true, false]);
  assertEquals(warm.logprobs, cold.logprobs);
});
