// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Clock } from "../../../src/scheduler/clock.ts";
import { failureOf } from "../../fixtures/requests.ts";
import { Kept } from "./jobs.ts";
import { alone, finish, setUp } from "./world.ts";

Deno.test("text is made of a step's tokens while the next step runs", async () => {
  const order: string[] = [];
  const world = setUp({ during: (step) => void order.push(`step ${step}`) });
  const output = new Kept();
  output.onToken = () => order.push("token");
  world.submit({ maxTokens: 3 }, output);
  await finish(world);
  assertEquals(order, ["step 0", "step 1", "token", "step 2", "token", "token"]);
});

Deno.test("a job joins while another one decodes, and both are stepped together", async () => {
  const late = new Kept();
  const world = setUp({
    during: (step) => {
      if (step === 2) world.submit({ promptTokens: 7, maxTokens: 3 }, late);
    },
  });
  world.submit({ maxTokens: 8 });
  await finish(world);
  const sizes = world.engine.steps.map((step) => step.map(({ tokens }) => tokens).join("+"));
  assertEquals(sizes, ["5", "1", "1", "1+7", "1+1", "1+1", "1", "1"]);
  assertEquals([late.of(0)], await alone({ promptTokens: 7, maxTokens: 3 }));
});

Deno.test("a choice whose text ended is cancelled within the running step", async () => {
  const world = setUp();
  const output = new Kept();
  output.stopsAfter = 2;
  world.submit({ maxTokens: 100 }, output);
  await finish(world);
  assertEquals([output.tokens.length, world.engine.steps.length, world.engine.cancels], [2, 3, 1]);
});

Deno.test("a job that is cancelled during a step is freed after it, and its neighbour goes on", async () => {
  const world = setUp({
    during: (step) => {
      if (step !== 3) return;
      first.cancel();
      first.cancel();
      assertEquals(world.engine.usage().contexts, 2);
      assertEquals(world.scheduler.running, 1);
    },
  });
  const first = world.submit({ maxTokens: 100 });
  const second = world.submit({ promptTokens: 6, maxTokens: 10 });
  await finish(world);
  // The token of the step before was not delivered yet.
  assertEquals([first.output.tokens.length, first.output.failure], [2, null]);
  assertEquals([second.output.of(0)], await alone({ promptTokens: 6, maxTokens: 10 }));
});

Deno.test("a job that is cancelled in the queue never runs", async () => {
  const world = setUp({ maxContexts: 1 });
  const jobs = [0, 1, 2].map((i) => world.submit({ promptTokens: 5 + i }));
  assertEquals([world.scheduler.running, world.scheduler.waiting], [1, 2]);
  jobs[1]!.cancel();
  jobs[1]!.cancel();
  assertEquals(world.scheduler.waiting, 1);
  await finish(world);
  assertEquals(jobs.map(({ output }) => output.tokens.length), [8, 0, 8]);
});

Deno.test("a job that is cancelled after it ended changes nothing", async () => {
  const world = setUp();
  const first = world.submit();
  await world.scheduler.drain(60_000);
  assertEquals(world.scheduler.running, 0);
  first.cancel();
  await finish(world);
  assertEquals([first.output.tokens.length, first.output.failure], [8, null]);
});

Deno.test("when the queue is full, the next request is told when to come back", async () => {
  const world = setUp({ maxContexts: 1 }, { maxWaiting: 2 });
  for (let i = 0; i < 3; i++) world.submit();
  const failure = failureOf(() => world.submit());
  assertEquals([failure.kind, failure.retryAfterSeconds], ["too_many_requests", 5]);
  assert(failure.message.includes("2 requests wait already"));
  await finish(world);
});

Deno.test("without a queue, what fits now is still admitted", async () => {
  const world = setUp({ maxContexts: 1 }, { maxWaiting: 0 });
  world.submit();
  assertEquals(failureOf(() => world.submit()).kind, "too_many_requests");
  await finish(world);
});

Deno.test("the time to come back is measured on the clock", async () => {
  let now = 0;
  const clock: Clock = { now: () => now, sleep: () => new Promise(() => {}) };
  const world = setUp({ maxContexts: 1, during: () => void (now += 1000) }, {
    maxWaiting: 4,
    clock,
  });
  world.submit({ maxTokens: 6 });
  const last = new Kept();
  let seconds: number | null = null;
  last.onToken = () => {
    if (seconds !== null) return;
    for (let i = 0; i < 4; i++) world.submit();
    seconds = failureOf(() => world.submit()).retryAfterSeconds;
  };
  world.submit({ maxTokens: 6 }, last);
  await finish(world);
  // The first job took six steps, so half of four waiting ones need twelve seconds.
  assertEquals([seconds, last.failure], [12, null]);
});

Deno.test("when memory is short the youngest waits, and everyone gives what it gives alone", async () => {
  const world = setUp({ kvBlocks: 6, context: 700 }, { reservedTokens: 8 });
  const all = [0, 1, 2].map((i) => ({ promptTokens: 100 + i, maxTokens: 500 }));
  const jobs = all.map((fields) => world.submit(fields));
  await finish(world);
  for (const [i, { output }] of jobs.entries()) {
    assertEquals([output.of(0)], await alone(all[i]!));
  }
  assertEquals([world.engine.outOfBlocks, world.engine.peakBlocks], [0, 6]);
  const prefilled = world.engine.steps.flat().filter(({ tokens }) => tokens > 1);
  assert(prefilled.length > 3, "nobody's KV was given up");
});

Deno.test("draining takes no more, waits for the others, and ends them when time is over", async () => {
  let overdue = () => {};
  const clock: Clock = {
    now: () => 0,
    sleep: () => new Promise((resolve) => overdue = resolve),
  };
  const gate = Promise.withResolvers<void>();
  const world = setUp({
    maxContexts: 1,
    during: (step) => {
      if (step === 4) overdue();
      return step < 4 ? undefined : gate.promise;
    },
  }, { clock });
  const jobs = [world.submit({ maxTokens: 3 }), world.submit({ maxTokens: 100 }), world.submit()];
  const drained = world.scheduler.drain(1000);
  assertEquals(failureOf(() => world.submit()).kind, "unavailable");
  // The step that runs when time is over ends because its context is cancelled.
  const cancel = world.engine.cancel.bind(world.engine);
  world.engine.cancel = (context) => {
    cancel(context);
    gate.resolve();
  };
  await drained;
  assertEquals(jobs.map(({ output }) => output.failure?.kind), [
    undefined,
    "unavailable",
    "unavailable",
  ]);
  await finish(world);
});

Deno.test("closing delivers what jobs that have ended still lack", async () => {
  const world = setUp();
  const { output } = world.submit({ maxTokens: 0, n: 2 });
  const running = world.submit();
  await Promise.all([world.scheduler.close(), world.scheduler.close()]);
  assertEquals([output.ended, output.failure], [[0, 1], null]);
  assertEquals(running.output.failure?.kind, "unavailable");
  await finish(world);
});

Deno.test("a job that never fits is a bug of the caller", async () => {
  const world = setUp({ kvBlocks: 2 });
  assertThrows(() => world.submit({ promptTokens: 200, maxTokens: 100 }), RangeError);
  assertThrows(() => world.submit({ n: 17 }), RangeError);
  await finish(world);
});
