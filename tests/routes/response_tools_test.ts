// SPDX-License-Identifier: Apache-2.0
/** Tools over the Responses and Messages APIs: the same calls as in chat, in the shapes of these. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import OpenAI from "openai";
import { FakeService, speak } from "../fixtures/fake_service.ts";
import { appOver, chunksOf, failed, type Json, ok, post, serving } from "./client.ts";

const RESPONSES = "/v1/responses";
const MESSAGES = "/v1/messages";
const parameters = { type: "object", properties: { city: { type: "string" } } };
const tool = { type: "function" as const, name: "get_weather", parameters, strict: true };
const custom = { name: "get_weather", description: "Weather", input_schema: parameters };
const CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>';
const asked = { model: "fake/model", max_tokens: 9, messages: [{ role: "user", content: "hi" }] };

/** A service whose model answers this, a character a token. */
function serviceOf(answer: string): FakeService {
  const service = new FakeService(speak([...answer]));
  service.info = { ...service.info, toolDialect: "hermes" };
  return service;
}

async function eventsOf(service: FakeService, path: string, body: Json): Promise<Json[]> {
  const stream = await (await post(appOver(service), path, { ...body, stream: true })).text();
  return chunksOf(stream.replaceAll(/^event: .*\n/gm, ""));
}

Deno.test("responses: text and calls are items, in their order", async () => {
  const service = serviceOf(`Let me look. ${CALL}${CALL}`);
  const body = { input: "hi", tools: [tool] };
  const { output, tools, tool_choice: choice } = await ok(
    await post(appOver(service), RESPONSES, body),
  );
  assertEquals(output.map((item: Json) => item.type), [
    "message",
    "function_call",
    "function_call",
  ]);
  assertEquals(output[0].content[0].text, "Let me look.");
  const { id, call_id: callId, ...call } = output[1];
  assertMatch(id, /^fc_/);
  assertMatch(callId, /^call_/);
  assertEquals(call, {
    type: "function_call",
    status: "completed",
    name: "get_weather",
    arguments: '{"city": "Paris"}',
  });
  assertEquals([tools, choice], [[tool], "auto"]);
  assertEquals(service.requests[0]!.calls?.tools.map(({ name }) => name), ["get_weather"]);
  const { strict: _, ...shown } = { ...tool };
  const { type, ...inner } = shown;
  assertEquals(service.chats[0]!.options?.tools, [{ type, function: inner }]);
});

Deno.test("responses: a call in a stream begins, grows and ends, and the numbers rise", async () => {
  const events = await eventsOf(serviceOf(CALL), RESPONSES, { input: "hi", tools: [tool] });
  const types = events.map(({ type }) => type.replace("response.", ""));
  assertEquals([...new Set(types)], [
    "created",
    "in_progress",
    "output_item.added",
    "function_call_arguments.delta",
    "function_call_arguments.done",
    "output_item.done",
    "completed",
  ]);
  assertEquals(events.map((event) => event.sequence_number), events.map((_, i) => i));
  const written = events.filter(({ type }) => type.endsWith("arguments.delta"));
  assertEquals(written.map(({ delta }) => delta).join(""), '{"city": "Paris"}');
  const done = events.find(({ type }) => type.endsWith("arguments.done"));
  assertEquals([done.name, done.arguments], ["get_weather", '{"city": "Paris"}']);
});

Deno.test("responses: which tools may be called", async () => {
  const other = { type: "function", name: "other" };
  const cases: [choice: Json, names: string[] | null, required: boolean][] = [
    [undefined, ["get_weather", "other"], false],
    ["none", null, false],
    ["required", ["get_weather", "other"], true],
    [other, ["other"], true],
    [{ type: "allowed_tools", mode: "auto", tools: [other] }, ["other"], false],
  ];
  for (const [choice, names, required] of cases) {
    const service = serviceOf("Hi");
    const body = { input: "hi", tools: [tool, other], tool_choice: choice };
    await ok(await post(appOver(service), RESPONSES, body));
    const { calls } = service.requests[0]!;
    assertEquals(calls?.tools.map(({ name }) => name) ?? null, names);
    assertEquals(calls?.required ?? false, required);
  }
  const app = appOver(serviceOf("Hi"));
  const wrong: [fields: Json, param: string, part: string][] = [
    [{ tools: [{ type: "web_search" }] }, "tools[0].type", '"web_search"'],
    [{ tools: [tool], tool_choice: "often" }, "tool_choice", '"often"'],
    [{ tools: [tool], tool_choice: { type: "custom" } }, "tool_choice", '"required"'],
    [{ tools: [tool], tool_choice: other }, "tool_choice", '"other"'],
  ];
  for (const [fields, param, part] of wrong) {
    const error = await failed(await post(app, RESPONSES, { input: "hi", ...fields }), 400);
    assertEquals(error.param, param);
    assertStringIncludes(error.message, part);
  }
});

Deno.test("responses: with tools and nothing said, the answer is an empty message", async () => {
  const { output } = await ok(
    await post(appOver(serviceOf("")), RESPONSES, { input: "hi", tools: [tool] }),
  );
  assertEquals(output.map(({ type, content }: Json) => [type, content[0].text]), [["message", ""]]);
});

Deno.test("openai: the helper puts a streamed call together", async () => {
  await serving(appOver(serviceOf(CALL)), async (base) => {
    const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 0 });
    const stream = client.responses.stream({ model: "fake/model", input: "hi", tools: [tool] });
    const [item] = (await stream.finalResponse()).output;
    assertEquals(item?.type === "function_call" && item.arguments, '{"city": "Paris"}');
  });
});

Deno.test("messages: calls are blocks with their input, and the reason says so", async () => {
  const service = serviceOf(`Let me look. ${CALL}`);
  const answer = await ok(await post(appOver(service), MESSAGES, { ...asked, tools: [custom] }));
  const [text, { id, ...use }] = answer.content;
  assertEquals(text, { type: "text", text: "Let me look." });
  assertMatch(id, /^call_/);
  assertEquals(use, { type: "tool_use", name: "get_weather", input: { city: "Paris" } });
  assertEquals(answer.stop_reason, "tool_use");
  assertEquals(service.chats[0]!.options?.tools, [{
    type: "function",
    function: { name: "get_weather", description: "Weather", parameters },
  }]);
});

Deno.test("messages: a call in a stream is a block whose JSON grows", async () => {
  const events = await eventsOf(serviceOf(`Look: ${CALL}`), MESSAGES, {
    ...asked,
    tools: [custom],
  });
  const starts = events.filter(({ type }) => type === "content_block_start");
  assertEquals(starts.map(({ index, content_block: block }) => [index, block.type]), [
    [0, "text"],
    [1, "tool_use"],
  ]);
  const json = events.flatMap(({ delta }) => delta?.partial_json ?? []);
  assertEquals(JSON.parse(json.join("")), { city: "Paris" });
  const stops = events.filter(({ type }) => type === "content_block_stop");
  assertEquals(stops.map(({ index }) => index), [0, 1]);
});

Deno.test("messages: which tools may be called, and how many", async () => {
  const cases: [choice: Json, required: boolean, several: boolean][] = [
    [{ type: "auto" }, false, true],
    [{ type: "any" }, true, true],
    [{ type: "any", disable_parallel_tool_use: true }, true, false],
    [{ type: "tool", name: "get_weather" }, true, false],
  ];
  for (const [choice, required, several] of cases) {
    const service = serviceOf("Hi");
    const body = { ...asked, tools: [custom], tool_choice: choice };
    await ok(await post(appOver(service), MESSAGES, body));
    const { calls } = service.requests[0]!;
    assertEquals([calls?.required, calls?.several], [required, several]);
  }
});

Deno.test("messages: calls and results of earlier turns become the template's", async () => {
  const service = serviceOf("Hi");
  const use = { type: "tool_use", id: "c1", name: "get_weather", input: { city: "Paris" } };
  const result = {
    type: "tool_result",
    tool_use_id: "c1",
    content: [{ type: "text", text: "Rain" }],
  };
  const turns = [
    { role: "user", content: "Weather?" },
    { role: "assistant", content: [{ type: "text", text: "Let me look." }, use] },
    { role: "user", content: [result, { type: "text", text: "Well?" }] },
  ];
  await ok(await post(appOver(service), MESSAGES, { ...asked, messages: turns, tools: [custom] }));
  const call = {
    id: "c1",
    type: "function",
    function: { name: "get_weather", arguments: { city: "Paris" } },
  };
  assertEquals(service.chats[0]!.messages, [
    { role: "user", content: "Weather?" },
    { role: "assistant", content: "Let me look.", tool_calls: [call] },
    { role: "tool", content: "Rain", tool_call_id: "c1" },
    { role: "user", content: "Well?" },
  ]);
});

Deno.test("messages: arguments that were cut off are told as they are", async () => {
  const cut = CALL.slice(0, CALL.indexOf("aris"));
  const answer = await ok(
    await post(appOver(serviceOf(cut)), MESSAGES, { ...asked, tools: [custom] }),
  );
  assertEquals(answer.content[0].input, { arguments: '{"city": "P' });
});
