// SPDX-License-Identifier: Apache-2.0
/** Tools in chat: what is understood, what the template gets, and the answer's shape. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { DialectName } from "../../src/tools/dialect.ts";
import { FakeService, speak } from "../fixtures/fake_service.ts";
import { appOver, chunksOf, failed, type Json, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];
const parameters = { type: "object", properties: { city: { type: "string" } } };
const weather = {
  type: "function",
  function: { name: "get_weather", description: "Weather", parameters, strict: true },
};
const now = { type: "function", function: { name: "now" } };
const tools = [weather, now];
const CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>';

function serviceOf(answer: string, dialect: DialectName = "hermes"): FakeService {
  const service = new FakeService(speak([...answer]));
  service.info = { ...service.info, toolDialect: dialect };
  return service;
}

async function ask(service: FakeService, fields: Json = {}): Promise<Json> {
  return await ok(await post(appOver(service), CHAT, { messages, tools, ...fields }));
}

async function deltasOf(service: FakeService, fields: Json = {}): Promise<Json[]> {
  const response = await post(appOver(service, { pingSeconds: 0 }), CHAT, {
    messages,
    tools,
    stream: true,
    ...fields,
  });
  return chunksOf(await response.text()).flatMap((chunk) => chunk.choices);
}

Deno.test("a whole answer with calls: no content, ids, and tool_calls as the reason", async () => {
  const { choices: [choice] } = await ask(serviceOf(`${CALL}\n${CALL}`));
  assertEquals(choice.finish_reason, "tool_calls");
  assertEquals(choice.message.content, null);
  const calls = choice.message.tool_calls;
  assertEquals(calls.map(({ id: _, ...call }: Json) => call), [
    { type: "function", function: { name: "get_weather", arguments: '{"city": "Paris"}' } },
    { type: "function", function: { name: "get_weather", arguments: '{"city": "Paris"}' } },
  ]);
  assertMatch(calls[0].id, /^call_[0-9a-f]{32}$/);
  assert(calls[0].id !== calls[1].id);
});

Deno.test("text beside a call is content; without a call nothing changes", async () => {
  const both = await ask(serviceOf(`Let me look. ${CALL}`));
  assertEquals(both.choices[0].message.content, "Let me look.");
  assertEquals(both.choices[0].message.tool_calls.length, 1);
  const text = await ask(serviceOf("Hello <tool_call> world"));
  assertEquals(text.choices[0].message, {
    role: "assistant",
    content: "Hello <tool_call> world",
    refusal: null,
  });
  assertEquals(text.choices[0].finish_reason, "stop");
});

Deno.test("a stream says id, type and name once, then pieces of the arguments", async () => {
  const deltas = await deltasOf(serviceOf(`Hm. ${CALL}\n${CALL}`));
  const { role, content, refusal } = deltas[0].delta;
  assertEquals([role, content, refusal], ["assistant", "H", null]);
  assertEquals(deltas.filter(({ delta }) => "role" in delta).length, 1);
  const calls = deltas.flatMap(({ delta }) => delta.tool_calls ?? []);
  const starts = calls.filter((call) => "id" in call);
  assertEquals(
    starts.map(({ id: _, ...start }) => start),
    [0, 1].map((index) => ({
      index,
      type: "function",
      function: { name: "get_weather", arguments: "" },
    })),
  );
  for (const call of calls) {
    if ("id" in call) continue;
    // Clients take a null id, type or name for another call.
    assertEquals(Object.keys(call), ["index", "function"]);
    assertEquals(Object.keys(call.function), ["arguments"]);
  }
  for (const index of [0, 1]) {
    const pieces = calls.filter((call) => call.index === index);
    assertEquals(pieces.map((call) => call.function.arguments).join(""), '{"city": "Paris"}');
    assert(pieces.length > 5);
  }
  assertEquals(deltas.map(({ delta }) => delta.content ?? "").join(""), "Hm.");
  assertEquals(deltas.map((choice) => choice.finish_reason).filter((reason) => reason), [
    "tool_calls",
  ]);
});

Deno.test("a stream that starts with a call has no content in its first delta", async () => {
  const [first] = await deltasOf(serviceOf(CALL));
  assertEquals([first.delta.role, first.delta.content], ["assistant", null]);
  assertEquals(first.delta.tool_calls[0].function.name, "get_weather");
});

Deno.test("an answer that was cut says length, calls or not", async () => {
  const service = new FakeService(speak([...CALL.slice(0, 60)], "length"));
  const { choices: [choice] } = await ask(service);
  assertEquals(choice.finish_reason, "length");
  assertEquals(choice.message.tool_calls.length, 1);
});

Deno.test("log-probabilities of all tokens come, those of a call with its deltas", async () => {
  const fields = { logprobs: true };
  const whole = await ask(serviceOf(`A ${CALL}`), fields);
  const deltas = await deltasOf(serviceOf(`A ${CALL}`), fields);
  const streamed = deltas.flatMap(({ logprobs }) => logprobs?.content ?? []);
  assertEquals(streamed, whole.choices[0].logprobs.content);
  assertEquals(streamed.map(({ token }) => token).join(""), `A ${CALL}`);
});

Deno.test("the template gets all tools as it knows them, and the scheduler those that may be called", async () => {
  const service = serviceOf("x", "llama");
  await ask(service, { parallel_tool_calls: false });
  assertEquals(service.chats[0]!.options?.tools, [
    { type: "function", function: { name: "get_weather", description: "Weather", parameters } },
    now,
  ]);
  assertEquals(service.requests[0]!.calls, {
    dialect: "llama",
    tools: [
      { name: "get_weather", description: "Weather", parameters, strict: true },
      { name: "now", description: null, parameters: undefined, strict: false },
    ],
    required: false,
    several: false,
  });
});

Deno.test("tool_choice says who may be called and whether someone must", async () => {
  const cases: [unknown, [string[], boolean, boolean] | null][] = [
    [undefined, [["get_weather", "now"], false, true]],
    [null, [["get_weather", "now"], false, true]],
    ["auto", [["get_weather", "now"], false, true]],
    ["required", [["get_weather", "now"], true, true]],
    ["none", null],
    [{ type: "function", function: { name: "now" } }, [["now"], true, false]],
    [
      { type: "allowed_tools", allowed_tools: { mode: "required", tools: [now] } },
      [["now"], true, true],
    ],
  ];
  for (const [choice, expected] of cases) {
    const service = serviceOf("x");
    await ask(service, choice === undefined ? {} : { tool_choice: choice });
    const { calls } = service.requests[0]!;
    const seen = calls
      ? [calls.tools.map(({ name }) => name), calls.required, calls.several]
      : null;
    assertEquals(seen, expected, JSON.stringify(choice));
    assertEquals(service.chats[0]!.options?.tools?.length, expected === null ? undefined : 2);
  }
});

Deno.test("Mistral's ids are of the length that its templates take, and its marks stay in the text", async () => {
  const text = '[TOOL_CALLS] [{"name": "now", "arguments": {}}]';
  const { choices: [choice] } = await ask(serviceOf(text, "mistral"));
  assertMatch(choice.message.tool_calls[0].id, /^[A-Za-z0-9]{9}$/);
});

Deno.test("tools that make no sense are refused with the field", async () => {
  const named = (name: unknown) => ({ type: "function", function: { name } });
  const cases: [Json, string, string][] = [
    [{ tools: "get_weather" }, "tools", "an array"],
    [{ tools: [{ type: "retrieval" }] }, "tools[0].type", '"function"'],
    [{ tools: [named("a b")] }, "tools[0].function.name", "letters"],
    [{ tools: [named(undefined)] }, "tools[0].function.name", "is missing"],
    [{ tools: [now, now] }, "tools[1].function.name", "twice"],
    [{ tools: [], tool_choice: "required" }, "tool_choice", "no tools"],
    [{ tool_choice: named("other") }, "tool_choice", '"other"'],
    [{ tool_choice: "always" }, "tool_choice", '"required"'],
    [{ tool_choice: { type: "function" } }, "tool_choice.function", "is missing"],
    [{ functions: [{ name: "f" }] }, "functions", "send tools"],
    [{ parallel_tool_calls: "yes" }, "parallel_tool_calls", "true or false"],
  ];
  for (const [fields, param, sentence] of cases) {
    const response = await post(appOver(serviceOf("x")), CHAT, { messages, tools, ...fields });
    const error = await failed(response, 400);
    assertEquals(error.param, param, JSON.stringify(fields));
    assert(error.message.includes(sentence), error.message);
  }
});
