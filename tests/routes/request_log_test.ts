// SPDX-License-Identifier: Apache-2.0
// One line for each request, when all of it has ended, and never a word of what was asked or said.
import { assertEquals, assertFalse, assertMatch } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import { NO_SAMPLED } from "../../src/generate/sampled_usage.ts";
import { entryText, type RequestEntry } from "../../routes/request_record.ts";
import { done, FakeService, finish, gate, text } from "../fixtures/fake_service.ts";
import { type App, appOver, post, Reader } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "a secret question" }];

function logging(service: FakeService): { app: App; entries: RequestEntry[] } {
  const entries: RequestEntry[] = [];
  return { app: appOver(service, { logRequest: (entry) => entries.push(entry) }), entries };
}

/** The line without what differs from run to run. */
function steady(entry: RequestEntry | undefined): Partial<RequestEntry> {
  const { id: _, duration_ms: __, ...rest } = entry!;
  return rest;
}

Deno.test("an answer's line has status, tokens, time to the first token and what attention read", async () => {
  const sampled = { ...NO_SAMPLED, tokens: 2, rowsRead: 30.04, rowsTotal: 1000 };
  const service = new FakeService(() => [
    text(0, "a secret answer"),
    finish(0),
    done({ promptTokens: 17, attention: "sketch", sampled }),
  ]);
  for (const stream of [false, true]) {
    const { app, entries } = logging(service);
    const response = await post(app, CHAT, { messages, stream });
    const body = await response.text();
    assertEquals(entries.length, 1, body);
    assertEquals(steady(entries[0]), {
      method: "POST",
      path: CHAT,
      status: 200,
      model: "fake/model",
      stream,
      prompt_tokens: 17,
      cached_tokens: 1,
      completion_tokens: 2,
      ttft_ms: 1.5,
      attention: "sketch",
      rows_read: 30,
      rows_total: 1000,
    });
    assertEquals(entries[0]!.id, response.headers.get("x-request-id"));
    assertFalse(JSON.stringify(entries).includes("secret"));
    assertMatch(
      entryText(entries[0]!),
      /^POST \/v1\/chat\/completions 200 [\d.]+ ms req_\w+ model=fake\/model stream=\w+ prompt_tokens=17 /,
    );
  }
});

Deno.test("a stream's line comes when the stream ends, not when it starts", async () => {
  const { opened, open } = gate();
  const service = new FakeService(async function* () {
    yield text(0, "a");
    await opened;
    yield finish(0);
    yield done();
  });
  const { app, entries } = logging(service);
  const reader = new Reader(await post(app, CHAT, { messages, stream: true }));
  for (let piece = ""; !piece.includes('"a"'); piece = (await reader.next())!);
  assertEquals(entries, []);
  open();
  while (await reader.next() !== null);
  assertEquals(entries.length, 1);
});

Deno.test("a client that leaves and an engine that fails are in the line", async () => {
  const left = logging(new FakeService(() => [text(0, "a")]));
  const reader = new Reader(await post(left.app, CHAT, { messages, stream: true }));
  await reader.next();
  await reader.cancel();
  assertEquals(left.entries.map(({ status, error }) => [status, error]), [[200, "cancelled"]]);

  const failing = logging(
    new FakeService(() => {
      throw new Failure("unavailable", "It broke.");
    }),
  );
  await (await post(failing.app, CHAT, { messages })).text();
  assertEquals(failing.entries.map((entry) => entry.error), ["unavailable"]);
});

Deno.test("refused requests have a line with the error's code and no counts", async () => {
  const service = new FakeService();
  service.refusals.set(0, new Failure("too_many_requests", "Full", { retryAfterSeconds: 1 }));
  const { app, entries } = logging(service);
  await post(app, CHAT, { messages });
  await post(app, CHAT, { model: "other", messages });
  await post(app, CHAT, "{");
  await app.request("/nowhere");
  assertEquals(entries.map(steady), [
    {
      method: "POST",
      path: CHAT,
      status: 429,
      error: "rate_limit_exceeded",
      model: "fake/model",
      stream: false,
    },
    { method: "POST", path: CHAT, status: 404, error: "model_not_found" },
    { method: "POST", path: CHAT, status: 400, error: "invalid_request_error" },
    { method: "GET", path: "/nowhere", status: 404, error: "not_found" },
  ]);
});

Deno.test("probes have no line, and a path cannot forge one", async () => {
  const { app, entries } = logging(new FakeService());
  for (const path of ["/health", "/health/live", "/metrics", "/playground/app.js"]) {
    await app.request(path);
  }
  assertEquals(entries, []);
  await app.request("/a%0A2026-01-01T00:00:00Z%20POST%20/forged");
  assertFalse(entryText(entries[0]!).includes("\n"));
  await app.request(`/${"x".repeat(5000)}`);
  assertEquals(entries[1]!.path.length, 200);
});
