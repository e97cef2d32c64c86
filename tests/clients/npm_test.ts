// SPDX-License-Identifier: Apache-2.0
// npm's clients against the real server: each streams, cancels, and gets an object that fits its schema.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { assert, assertEquals, assertLess } from "@std/assert";
import { embedMany, generateText, Output, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { TestServer } from "../fixtures/server.ts";

const QUESTION =
  "Ada keeps the lamp. The secret code for the harbour gate is: 5273107. Ben rows.\n" +
  "What is the secret code for the harbour gate?";
const ANSWER = "The secret code for the harbour gate is: 5273107.";
const messages = [{ role: "user" as const, content: QUESTION }];
const Paint = z.object({
  colour: z.enum(["red", "green", "blue"]),
  coats: z.int().min(1).max(9),
});
/** Goes on for many seconds unless somebody ends it. */
const ENDLESS = { max_tokens: 8000, ignore_eos: true };

async function running(url: string): Promise<number> {
  return (await (await fetch(`${url}/health`)).json()).running;
}

/** The server notices that the client left, long before the answer would have ended. */
async function expectCancelled(url: string, leave: () => void): Promise<void> {
  assertEquals(await running(url), 1);
  leave();
  await expectIdle(url);
}

async function expectIdle(url: string): Promise<void> {
  const deadline = performance.now() + 3000;
  while (await running(url) > 0) {
    assertLess(performance.now(), deadline, "the server still runs what nobody reads");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("npm's clients", async (t) => {
  const args = ["--memory", "1GiB", "--quiet"];
  await using server = new TestServer(args, { SOUNDER_API_KEY: "secret" });
  const url = await server.ready();
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "secret", maxRetries: 0 });
  const provider = createOpenAICompatible({
    name: "sounder",
    baseURL: `${url}/v1`,
    apiKey: "secret",
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  const model = provider("recall");

  await t.step("openai streams a chat", async () => {
    const stream = client.chat.completions.stream({ model: "recall", messages, temperature: 0 });
    assertEquals(await stream.finalContent(), ANSWER);
  });

  await t.step("openai cancels a stream", async () => {
    const body = { model: "recall", messages, stream: true as const, ...ENDLESS };
    const stream = await client.chat.completions.create(body);
    for await (const _ of stream) break;
    await expectIdle(url);
    const again = await client.chat.completions.create(body);
    const iterator = again[Symbol.asyncIterator]();
    await iterator.next();
    await expectCancelled(url, () => again.controller.abort());
  });

  await t.step("openai parses an object", async () => {
    const completion = await client.chat.completions.parse({
      model: "recall",
      messages,
      temperature: 0,
      max_tokens: 64,
      response_format: zodResponseFormat(Paint, "paint"),
    });
    assert(Paint.safeParse(completion.choices[0]!.message.parsed).success);
  });

  await t.step("openai streams a call of a tool", async () => {
    const stream = client.chat.completions.stream({
      model: "recall",
      messages,
      temperature: 0,
      max_tokens: 128,
      parallel_tool_calls: false,
      tools: [zodFunction({ name: "paint", parameters: Paint })],
      tool_choice: "required",
    });
    const [call] = (await stream.finalChatCompletion()).choices[0]!.message.tool_calls!;
    assert(call?.type === "function" && call.function.name === "paint");
    assert(Paint.safeParse(call.function.parsed_arguments).success);
  });

  await t.step("openai streams a response", async () => {
    const body = { model: "recall", input: QUESTION, temperature: 0 };
    const final = await client.responses.stream(body).finalResponse();
    assertEquals(final.output_text, ANSWER);
  });

  await t.step("ai streams a text, with usage", async () => {
    const result = streamText({ model, prompt: QUESTION, temperature: 0, maxRetries: 0 });
    let text = "";
    for await (const part of result.textStream) text += part;
    assertEquals([text, await result.finishReason], [ANSWER, "stop"]);
    assert((await result.usage).outputTokens! > 0);
  });

  await t.step("ai cancels a stream", async () => {
    const abort = new AbortController();
    const result = streamText({
      model,
      prompt: QUESTION,
      maxOutputTokens: ENDLESS.max_tokens,
      providerOptions: { sounder: { ignore_eos: true } },
      abortSignal: abort.signal,
      maxRetries: 0,
    });
    const reader = result.textStream.getReader();
    await reader.read();
    await expectCancelled(url, () => abort.abort());
    await reader.cancel().catch(() => {});
  });

  await t.step("ai generates an object", async () => {
    const { output } = await generateText({
      model,
      output: Output.object({ schema: Paint }),
      prompt: QUESTION,
      temperature: 0,
      maxOutputTokens: 64,
      maxRetries: 0,
    });
    assert(Paint.safeParse(output).success);
  });

  await t.step("ai calls a tool", async () => {
    const { toolCalls, finishReason } = await generateText({
      model,
      tools: { paint: tool({ description: "Paints", inputSchema: Paint }) },
      toolChoice: "required",
      prompt: QUESTION,
      temperature: 0,
      maxOutputTokens: 128,
      providerOptions: { sounder: { parallel_tool_calls: false } },
      maxRetries: 0,
    });
    assertEquals([toolCalls[0]?.toolName, finishReason], ["paint", "tool-calls"]);
    assert(Paint.safeParse(toolCalls[0]!.input).success);
  });

  await t.step("ai embeds texts", async () => {
    const { embeddings } = await embedMany({
      model: provider.embeddingModel("recall"),
      values: ["One", "Two"],
      maxRetries: 0,
    });
    assertEquals(embeddings.length, 2);
    assert(embeddings[0]!.length > 100);
  });
});
