// SPDX-License-Identifier: Apache-2.0
/** The official client puts streamed calls together, in the dialect of each family. */
import OpenAI from "openai";
import { assertEquals } from "@std/assert";
import type { DialectName } from "../../src/tools/dialect.ts";
import { FakeService, speak } from "../fixtures/fake_service.ts";
import { appOver, serving } from "./client.ts";

const PARIS = '{"city": "Paris"}';
const ANSWERS: Record<DialectName, string> = {
  hermes: `<tool_call>\n{"name": "f", "arguments": ${PARIS}}\n</tool_call>\n` +
    '<tool_call>{"name": "g"}</tool_call>',
  llama: `{"name": "f", "parameters": ${PARIS}}; {"name": "g", "parameters": {}}`,
  mistral: `[TOOL_CALLS] [{"name": "f", "arguments": ${PARIS}}, {"name": "g", "arguments": {}}]`,
  mistral_args: `[TOOL_CALLS]f[ARGS]${PARIS}[TOOL_CALLS]g[ARGS]{}`,
  json: `{"name": "f", "arguments": ${PARIS}}\n{"name": "g", "arguments": {}}`,
};

Deno.test("openai: streamed and whole calls of every dialect, two choices side by side", async () => {
  for (const [dialect, answer] of Object.entries(ANSWERS) as [DialectName, string][]) {
    const service = new FakeService(speak([...answer]));
    service.info = { ...service.info, toolDialect: dialect };
    await serving(appOver(service), async (base) => {
      const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 0 });
      const request = {
        model: "fake/model",
        n: 2,
        messages: [{ role: "user" as const, content: "hi" }],
        tools: ["f", "g"].map((name) => ({ type: "function" as const, function: { name } })),
      };
      const streamed = await client.chat.completions.stream(request).finalChatCompletion();
      const whole = await client.chat.completions.create(request);
      for (const { choices } of [streamed, whole]) {
        for (const { message, finish_reason } of choices) {
          assertEquals(finish_reason, "tool_calls");
          assertEquals(
            message.tool_calls?.map((call) =>
              call.type === "function" && [call.function.name, call.function.arguments]
            ),
            [["f", PARIS], ["g", "{}"]],
            dialect,
          );
        }
      }
    });
  }
});
