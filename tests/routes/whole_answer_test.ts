// SPDX-License-Identifier: Apache-2.0
// Answers without `stream` that take long: they begin with white space, so that leaving clients are noticed.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import OpenAI from "openai";
import { Failure } from "../../src/errors.ts";
import { FakeService, gate, type Script, speak } from "../fixtures/fake_service.ts";
import { appOver, envelope, failed, post, serving } from "./client.ts";

const messages = [{ role: "user", content: "hi" }];
const BODIES: Record<string, Record<string, unknown>> = {
  "/v1/chat/completions": { messages },
  "/v1/completions": { prompt: "hi" },
  "/v1/responses": { input: "hi" },
  "/v1/messages": { messages, max_tokens: 4 },
  "/v1/embeddings": { input: "hi" },
};

const soon = () => new Promise<void>((resolve) => setTimeout(resolve, 30));

/** Says something when the gate opens, or fails. */
function late(opened: Promise<void>, failure: Failure | null = null): Script {
  return async function* (request) {
    await opened;
    if (failure !== null) throw failure;
    yield* speak(["late"])(request) as Iterable<never>;
  };
}

async function until(what: () => boolean, message: string): Promise<void> {
  for (let tries = 0; !what(); tries++) {
    assert(tries < 100, message);
    await soon();
  }
}

/** Sends a request of so many bytes; returns what leaves without having read anything. */
async function send(base: string, path: string, bytes: number): Promise<() => void> {
  const { hostname, port } = new URL(base);
  const socket = await Deno.connect({ hostname, port: Number(port) });
  const json = JSON.stringify(BODIES[path]);
  const body = json + " ".repeat(bytes - json.length);
  const head = `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: ${bytes}\r\n\r\n`;
  const rest = new TextEncoder().encode(head + body);
  for (let sent = 0; sent < rest.length;) sent += await socket.write(rest.subarray(sent));
  return () => socket.close();
}

Deno.test("a client that leaves before its whole answer ends the work, however long its request is", async () => {
  for (const path of Object.keys(BODIES)) {
    for (const bytes of [1000, 100_000]) {
      const service = new FakeService(late(gate().opened));
      await serving(appOver(service, { earlyMs: 100 }), async (base) => {
        for (const begun of [false, true]) {
          const { length } = service.requests;
          const leave = await send(base, path, bytes);
          await until(() => service.requests.length > length, "it does not come");
          if (begun) await new Promise((resolve) => setTimeout(resolve, 150));
          leave();
          await until(
            () => service.cancelled.length > length,
            `${path} with ${bytes} bytes goes on`,
          );
        }
      });
    }
  }
});

Deno.test("an answer that takes long is white space and then the JSON that it would have been", async () => {
  for (const [path, body] of Object.entries(BODIES)) {
    const quick = await (await post(appOver(new FakeService(speak(["late"]))), path, body)).json();
    const { opened, open } = gate();
    const app = appOver(new FakeService(late(opened)), { earlyMs: 1, pingSeconds: 0.01 });
    const response = await post(app, path, body);
    assertEquals([response.status, response.headers.get("content-type")], [
      200,
      "application/json",
    ]);
    const text = response.text();
    await soon();
    open();
    assertMatch(await text, /^\n{2,}\{/);
    const { id: _, created: _c, created_at: _a, completed_at: _b, ...rest } = JSON.parse(
      await text,
    );
    const { id: _i, created: _d, created_at: _e, completed_at: _f, ...same } = quick;
    const ids = /(msg|call)_\w+/g;
    assertEquals(
      JSON.stringify(rest).replace(ids, ""),
      JSON.stringify(same).replace(ids, ""),
      path,
    );
  }
});

Deno.test("a failure has its status until the answer has begun, and is the JSON from then on", async () => {
  const timeout = new Failure("timeout", "It took too long");
  for (const [path, body] of Object.entries(BODIES)) {
    const early = appOver(new FakeService(late(soon(), timeout)), { earlyMs: 60_000 });
    assertEquals((await post(early, path, body)).status, 408);
    const { opened, open } = gate();
    const begun = appOver(new FakeService(late(opened, timeout)), { earlyMs: 1 });
    const response = await post(begun, path, body);
    assertEquals(response.status, 200);
    open();
    const json = await response.json();
    if (path === "/v1/messages") {
      assertEquals([json.type, json.error.message], ["error", timeout.message]);
    } else if (path === "/v1/responses") {
      assertEquals([json.status, json.error], ["failed", {
        code: "timeout",
        message: timeout.message,
      }]);
    } else assertEquals(envelope(json).code, "timeout");
  }
});

Deno.test("without pings an answer begins when it is there: late failures have their status", async () => {
  const service = new FakeService(late(soon(), new Failure("timeout", "It took too long")));
  const app = appOver(service, { earlyMs: 1, pingSeconds: 0 });
  await failed(await post(app, "/v1/completions", { prompt: "hi" }), 408);
});

Deno.test("openai: an answer that begins early is read as any other", async () => {
  const { opened, open } = gate();
  const app = appOver(new FakeService(late(opened)), { earlyMs: 1 });
  // Its head is there: the answer has begun.
  const begun = async (...args: Parameters<typeof app.fetch>) => {
    const response = await app.fetch(...args);
    open();
    return response;
  };
  await serving({ fetch: begun }, async (base) => {
    const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: "unused", maxRetries: 0 });
    const answer = await client.chat.completions.create({
      model: "fake/model",
      messages: [{ role: "user", content: "hi" }],
    });
    assertEquals(answer.choices[0]!.message.content, "late");
  });
});

Deno.test("embeddings: a request that has begun waits for a full queue, one that hasn't is told", async () => {
  const input = Array.from({ length: 20 }, (_, i) => [i + 1]);
  const service = new FakeService();
  const busy = new Failure("too_many_requests", "The queue is full");
  service.refusals.set(16, busy);
  const answer = post(appOver(service), "/v1/embeddings", { input });
  await soon();
  service.refusals.clear();
  assertEquals((await (await answer).json()).data.length, 20);
  const full = new FakeService();
  full.refusals.set(0, busy);
  await failed(await post(appOver(full), "/v1/embeddings", { input }), 429);
});

Deno.test("embeddings: one input that is too long is a 400 before any is run", async () => {
  const service = new FakeService();
  service.info = { ...service.info, contextTokens: 8 };
  const input = [...Array(20).fill([1]), Array(9).fill(1)];
  const error = await failed(await post(appOver(service), "/v1/embeddings", { input }), 400);
  assertEquals([error.code, service.requests.length], ["context_length_exceeded", 0]);
  assertStringIncludes(error.message, "9 tokens");
});
