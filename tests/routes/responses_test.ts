// SPDX-License-Identifier: Apache-2.0
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import OpenAI, { APIError } from "openai";
import { Failure } from "../../src/errors.ts";
import { done, FakeService, finish, speak, text } from "../fixtures/fake_service.ts";
import { appOver, EXACT_USAGE, failed, framesOf, type Json, ok, post, serving } from "./client.ts";

const PATH = "/v1/responses";
const request = { model: "fake/model", input: "hi" };

async function asking(
  service: FakeService,
  use: (client: OpenAI) => Promise<void>,
  options: Parameters<typeof appOver>[1] = {},
): Promise<void> {
  await serving(appOver(service, options), async (base) => {
    await use(new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 0 }));
  });
}

Deno.test("responses: a whole answer has every field that OpenAI's has", async () => {
  const service = new FakeService(function* () {
    yield text(0, "Hello");
    yield finish(0);
    yield done();
  });
  const answer = await ok(
    await post(appOver(service), PATH, {
      ...request,
      instructions: "Be brief.",
      metadata: { a: "b" },
      user: "me",
      store: true,
      temperature: 0.5,
      max_output_tokens: 7,
    }),
  );
  const { id, created_at: created, completed_at: completed, output, ...rest } = answer;
  assertMatch(id, /^resp_[0-9a-f]{32}$/);
  assert(Number.isInteger(created) && completed >= created);
  const [{ id: item, ...message }, ...more] = output;
  assertMatch(item, /^msg_/);
  assertEquals([message, more], [{
    type: "message",
    status: "completed",
    role: "assistant",
    content: [{ type: "output_text", text: "Hello", annotations: [], logprobs: [] }],
  }, []]);
  assertEquals(rest, {
    object: "response",
    model: "fake/model",
    background: false,
    error: null,
    incomplete_details: null,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    service_tier: "default",
    store: false,
    text: { format: { type: "text" } },
    tool_choice: "auto",
    tools: [],
    truncation: "disabled",
    instructions: "Be brief.",
    max_output_tokens: 7,
    metadata: { a: "b" },
    parallel_tool_calls: true,
    temperature: 0.5,
    top_logprobs: 0,
    top_p: 1,
    user: "me",
    status: "completed",
    usage: {
      input_tokens: 3,
      input_tokens_details: { cached_tokens: 1 },
      output_tokens: 2,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 5,
      sounder: EXACT_USAGE,
    },
  });
  assertEquals(service.chats[0]!.messages, [
    { role: "system", content: "Be brief." },
    { role: "user", content: "hi" },
  ]);
});

Deno.test("responses: events rise in number and end with the whole response", async () => {
  const app = appOver(new FakeService(speak(["a", "b"])));
  const stream = await (await post(app, PATH, { ...request, stream: true })).text();
  const named = framesOf(stream).map((frame) => frame.split("\n"));
  const events: Json[] = named.map(([, data]) => JSON.parse(data!.slice("data: ".length)));
  assertEquals(named.map(([name]) => name), events.map(({ type }) => `event: ${type}`));
  assertEquals(events.map(({ sequence_number: number }) => number), events.map((_, i) => i));
  assertEquals(events.map(({ type }) => type.replace("response.", "")), [
    "created",
    "in_progress",
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
    "completed",
  ]);
  const { id, output, status } = events.at(-1).response;
  assertEquals([events[0].response.id, events[0].response.status], [id, "in_progress"]);
  assertEquals([status, output[0].content[0].text], ["completed", "ab"]);
  assertEquals(events[2].item.id, output[0].id);
});

Deno.test("responses: too few tokens make an incomplete response", async () => {
  await asking(new FakeService(speak(["a"], "length")), async (client) => {
    const answer = await client.responses.create(request);
    assertEquals(answer.status, "incomplete");
    assertEquals(answer.incomplete_details, { reason: "max_output_tokens" });
    assertEquals(answer.output_text, "a");
    const events = [];
    const stream = await client.responses.create({ ...request, stream: true });
    for await (const event of stream) events.push(event.type);
    assertEquals(events.at(-1), "response.incomplete");
  });
});

Deno.test("responses: log-probabilities as often as asked for", async () => {
  const app = appOver(new FakeService(speak(["a", "b"])));
  const body = { ...request, top_logprobs: 2, include: ["message.output_text.logprobs"] };
  const { output: [{ content: [{ logprobs }] }] } = await ok(await post(app, PATH, body));
  assertEquals(logprobs.map((entry: Json) => entry.token), ["a", "b"]);
  assertEquals(logprobs[0].top_logprobs.length, 2);
  const without = await ok(await post(app, PATH, request));
  assertEquals(without.output[0].content[0].logprobs, []);
});

Deno.test("responses: items become the template's messages", async () => {
  const service = new FakeService();
  const input = [
    { role: "developer", content: "Be brief." },
    { type: "message", role: "user", content: [{ type: "input_text", text: "What is 1 + 1?" }] },
    { type: "reasoning", id: "rs_1", summary: [] },
    { type: "function_call", call_id: "c1", name: "add", arguments: '{"a":1}' },
    { type: "function_call", call_id: "c2", name: "add", arguments: "{}" },
    { type: "function_call_output", call_id: "c1", output: "2" },
    { role: "assistant", content: [{ type: "output_text", text: "2", annotations: [] }] },
    { role: "user", content: "Sure?" },
  ];
  await ok(await post(appOver(service), PATH, { input }));
  const call = (id: string, args: object) => {
    return { id, type: "function", function: { name: "add", arguments: args } };
  };
  assertEquals(service.chats[0]!.messages, [
    { role: "system", content: "Be brief." },
    { role: "user", content: "What is 1 + 1?" },
    { role: "assistant", content: "", tool_calls: [call("c1", { a: 1 }), call("c2", {})] },
    { role: "tool", content: "2", tool_call_id: "c1" },
    { role: "assistant", content: "2" },
    { role: "user", content: "Sure?" },
  ]);
});

Deno.test("responses: what can't be honoured is refused, by its name", async () => {
  const app = appOver(new FakeService());
  const cases: [fields: Record<string, unknown>, param: string, part: string][] = [
    [{ input: undefined }, "input", "is missing"],
    [{ input: [] }, "input", "is empty"],
    [{ input: 5 }, "input", "not 5"],
    [{ input: ["x"] }, "input[0]", "must be an object"],
    [{ input: [{ role: "king", content: "x" }] }, "input[0].role", '"king"'],
    [{ input: [{ role: "user" }] }, "input[0].content", "not null"],
    [{ input: [{ type: "item_reference", id: "x" }] }, "input[0]", "send the item itself"],
    [{ input: [{ type: "computer_call" }] }, "input[0]", '"computer_call"'],
    [
      { input: [{ role: "user", content: [{ type: "input_image" }] }] },
      "input[0].content[0]",
      "reads only text",
    ],
    [{ input: [{ type: "function_call" }] }, "input[0].call_id", "is missing"],
    [{ previous_response_id: "resp_1" }, "previous_response_id", "keeps no responses"],
    [{ conversation: "c" }, "conversation", "keeps no responses"],
    [{ background: true }, "background", "keeps no responses"],
    [{ input: "x".repeat(5000) }, "input", "the context holds 4096"],
    [{ max_output_tokens: 0 }, "max_output_tokens", "not 0"],
    [{ top_logprobs: 21 }, "top_logprobs", "from 0 to 20"],
    [{ text: { format: { type: "json_schema" } } }, "text.format.schema", "is missing"],
    [{ text: { format: { type: "xml" } } }, "text.format.type", '"xml"'],
  ];
  for (const [fields, param, part] of cases) {
    const error = await failed(await post(app, PATH, { ...request, ...fields }), 400);
    assertEquals(error.param, param, JSON.stringify(fields));
    assertStringIncludes(error.message, part);
  }
});

Deno.test("responses: a format is asked of the engine, and repeated", async () => {
  const service = new FakeService();
  const schema = { type: "object" };
  const format = { type: "json_schema", name: "x", schema, strict: true };
  const answer = await ok(await post(appOver(service), PATH, { ...request, text: { format } }));
  assertEquals(answer.text, { format });
  assertEquals(service.requests[0]!.format, {
    format: { kind: "schema", schema, strict: true },
    param: "text.format.schema",
  });
  const json = { text: { format: { type: "json_object" } } };
  await ok(await post(appOver(service), PATH, { ...request, ...json }));
  assertEquals(service.requests[1]!.format?.format, { kind: "json" });
});

Deno.test("openai: responses, whole and as the helper streams them", async () => {
  await asking(new FakeService(), async (client) => {
    const answer = await client.responses.create(request);
    assertEquals(answer.output_text, "Hello, world");
    const stream = client.responses.stream(request);
    let said = "";
    stream.on("response.output_text.delta", ({ delta }) => said += delta);
    const final = await stream.finalResponse();
    assertEquals([said, final.output_text], ["Hello, world", "Hello, world"]);
  });
});

Deno.test("openai: a failed response is raised, and a stream that is left is cancelled", async () => {
  const service = new FakeService(function* () {
    yield text(0, "so far");
    throw new Failure("memory", "Out of memory");
  });
  await asking(service, async (client) => {
    const events: string[] = [];
    const error = await assertRejects(async () => {
      const stream = await client.responses.create({ ...request, stream: true });
      for await (const event of stream) events.push(event.type);
    }, APIError);
    assertStringIncludes(error.message, "Out of memory");
    assertEquals(events.at(-1), "response.failed");
  }, { log: () => {} });
  const endless = new FakeService(async function* () {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      yield text(0, "x");
    }
  });
  await asking(endless, async (client) => {
    const stream = await client.responses.create({ ...request, stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") break;
    await endless.firstCancel;
    assertEquals(endless.cancelled.length, 1);
    // The script's last timer must not outlive the test.
    await new Promise((resolve) => setTimeout(resolve, 10));
  });
});
