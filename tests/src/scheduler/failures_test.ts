// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { JobAttention } from "../../../src/engine/attention.ts";
import { FULL_ATTENTION } from "../../../src/engine/engine.ts";
import { Failure } from "../../../src/errors.ts";
import { Kept } from "./jobs.ts";
import { alone, finish, setUp } from "./world.ts";

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

Deno.test("when the engine refuses a block all the same, what lies in the cache goes, and the job starts over", async () => {
  let refuses = false;
  const world = setUp({ failSequence: () => refuses ? "out_of_blocks" : null }, {
    prefixCache: true,
  });
  world.submit({ promptTokens: 300 });
  while (world.scheduler.running > 0) await new Promise((done) => setTimeout(done));
  const cache = world.scheduler.cache!;
  assertEquals(cache.idle().length, 1);
  refuses = true;
  const output = new Kept();
  world.submit({ promptTokens: 200, cacheScope: "other" }, output);
  while (cache.idle().length > 0) await Promise.resolve();
  refuses = false;
  await finish(world);
  assertEquals([output.failure, output.tokens.length], [null, 8]);
});

/** What a refusal of memory for the tables of an lsh request does to what an lsh and an exact request left. */
async function refusedTables(attention: JobAttention, refusals: number) {
  const left = setUp({
    failSequence: (_, { promptTokens, tokens }) =>
      promptTokens === 200 && tokens.length === 1 && refusals-- > 0 ? "out_of_memory" : null,
  }, { prefixCache: true });
  const idle = async () => {
    while (left.scheduler.running > 0) await new Promise((done) => setTimeout(done));
  };
  left.submit({ promptTokens: 300 });
  left.submit({ promptTokens: 310, cacheScope: "tables", attention });
  await idle();
  const asked = { promptTokens: 200, cacheScope: "other", n: 2, attention: LSH };
  const { output } = left.submit(asked);
  await idle();
  const scopes = left.scheduler.cache!.idle().map(({ origin }) => origin.scope).sort();
  const steps = left.engine.steps.length;
  await finish(left);
  return { failure: output.failure, tokens: output.tokens.length, scopes, steps };
}

const LSH: JobAttention = {
  params: { ...FULL_ATTENTION, strategy: "lsh" },
  from: 200,
  verify: 0,
};

Deno.test("a job without memory for its lsh tables takes that of what lies idle, and nothing else of the cache", async () => {
  // Both choices are refused in the same step.
  const { failure, tokens, scopes } = await refusedTables(LSH, 2);
  assertEquals([failure, tokens, scopes], [null, 16, ["", "other", "other"]]);
});

Deno.test("where nobody else has lsh tables, the job fails at once and the cache stays as it is", async () => {
  const sketch: JobAttention = { ...LSH, params: { ...LSH.params, strategy: "sketch" } };
  const refused = await refusedTables(sketch, Infinity);
  assertEquals([refused.failure?.kind, refused.scopes.slice(0, 1)], ["memory", [""]]);
  assert(refused.scopes.includes("tables"), `${refused.scopes}`);
  const served = await refusedTables(sketch, 0);
  assertEquals(served.steps - refused.steps, 7, "it was tried once");
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

Deno.test("when the engine is lost, all jobs end, those that wait too, and none is taken any more", async () => {
  const told: string[] = [];
  const world = setUp({
    maxContexts: 2,
    failStep: (step) => step === 3 ? new Failure("lost", "The GPU failed.") : null,
  }, { lost: (failure) => told.push(failure.message) });
  const jobs = [0, 1, 2].map((i) => world.submit({ promptTokens: 5 + i, maxTokens: 10 }));
  await finish(world);
  const sentence = "The GPU failed. The server has to be started again.";
  for (const { output } of jobs) {
    assertEquals([output.failure?.kind, output.failure?.message], ["lost", sentence]);
  }
  assertEquals(told, [sentence]);
  assertThrows(() => world.submit({ maxTokens: 1 }), Failure, sentence);
});
