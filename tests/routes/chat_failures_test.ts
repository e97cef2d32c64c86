// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import { FakeService, gate, text } from "../fixtures/fake_service.ts";
import { appOver, failed, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

Deno.test("a model without a chat template answers 400 and names the other route", async () => {
  const service = new FakeService();
  service.info = { ...service.info, hasChatTemplate: false };
  const error = await failed(await post(appOver(service), CHAT, { messages }), 400);
  assert(error.message.includes("/v1/completions"));
});

Deno.test("a prompt that is too long: 400 context_length_exceeded with both numbers", async () => {
  const service = new FakeService();
  service.info = { ...service.info, contextTokens: 8 };
  const error = await failed(await post(appOver(service), CHAT, { messages, stream: true }), 400);
  assertEquals(error.code, "context_length_exceeded");
  assert(error.message.includes("9") && error.message.includes("8"));
});

Deno.test("each kind of failure has its status, type and code", async () => {
  const cases = [
    ["invalid", 400, "invalid_request_error", null, null],
    ["context_length", 400, "invalid_request_error", "context_length_exceeded", null],
    ["too_many_requests", 429, "requests", "rate_limit_exceeded", "1"],
    ["unavailable", 503, "server_error", "unavailable", "5"],
    ["model", 500, "server_error", "model_error", null],
    ["memory", 500, "server_error", "memory_error", null],
    ["engine", 500, "server_error", "engine_error", null],
  ] as const;
  for (const [kind, status, type, code, retry] of cases) {
    const service = new FakeService();
    service.refusals.set(0, new Failure(kind, "Because of this", { param: "p" }));
    const response = await post(appOver(service, { log: () => {} }), CHAT, { messages });
    assertEquals(response.headers.get("retry-after"), retry);
    assertEquals(await failed(response, status), {
      message: "Because of this",
      type,
      param: "p",
      code,
    });
  }
});

Deno.test("a client that leaves a whole answer cancels it", async () => {
  const service = new FakeService(async function* () {
    yield text(0, "a");
    await gate().opened;
  });
  const client = new AbortController();
  const answer = post(appOver(service), CHAT, { messages }, { signal: client.signal });
  while (service.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  client.abort();
  assertEquals((await answer).status, 499);
  assertEquals(service.cancelled, [service.requests[0]!.id]);
});

Deno.test("a client that leaves while its prompt is encoded is never admitted", async () => {
  const service = new FakeService();
  const encoding = gate();
  const encode = service.encodeChat.bind(service);
  service.encodeChat = async (...args) => {
    await encoding.opened;
    return await encode(...args);
  };
  const client = new AbortController();
  const answer = post(appOver(service), CHAT, { messages }, { signal: client.signal });
  client.abort();
  encoding.open();
  assertEquals((await answer).status, 499);
  assertEquals(service.requests, []);
});

Deno.test("an engine failure in a whole answer is a 500 and is logged once", async () => {
  const logged: string[] = [];
  const service = new FakeService(function* () {
    yield text(0, "a");
    throw new Failure("engine", "The library failed");
  });
  const app = appOver(service, { log: (line) => logged.push(line) });
  const error = await failed(await post(app, CHAT, { messages }), 500);
  assertEquals(error.message, "The library failed");
  assertEquals(logged.length, 1);
});

Deno.test("an answer that the server ends early is a 503", async () => {
  const service = new FakeService(() => [text(0, "so far")]);
  const response = await post(appOver(service), CHAT, { messages });
  assertEquals(response.headers.get("retry-after"), "5");
  await failed(response, 503);
});
