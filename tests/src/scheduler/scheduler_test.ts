// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Failure } from "../../../src/errors.ts";
import type { Clock } from "../../../src/scheduler/clock.ts";
import type { JobSpec } from "../../../src/scheduler/job.ts";
import { Scheduler, type SchedulerOptions } from "../../../src/scheduler/scheduler.ts";
import { FakeEngine, type FakeOptions } from "../../fixtures/fake_engine.ts";
import { failureOf } from "../../fixtures/requests.ts";
import { Kept, spec } from "./jobs.ts";

function setUp(script: FakeOptions = {}, options: SchedulerOptions = {}) {
  const engine = new FakeEngine(script);
  const scheduler = new Scheduler(engine, options);
  const submit = (fields: Parameters<typeof spec>[0] = {}, output = new Kept()) => {
    const handle = scheduler.submit(spec(fields), output);
    return { ...handle, output };
  };
  return { engine, scheduler, submit };
}

/** Lets everything finish, and checks that the engine was used rightly and nothing is left in it. */
async function finish({ engine, scheduler }: { engine: FakeEngine; scheduler: Scheduler }) {
  while (scheduler.running + scheduler.waiting > 0) await new Promise((done) => setTimeout(done));
  await scheduler.close();
  assertEquals(engine.violations, []);
  assertEquals(engine.usage(), { kvBlocksFree: engine.limits.kvBlocks, contexts: 0 });
}

/** The tokens of each choice of a job that runs alone. */
async function alone(fields: Partial<JobSpec> & { promptTokens?: number }): Promise<number[][]> {
  const world = setUp();
  const { output } = world.submit(fields);
  await finish(world);
  return Array.from({ length: fields.n ?? 1 }, (_, choice) => output.of(choice));
}

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

Deno.test("a failure of one sequence fails its job alone", async () => {
  const world = setUp({
    failSequence: (step, { promptTokens }) =>
      step === 2 && promptTokens === 6 ? "not_finite" : null,
  });
  const first = world.submit({ maxTokens: 10 });
  const second = world.submit({ promptTokens: 6, maxTokens: 10, n: 2 });
  await finish(world);
  assertEquals([first.output.of(0)], await alone({ maxTokens: 10 }));
  assertEquals(second.output.failure?.kind, "engine");
  assert(second.output.failure!.message.includes("NaN"));
});

Deno.test("a failed step fails the jobs in it and frees them, and the next ones run", async () => {
  const world = setUp({
    maxContexts: 2,
    failStep: (step) => step === 3 ? new Error("boom") : null,
  });
  const jobs = [0, 1, 2].map((i) => world.submit({ promptTokens: 5 + i, maxTokens: 10 }));
  await finish(world);
  for (const { output } of jobs.slice(0, 2)) {
    assertEquals([output.failure?.kind, output.tokens.length], ["engine", 3]);
    assertEquals(output.failure!.message, "The engine failed: boom");
  }
  assertEquals([jobs[2]!.output.of(0)], await alone({ promptTokens: 7, maxTokens: 10 }));
});

Deno.test("a job whose text ended in a step that then fails has ended well", async () => {
  const world = setUp({ failStep: (step) => step === 2 ? new Error("boom") : null });
  const output = new Kept();
  output.stopsAfter = 2;
  world.submit({ maxTokens: 10 }, output);
  await finish(world);
  assertEquals([output.tokens.length, output.failure], [2, null]);
});

Deno.test("a choice that the engine has no block for starts over with its siblings, and nothing changes", async () => {
  for (const promptTokens of [1, 200]) {
    const fields = { promptTokens, n: 2, maxTokens: 20 };
    const world = setUp({
      failSequence: (step, { choice }) => step === 6 && choice === 0 ? "out_of_blocks" : null,
    });
    const { output } = world.submit(fields);
    await finish(world);
    assertEquals([output.of(0), output.of(1)], await alone(fields));
  }
});

Deno.test("a job that the engine never has a block for fails instead of trying for ever", async () => {
  const world = setUp({ failSequence: () => "out_of_blocks" });
  const { output } = world.submit();
  await finish(world);
  assertEquals([output.failure?.kind, world.engine.steps.length], ["memory", 4]);
});

Deno.test("a job that gets no context fails with the engine's sentence", async () => {
  const world = setUp();
  world.engine.createContext = () => {
    throw new Failure("engine", "No context is free.");
  };
  const { output } = world.submit();
  await finish(world);
  assertEquals(output.failure?.message, "The engine failed: No context is free.");
});

Deno.test("a job whose second choice gets no context fails, and the first one's is freed", async () => {
  const world = setUp();
  const create = world.engine.createContext.bind(world.engine);
  let left = 1;
  world.engine.createContext = () => {
    if (left-- > 0) return create();
    throw new Failure("engine", "No context is free.");
  };
  const { output } = world.submit({ promptTokens: 1, n: 2 });
  await finish(world);
  assertEquals([output.failure?.kind, world.engine.steps.length], ["engine", 0]);
});

Deno.test("a job that cannot be forked fails, and its root is freed", async () => {
  const world = setUp();
  world.engine.forkContext = () => {
    throw new Failure("engine", "No context is free.");
  };
  const { output } = world.submit({ n: 3 });
  await finish(world);
  assertEquals(output.failure?.message, "The engine failed: No context is free.");
});

Deno.test("an output that throws fails its job alone", async () => {
  const world = setUp();
  const broken = new Kept();
  broken.onToken = () => {
    throw new Error("no such token");
  };
  world.submit({}, broken);
  const { output } = world.submit({ promptTokens: 6 });
  await finish(world);
  assertEquals(broken.failure?.message, "Cannot turn tokens into text: no such token");
  assertEquals(output.tokens.length, 8);
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
