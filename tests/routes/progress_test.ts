// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { Failure } from "../../src/errors.ts";
import { done, FakeService, finish, text } from "../fixtures/fake_service.ts";
import { appOver, chunksOf, failed, ok, post } from "./client.ts";

const CHAT = "/v1/chat/completions";
const messages = [{ role: "user", content: "hi" }];

Deno.test("return_progress: chunks without choices say how far the prompt is, as llama.cpp's do", async () => {
  const service = new FakeService();
  service.script = function* () {
    yield { type: "progress", processed: 10, cached: 10, total: 30, ms: 0.2 };
    yield { type: "progress", processed: 20, cached: 10, total: 30, ms: 7.4 };
    yield text(0, "a");
    yield finish(0);
    yield done();
  };
  const ask = { messages, stream: true, return_progress: true };
  const stream = await (await post(appOver(service), CHAT, ask)).text();
  const chunks = chunksOf(stream) as { choices: unknown[]; prompt_progress?: unknown }[];
  assertEquals(chunks.flatMap((chunk) => chunk.prompt_progress ?? []), [
    { total: 30, cache: 10, processed: 10, time_ms: 0 },
    { total: 30, cache: 10, processed: 20, time_ms: 7 },
  ]);
  assertEquals(service.requests[0]!.progress, true);
});

Deno.test("without a stream, and without being asked for, there is no progress", async () => {
  const service = new FakeService();
  await ok(await post(appOver(service), CHAT, { messages, return_progress: true }));
  await ok(await post(appOver(service), CHAT, { messages, stream: false }));
  await (await post(appOver(service), CHAT, { messages, stream: true })).text();
  assertEquals(service.requests.map(({ progress }) => progress), new Array(3).fill(undefined));
});

Deno.test("a request that took too long is a 408 that clients don't try again", async () => {
  const service = new FakeService();
  // deno-lint-ignore require-yield
  service.script = function* () {
    throw new Failure("timeout", "It took longer than it may.");
  };
  const response = await post(appOver(service), CHAT, { messages });
  assertEquals(response.headers.get("x-should-retry"), "false");
  assertEquals((await failed(response, 408)).code, "timeout");
});
