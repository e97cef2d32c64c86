// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes } from "@std/assert";
import { FakeService } from "../fixtures/fake_service.ts";
import { appOver, failed, type Json, ok, post } from "./client.ts";

const messages = [{ role: "user", content: "hi" }];

/** The logprob of the token that stands at each place. */
function own(entries: Json[], tokens: readonly number[]): (number | null)[] {
  return entries.map((entry, i) => entry && entry[tokens[i]!].logprob);
}

Deno.test("prompt_logprobs of a chat stand beside the choices", async () => {
  const service = new FakeService();
  const answer = await ok(
    await post(appOver(service), "/v1/chat/completions", { messages, prompt_logprobs: 2 }),
  );
  const { prompt, scorePrompt, logprobs } = service.requests[0]!;
  assertEquals([scorePrompt, logprobs], [2, null]);
  assertEquals(own(answer.prompt_logprobs, [...prompt]), [null, -1, -2, -3, -4, -5, -6, -7, -8]);
  assertEquals(answer.choices[0].message.content, "Hello, world");
});

Deno.test("prompt_logprobs of completions stand in each choice of their prompt", async () => {
  const answer = await ok(
    await post(appOver(new FakeService()), "/v1/completions", {
      prompt: [[1, 2, 3], [4, 5]],
      n: 2,
      max_tokens: 0,
      prompt_logprobs: 0,
    }),
  );
  const scores = answer.choices.map((choice: Json) => choice.prompt_logprobs);
  assertEquals(scores.map((entries: Json[]) => entries.length), [3, 3, 2, 2]);
  assertEquals(own(scores[3], [4, 5]), [null, -1]);
  assertEquals(answer.choices.map((choice: Json) => choice.text), ["", "", "", ""]);
});

Deno.test("echo, logprobs and prompt_logprobs each show as many alternatives as they ask for", async () => {
  const service = new FakeService();
  const answer = await ok(
    await post(appOver(service), "/v1/completions", {
      prompt: [1, 2],
      echo: true,
      logprobs: 1,
      prompt_logprobs: 3,
    }),
  );
  const [{ logprobs, prompt_logprobs: scores }] = answer.choices;
  assertEquals(service.requests[0]!.scorePrompt, 3);
  assertEquals(Object.keys(logprobs.top_logprobs[1]).length, 1);
  assertEquals(Object.keys(scores[1]).length, 3);
});

Deno.test("without echo, the completion's own logprobs leave the scored prompt out", async () => {
  const answer = await ok(
    await post(appOver(new FakeService()), "/v1/completions", {
      prompt: [1, 2],
      logprobs: 0,
      prompt_logprobs: 0,
    }),
  );
  assertEquals(answer.choices[0].logprobs.tokens, ["Hello", ", ", "world"]);
});

Deno.test("prompt_logprobs in a stream are refused, as vLLM does", async () => {
  const error = await failed(
    await post(appOver(new FakeService()), "/v1/completions", {
      prompt: "hi",
      stream: true,
      prompt_logprobs: 1,
    }),
    400,
  );
  assertEquals(error.param, "prompt_logprobs");
  assertStringIncludes(error.message, "stream");
});
