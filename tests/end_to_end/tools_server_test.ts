// SPDX-License-Identifier: Apache-2.0
// Tools and objects through the clients that people use, against the server as a user starts it. The model is far too
// small to choose wisely: what must hold whatever the weights is that calls and objects fit.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, isStepCount, streamText, tool } from "ai";
import { assert, assertEquals } from "@std/assert";
import OpenAI from "openai";
import { zodFunction } from "openai/helpers/zod";
import { z } from "zod";
import { TestServer } from "../fixtures/server.ts";

const Weather = z.object({
  city: z.enum(["Paris", "Oslo", "Lima"]),
  days: z.number().int().min(1).max(7),
});
const Mail = z.object({ to: z.string().max(12), urgent: z.boolean() });
const tools = [
  zodFunction({ name: "get_weather", description: "The weather to come", parameters: Weather }),
  zodFunction({ name: "send_mail", parameters: Mail }),
];
const SCHEMAS: Record<string, z.ZodType> = { get_weather: Weather, send_mail: Mail };

// It would remind us that generateObject has a successor; clients call it all the same.
(globalThis as { AI_SDK_LOG_WARNINGS?: boolean }).AI_SDK_LOG_WARNINGS = false;

type Call = OpenAI.ChatCompletionMessageToolCall;

function check(calls: readonly Call[] | undefined): void {
  assert(calls !== undefined && calls.length > 0);
  for (const call of calls) {
    assert(call.type === "function" && call.id.startsWith("call_"));
    SCHEMAS[call.function.name]!.parse(JSON.parse(call.function.arguments));
  }
}

Deno.test("calls and objects hold through real clients", async (t) => {
  await using server = new TestServer(["--memory", "2GiB"]);
  const url = await server.ready();
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "How is the weather in Oslo?" }];
  const asked = { model: "recall", messages, tools, max_tokens: 300, seed: 1 };

  await t.step("openai: required and named calls, whole", async () => {
    for (let seed = 0; seed < 4; seed++) {
      const answer = await openai.chat.completions.create({
        ...asked,
        seed,
        temperature: seed / 2,
        parallel_tool_calls: false,
        tool_choice: seed % 2 === 0
          ? "required"
          : { type: "function", function: { name: "send_mail" } },
      });
      const { finish_reason, message } = answer.choices[0]!;
      assertEquals([finish_reason, message.content], ["tool_calls", null]);
      check(message.tool_calls);
      if (seed % 2 === 1) {
        assertEquals(
          message.tool_calls!.map((call) => (call as { function: { name: string } }).function.name),
          [
            "send_mail",
          ],
        );
      }
    }
  });

  await t.step("openai: the stream helper puts calls together, and parses them", async () => {
    const stream = openai.chat.completions.stream({
      ...asked,
      parallel_tool_calls: false,
      tool_choice: "required",
    });
    const started: string[] = [];
    stream.on("tool_calls.function.arguments.done", ({ name }) => started.push(name));
    const answer = await stream.finalChatCompletion();
    const { message } = answer.choices[0]!;
    check(message.tool_calls);
    assertEquals(started.length, message.tool_calls!.length);
    const [call] = message.tool_calls!;
    assert(call!.type === "function" && call!.function.parsed_arguments !== null);
  });

  await t.step("openai: a call and its result go back into the conversation", async () => {
    const first = await openai.chat.completions.create({
      ...asked,
      parallel_tool_calls: false,
      tool_choice: "required",
    });
    const { message } = first.choices[0]!;
    const answer = await openai.chat.completions.create({
      ...asked,
      tool_choice: "none",
      max_tokens: 8,
      messages: [
        ...messages,
        message,
        { role: "tool", tool_call_id: message.tool_calls![0]!.id, content: "sunny" },
      ],
    });
    assert(typeof answer.choices[0]!.message.content === "string");
    assertEquals(answer.choices[0]!.message.tool_calls, undefined);
  });

  await t.step("openai: tools beside a format", async () => {
    const answer = await openai.chat.completions.create({
      ...asked,
      response_format: {
        type: "json_schema",
        json_schema: {
          name: "x",
          strict: true,
          schema: {
            type: "object",
            properties: { ok: { type: "boolean" } },
            required: ["ok"],
            additionalProperties: false,
          },
        },
      },
    });
    const { message } = answer.choices[0]!;
    if (message.tool_calls === undefined) {
      assertEquals(typeof JSON.parse(message.content!).ok, "boolean");
    } else check(message.tool_calls);
  });

  const provider = createOpenAICompatible({
    name: "sounder",
    baseURL: `${url}/v1`,
    supportsStructuredOutputs: true,
    includeUsage: true,
  });
  const model = provider("recall");

  await t.step("ai: generateObject", async () => {
    const { object, usage } = await generateObject({
      model,
      schema: Weather,
      prompt: "Weather?",
      seed: 3,
    });
    Weather.parse(object);
    assert(usage.totalTokens! > 0);
  });

  await t.step("ai: a tool is called and its result answered, streamed and not", async () => {
    const called: unknown[] = [];
    const weather = tool({
      description: "The weather to come",
      inputSchema: Weather,
      execute: (input) => {
        called.push(Weather.parse(input));
        return "sunny";
      },
    });
    const request = {
      model,
      tools: { weather },
      toolChoice: { type: "tool" as const, toolName: "weather" as const },
      prompt: "How is the weather in Oslo?",
      maxOutputTokens: 300,
      stopWhen: isStepCount(1),
    };
    const whole = await generateText(request);
    assertEquals(whole.finishReason, "tool-calls");
    assertEquals(whole.toolResults.map(({ output }) => output), ["sunny"]);
    const stream = streamText(request);
    assertEquals((await stream.toolResults).map(({ output }) => output), ["sunny"]);
    assertEquals(await stream.finishReason, "tool-calls");
    assertEquals(called.length, 2);
  });
});
