// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertMatch } from "@std/assert";
import { finish, setUp } from "./world.ts";
import { VirtualClock } from "./virtual_clock.ts";

Deno.test("a request that takes longer than it may is ended within its step, in the queue too", async () => {
  const clock = new VirtualClock();
  const world = setUp({
    maxContexts: 1,
    during: () => clock.sleep(100, new AbortController().signal),
  }, { clock, timeoutMs: 1000 });
  const slow = world.submit({ maxTokens: 100 });
  const waiting = world.submit({ promptTokens: 6, timeoutMs: 300 });
  const quick = world.submit({ promptTokens: 7, maxTokens: 2 });
  await clock.run(() => clock.due.length === 0);
  assertEquals(slow.output.failure?.kind, "timeout");
  assertMatch(slow.output.failure!.message, /longer than 1 seconds/);
  assertMatch(waiting.output.failure!.message, /longer than 0.3 seconds/);
  assertEquals([slow.output.tokens.length, waiting.output.tokens.length], [9, 0]);
  assertEquals([quick.output.failure?.kind, quick.output.tokens.length], ["timeout", 0]);
  await finish(world);
});

Deno.test("a request in time keeps no timer, and its limit is the lower of its own and the server's", async () => {
  const clock = new VirtualClock();
  const world = setUp({}, { clock, timeoutMs: 500 });
  const outputs = [undefined, 100, 900].map((timeoutMs) =>
    world.submit({ maxTokens: 3, ...(timeoutMs && { timeoutMs }) }).output
  );
  assertEquals(clock.due, [500, 100, 500]);
  await finish(world);
  assertEquals([clock.due, outputs.map(({ failure }) => failure)], [[], [null, null, null]]);
});

Deno.test("who asks for it is told how far the prompt has run, from what was cached on", async () => {
  const world = setUp({ maxStepTokens: 200 }, { prefixCache: true });
  const first = world.submit({ promptTokens: 500, progress: true }).output;
  const silent = world.submit({ promptTokens: 300, cacheScope: "other" }).output;
  while (world.scheduler.running > 0) await new Promise((done) => setTimeout(done));
  assertEquals(first.processed.at(-1)! < 500 && first.processed.length >= 2, true);
  assertEquals(first.processed.toSorted((a, b) => a - b), first.processed);
  assertEquals(silent.processed, []);
  const again = world.submit({ promptTokens: 900, progress: true }).output;
  await finish(world);
  assertEquals([again.cachedTokens, again.processed], [500, [700]]);
});
