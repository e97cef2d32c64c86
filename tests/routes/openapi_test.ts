// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { routesOf } from "../../routes/app.ts";
import { type AnswerName, ANSWERS } from "../../routes/openapi/answers.ts";
import { type EventName, EVENTS } from "../../routes/openapi/events.ts";
import { OPERATIONS } from "../../routes/openapi/operations.ts";
import { typeText } from "../../routes/openapi/page.ts";
import { FakeService, speak } from "../fixtures/fake_service.ts";
import { appOver, type Json, ok, post } from "./client.ts";

/** Paths for people, which the description leaves out. */
const FOR_PEOPLE = new Set(["/", "/docs", "/playground/:file"]);
const messages = [{ role: "user", content: "hi" }];

async function describe(service = new FakeService()): Promise<Json> {
  return await ok(await appOver(service).request("/openapi.json"));
}

/** Every reference in the document. */
function references(value: Json): string[] {
  if (typeof value !== "object" || value === null) return [];
  const own = typeof value.$ref === "string" ? [value.$ref] : [];
  return [...own, ...Object.values(value).flatMap(references)];
}

Deno.test("openapi: every route is described, and nothing else", async () => {
  const service = new FakeService();
  // Handlers are made, not called.
  const routes = routesOf({ service, options: { version: "1" } } as never);
  const there = Object.entries(routes)
    .filter(([path]) => !FOR_PEOPLE.has(path))
    .flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path.replace(/:(\w+)(\{.*\})?/g, "{$1}")}`)
    );
  const described = Object.entries((await describe(service)).paths).flatMap(([path, methods]) =>
    Object.keys(methods as Json).map((method) => `${method.toUpperCase()} ${path}`)
  );
  assertEquals(described.toSorted(), there.toSorted());
});

Deno.test("openapi: references lead somewhere, and every operation says what may go wrong", async () => {
  const document = await describe();
  for (const reference of references(document)) {
    const found = reference.slice(2).split("/").reduce((inner, key) => inner?.[key], document);
    assert(found !== undefined, reference);
  }
  for (const { path, method, body } of OPERATIONS) {
    const { responses, requestBody } = document.paths[path][method];
    assert(responses["200"] && responses["500"], path);
    assertEquals(requestBody !== undefined, body !== undefined);
    if (body !== undefined) assert(responses["400"] && responses["413"] && responses["429"], path);
  }
});

Deno.test("openapi: bounds are those that are checked, optional fields may be null", async () => {
  const { schemas } = (await describe()).components;
  const { properties, required } = schemas.ChatRequest;
  const orNull = (schema: Json) => ({ anyOf: [schema, { type: "null" }] });
  assertEquals(required, ["messages"]);
  assertEquals(properties.temperature, orNull({ type: "number", minimum: 0, maximum: 2 }));
  assertEquals(properties.n, orNull({ type: "integer", minimum: 1, maximum: 128 }));
  assertEquals(properties.stop.anyOf[0].anyOf[1].maxItems, 16);
  assertEquals(properties.sounder.anyOf[0].additionalProperties, false);
  assertEquals(properties.messages.minItems, 1);
  const token = schemas.CompletionRequest.properties.prompt.anyOf[2].items;
  assertEquals(token, { type: "integer", minimum: 0, maximum: 259 });
  assertEquals(schemas.EmbeddingsRequest.properties.dimensions.anyOf[0].maximum, 3);
  assertEquals(schemas.MessagesRequest.required.toSorted(), ["max_tokens", "messages"]);
});

Deno.test("openapi: there while the model is loading, and without a key", async () => {
  const service = new FakeService();
  service.current = { ...service.current, state: "loading" };
  const app = appOver(service, { apiKeys: ["secret"] });
  for (const path of ["/openapi.json", "/docs"]) {
    const response = await app.request(path);
    assertEquals(response.status, 200);
    await response.body?.cancel();
  }
});

Deno.test("openapi: answers are as described", async () => {
  const app = appOver(new FakeService());
  const prompt = [256, 104];
  const cases: [name: AnswerName, path: string, body: Json | null][] = [
    ["ChatCompletion", "/v1/chat/completions", { messages, logprobs: true, top_logprobs: 2 }],
    ["ChatCompletion", "/v1/chat/completions", {
      messages,
      prompt_logprobs: 1,
      return_token_ids: true,
    }],
    ["Completion", "/v1/completions", { prompt, echo: true, logprobs: 1, prompt_logprobs: 0 }],
    ["Embeddings", "/v1/embeddings", { input: "hi" }],
    ["Embeddings", "/v1/embeddings", { input: "hi", encoding_format: "base64" }],
    ["Response", "/v1/responses", { input: "hi" }],
    ["Message", "/v1/messages", { messages, max_tokens: 5 }],
    ["TokenCount", "/v1/messages/count_tokens", { messages }],
    ["Tokens", "/tokenize", { prompt: "é", with_pieces: true }],
    ["Tokens", "/tokenize", { messages, return_token_strs: true }],
    ["Text", "/detokenize", { tokens: prompt }],
    ["ModelList", "/v1/models", null],
    ["Model", "/v1/models/fake/model", null],
    ["TokenizerInfo", "/tokenizer_info", null],
    ["Health", "/health", null],
    ["Version", "/version", null],
    ["Error", "/v1/models/unknown", null],
    ["AnthropicError", "/v1/messages", {}],
  ];
  for (const [name, path, body] of cases) {
    const response = body === null ? await app.request(path) : await post(app, path, body);
    const parsed = ANSWERS[name].safeParse(await response.json());
    assert(parsed.success, `${name} of ${path}: ${parsed.error?.message}`);
  }
});

Deno.test("openapi: events of streams are as described", async () => {
  const app = appOver(new FakeService());
  const all = { stream: true, stream_options: { include_usage: true } };
  const cases: [name: EventName, path: string, body: Json][] = [
    ["ChatCompletionChunk", "/v1/chat/completions", { messages, ...all }],
    ["ChatCompletionChunk", "/v1/chat/completions", {
      ...{ messages, stream: true, logprobs: true, top_logprobs: 2, return_token_ids: true },
      stream_options: { include_usage: true, continuous_usage_stats: true },
    }],
    ["CompletionChunk", "/v1/completions", { prompt: "hi", echo: true, logprobs: 1, ...all }],
    ["CompletionChunk", "/v1/completions", { prompt: "hi", n: 2, return_token_ids: true, ...all }],
    ["ResponseEvent", "/v1/responses", { input: "hi", stream: true }],
    ["MessageEvent", "/v1/messages", { messages, max_tokens: 5, stream: true }],
  ];
  const call = '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>';
  const caller = appOver(new FakeService(speak([...call])));
  const tools = [{ type: "function", function: { name: "f" } }];
  for (const [name, path, body] of cases) await check(app, name, path, body);
  await check(caller, "ChatCompletionChunk", "/v1/chat/completions", { messages, tools, ...all });
});

/** Strictly: a field that isn't described is a mistake. */
async function check(app: ReturnType<typeof appOver>, name: EventName, path: string, body: Json) {
  const chunks = (await (await post(app, path, body)).text()).split("\n")
    .filter((line) => line.startsWith("data: {"));
  assert(chunks.length > 2, path);
  for (const line of chunks) {
    const event = JSON.parse(line.slice("data: ".length));
    const parsed = EVENTS[name].safeParse(event);
    assert(parsed.success, `${name} of ${path}: ${parsed.error?.message} ${line}`);
    assertEquals(parsed.data as Json, event);
  }
}

Deno.test("docs: the page shows routes, fields and bounds, and loads nothing", async () => {
  const response = await appOver(new FakeService()).request("/docs");
  assertStringIncludes(response.headers.get("content-type") ?? "", "text/html");
  assertStringIncludes(response.headers.get("content-security-policy") ?? "", "default-src 'none'");
  const page = await response.text();
  for (const part of ["/v1/chat/completions", "max_completion_tokens", "number 0 to 2 | null"]) {
    assertStringIncludes(page, part);
  }
  assert(!/<script|<link|<img|https?:/.test(page));
});

Deno.test("docs: schemas in a few words, escaped", () => {
  assertEquals(typeText({ type: "array", items: { type: "string" } }), "array of string");
  assertEquals(typeText({ enum: ["a", "b"] }), '"a" | "b"');
  assertEquals(typeText({}), "anything");
  assertEquals(typeText({ type: "object", properties: { a: {} } }), "{a}");
  assertEquals(typeText({ type: "integer", minimum: 1 }), "integer 1 to …");
});
