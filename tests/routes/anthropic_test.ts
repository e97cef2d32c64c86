// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import { done, FakeService, finish, text } from "../fixtures/fake_service.ts";
import { appOver, chunksOf, EXACT_USAGE, framesOf, type Json, ok, post } from "./client.ts";

const PATH = "/v1/messages";
const user = { role: "user", content: "hi" };
const request = { model: "fake/model", max_tokens: 9, messages: [user] };

/** The error of an answer in Anthropic's envelope. */
async function failed(response: Response, status: number): Promise<Json> {
  const body = await response.json();
  assertEquals(response.status, status, JSON.stringify(body));
  assertEquals(Object.keys(body), ["type", "error", "request_id"]);
  assertEquals([body.type, Object.keys(body.error)], ["error", ["type", "message"]]);
  assertEquals(body.request_id, response.headers.get("x-request-id"));
  return body.error;
}

Deno.test("messages: a whole answer, tokens from the cache counted apart", async () => {
  const service = new FakeService(function* () {
    yield text(0, "Hello");
    yield finish(0, "stop", null);
    yield done({ promptTokens: 3, cachedTokens: 1 });
  });
  const { id, ...answer } = await ok(await post(appOver(service), PATH, request));
  assertMatch(id, /^msg_[0-9a-f]{32}$/);
  assertEquals(answer, {
    type: "message",
    role: "assistant",
    model: "fake/model",
    content: [{ type: "text", text: "Hello" }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: {
      input_tokens: 2,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 1,
      output_tokens: 2,
      sounder: EXACT_USAGE,
    },
  });
  assertEquals(service.requests[0]!.maxTokens, 9);
});

Deno.test("messages: the events of a stream, each with its name", async () => {
  const app = appOver(new FakeService());
  const stream = await (await post(app, PATH, { ...request, stream: true })).text();
  const named = framesOf(stream).map((frame) => frame.split("\n"));
  const events = named.map(([, data]) => JSON.parse(data!.slice("data: ".length)));
  assertEquals(named.map(([name]) => name), events.map(({ type }) => `event: ${type}`));
  assertEquals(events.map(({ type }) => type), [
    "message_start",
    "content_block_start",
    "ping",
    ...Array(3).fill("content_block_delta"),
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
  assertEquals(events[0].message.content, []);
  assertEquals(events.flatMap(({ delta }) => delta?.text ?? []).join(""), "Hello, world");
  assertEquals(events[7].delta, { stop_reason: "end_turn", stop_sequence: null });
  assertEquals(events[7].usage.output_tokens, 3);
});

Deno.test("messages: why an answer ended", async () => {
  const cases = [
    [finish(0, "stop", null), "end_turn", null],
    [finish(0, "stop", "END"), "stop_sequence", "END"],
    [finish(0, "length", null), "max_tokens", null],
  ] as const;
  for (const [end, reason, sequence] of cases) {
    const service = new FakeService(() => [text(0, "x"), end, done()]);
    const body = { ...request, stop_sequences: ["END"] };
    const answer = await ok(await post(appOver(service), PATH, body));
    assertEquals([answer.stop_reason, answer.stop_sequence], [reason, sequence]);
    assertEquals(service.requests[0]!.stop, ["END"]);
  }
});

Deno.test("messages: system, blocks, thoughts and turns in a row become the template's messages", async () => {
  const service = new FakeService();
  const block = (text: string) => ({ type: "text", text, cache_control: { type: "ephemeral" } });
  await ok(
    await post(appOver(service), PATH, {
      ...request,
      system: [block("Be "), block("brief.")],
      messages: [
        { role: "user", content: [block("a"), block("b")] },
        { role: "assistant", content: [{ type: "thinking", thinking: "hm" }, block("c")] },
        user,
        { role: "user", content: "again" },
      ],
    }),
  );
  assertEquals(service.chats[0], {
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "ab" },
      { role: "assistant", content: "c" },
      { role: "user", content: "hi\n\nagain" },
    ],
    options: { addGenerationPrompt: true, continueFinalMessage: false },
  });
});

Deno.test("messages: an assistant's turn at the end is continued", async () => {
  const service = new FakeService();
  const begun = [user, { role: "assistant", content: "The code is" }];
  await ok(await post(appOver(service), PATH, { ...request, messages: begun }));
  assertEquals(service.chats[0]!.options, {
    addGenerationPrompt: false,
    continueFinalMessage: true,
  });
});

Deno.test("messages: an output format is asked of the engine, in its new place and its old one", async () => {
  const schema = { type: "object" };
  const format = { type: "json_schema", schema };
  for (const fields of [{ output_config: { format } }, { output_format: format }]) {
    const service = new FakeService();
    await ok(await post(appOver(service), PATH, { ...request, ...fields }));
    const asked = service.requests[0]!.format;
    assertEquals(asked?.format, { kind: "schema", schema, strict: false });
  }
});

Deno.test("messages: count_tokens needs no max_tokens and generates nothing", async () => {
  const service = new FakeService();
  const counted = await post(appOver(service), `${PATH}/count_tokens`, { messages: [user] });
  assertEquals(await ok(counted), { input_tokens: 9 });
  assertEquals(service.requests, []);
});

Deno.test("messages: errors are in Anthropic's envelope, whatever part of the server makes them", async () => {
  const service = new FakeService();
  const app = appOver(service);
  const cases: [fields: Record<string, unknown>, status: number, type: string, part: string][] = [
    [{ max_tokens: undefined }, 400, "invalid_request_error", "max_tokens is missing"],
    [{ messages: [] }, 400, "invalid_request_error", "at least one message"],
    [{ messages: undefined }, 400, "invalid_request_error", "messages is missing"],
    [{ messages: [{ role: "king" }] }, 400, "invalid_request_error", "messages[0].role"],
    [{ messages: [{ role: "user" }] }, 400, "invalid_request_error", "messages[0].content"],
    [
      { messages: [{ role: "user", content: [{ type: "image" }] }] },
      400,
      "invalid_request_error",
      'messages[0].content[0] has the type "image"',
    ],
    [{ system: 5 }, 400, "invalid_request_error", "system must be"],
    [{ thinking: { type: "enabled" } }, 400, "invalid_request_error", "thinking isn't supported"],
    [{ stop_sequences: [""] }, 400, "invalid_request_error", "stop_sequences[0]"],
    [{ model: "claude" }, 404, "not_found_error", '"claude"'],
    [{ max_tokens: 9999 }, 400, "invalid_request_error", "context"],
  ];
  for (const [fields, status, type, part] of cases) {
    const error = await failed(await post(app, PATH, { ...request, ...fields }), status);
    assertEquals(error.type, type);
    assertStringIncludes(error.message, part);
  }
  await failed(await app.request(PATH), 405);
  await failed(await post(app, PATH, "{"), 400);
  service.refusals.set(0, new Failure("too_many_requests", "Full", { retryAfterSeconds: 3 }));
  const full = await post(app, PATH, request);
  assertEquals(full.headers.get("retry-after"), "3");
  assertEquals((await failed(full, 429)).type, "rate_limit_error");
  service.current = { ...service.current, state: "loading" };
  assertEquals((await failed(await post(app, PATH, request), 503)).type, "overloaded_error");
});

Deno.test("messages: an error after the headers ends the stream", async () => {
  const service = new FakeService(function* () {
    yield text(0, "so far");
    throw new Failure("memory", "Out of memory");
  });
  const app = appOver(service, { log: () => {} });
  const events = chunksOfNamed(await (await post(app, PATH, { ...request, stream: true })).text());
  assertEquals(events.at(-1).error, { type: "api_error", message: "Out of memory" });
  assertEquals(events.filter(({ type }) => type === "message_stop"), []);
});

Deno.test("messages: the key may come as x-api-key", async () => {
  const app = appOver(new FakeService(), { apiKeys: ["secret"] });
  await ok(await post(app, PATH, request, { headers: { "x-api-key": "secret" } }));
  const error = await failed(
    await post(app, PATH, request, { headers: { "x-api-key": "wrong" } }),
    401,
  );
  assertEquals(error.type, "authentication_error");
});

function chunksOfNamed(stream: string): Json[] {
  return chunksOf(stream.replaceAll(/^event: .*\n/gm, ""));
}
