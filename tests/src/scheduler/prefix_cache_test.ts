// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { FULL_ATTENTION } from "../../../src/engine/engine.ts";
import type { SchedulerOptions } from "../../../src/scheduler/scheduler.ts";
import type { FakeOptions } from "../../fixtures/fake_engine.ts";
import { promptOf } from "../../fixtures/requests.ts";
import type { Kept } from "./jobs.ts";
import { alone, finish, setUp } from "./world.ts";

function cached(script: FakeOptions = {}, options: SchedulerOptions = {}) {
  const world = setUp(script, { prefixCache: true, ...options });
  /** Waits until nothing runs; unlike `finish`, the scheduler stays open. */
  const idle = async () => {
    while (world.scheduler.running + world.scheduler.waiting > 0) {
      await new Promise((done) => setTimeout(done));
    }
  };
  return { ...world, idle };
}

/** A document and a question about it. */
function asking(question: number, documentTokens = 1000, questionTokens = 10): Int32Array {
  const prompt = promptOf(documentTokens + questionTokens);
  prompt.fill(question, documentTokens);
  return prompt;
}

/** Tokens that each of the engine's steps ran in all. */
function run(world: ReturnType<typeof cached>): number {
  return world.engine.steps.flat().reduce((sum, { tokens }) => sum + tokens, 0);
}

async function givesWhatItGivesAlone(output: Kept, prompt: Int32Array, fields = {}) {
  assertEquals([output.of(0)], await alone({ prompt, ...fields }));
}

Deno.test("a second question about a document runs only what is new", async () => {
  const world = cached();
  const first = world.submit({ prompt: asking(1) });
  await world.idle();
  const before = run(world);
  const second = world.submit({ prompt: asking(2) });
  await world.idle();
  assertEquals([first.output.cachedTokens, second.output.cachedTokens], [0, 1000]);
  // Ten tokens of the question and seven of the answer.
  assertEquals(run(world) - before, 17);
  await givesWhatItGivesAlone(second.output, asking(2));
  assertEquals(world.scheduler.cache!.figures().hitTokens, 1000);
  await finish(world);
});

Deno.test("an answer is there for the next turn, and of an exact repeat one token is run", async () => {
  const world = cached();
  const { output } = world.submit({ prompt: asking(1), maxTokens: 50 });
  await world.idle();
  const again = world.submit({ prompt: asking(1), maxTokens: 50 });
  await world.idle();
  assertEquals([again.output.cachedTokens, again.output.of(0)], [1009, output.of(0)]);
  const turn = Int32Array.from([...asking(1), ...output.of(0), 7, 8, 9]);
  const next = world.submit({ prompt: turn });
  await world.idle();
  // The last token of an answer was sampled and not run.
  assertEquals(next.output.cachedTokens, 1010 + 49);
  await givesWhatItGivesAlone(next.output, turn);
  await finish(world);
});

Deno.test("questions that arrive together run their document once", async () => {
  const world = cached({ maxStepTokens: 200 });
  const outputs = [1, 2, 3, 4].map((question) => world.submit({ prompt: asking(question) }).output);
  await world.idle();
  assertEquals(outputs.map((output) => output.cachedTokens), [0, 1000, 1000, 1000]);
  assertEquals(run(world), 1000 + 4 * (10 + 7));
  for (const [i, output] of outputs.entries()) await givesWhatItGivesAlone(output, asking(i + 1));
  await finish(world);
});

Deno.test("who waits for a prompt of another goes on alone with what is there when that one leaves", async () => {
  const world = cached({
    maxStepTokens: 200,
    during: (step) => {
      if (step === 2) first.cancel();
    },
  });
  const first = world.submit({ prompt: asking(1) });
  const second = world.submit({ prompt: asking(2) });
  const third = world.submit({ prompt: asking(3) });
  await world.idle();
  // The step in which it was cancelled came to nothing.
  assertEquals([second.output.cachedTokens, third.output.cachedTokens], [400, 1000]);
  await givesWhatItGivesAlone(second.output, asking(2));
  await givesWhatItGivesAlone(third.output, asking(3));
  await finish(world);
});

Deno.test("a failed job leaves nothing to share", async () => {
  const world = cached({ failStep: (step) => step === 1 ? new Error("boom") : null });
  const first = world.submit({ prompt: asking(1) });
  await world.idle();
  assertEquals(first.output.failure?.kind, "engine");
  assertEquals(world.scheduler.cache!.idle().length, 0);
  await finish(world);
});

Deno.test("another scope finds nothing", async () => {
  const world = cached();
  world.submit({ prompt: asking(1), cacheScope: "a" });
  await world.idle();
  const other = world.submit({ prompt: asking(1), cacheScope: "b" });
  const own = world.submit({ prompt: asking(1), cacheScope: "a" });
  await world.idle();
  assertEquals([other.output.cachedTokens, own.output.cachedTokens], [0, 1009]);
  await finish(world);
});

Deno.test("KV that was sampled serves only who would have made the same; the exact prompt serves all", async () => {
  const world = cached();
  const attention = (seed: bigint) => ({
    params: { ...FULL_ATTENTION, strategy: "sketch" as const, budget: 0.02, seed },
    from: 1010,
    verify: 0,
  });
  const ask = async (seed: bigint | null) => {
    const { output } = world.submit({
      prompt: asking(1),
      maxTokens: 100,
      attention: seed === null ? null : attention(seed),
    });
    await world.idle();
    return output;
  };
  const first = await ask(1n);
  const turn = Int32Array.from([...asking(1), ...first.of(0), 7]);
  const follow = async (seed: bigint) => {
    const { output } = world.submit({ prompt: turn, attention: attention(seed) });
    await world.idle();
    return output.cachedTokens;
  };
  assertEquals(await follow(2n), 1010);
  assertEquals(await follow(1n), 1010 + 99);
  assertEquals((await ask(null)).cachedTokens, 1009);
  await finish(world);
});

Deno.test("a scored prompt is run, since its tokens' log-probabilities are asked for", async () => {
  const world = cached();
  world.submit({ prompt: asking(1) });
  await world.idle();
  const { output } = world.submit({ prompt: asking(1), scoreAlternatives: 0, maxTokens: 0 });
  await world.idle();
  assertEquals([output.cachedTokens, output.given.length], [0, 1009]);
  await finish(world);
});

Deno.test("cached blocks are free for who needs them: least recently used first, from the end", async () => {
  const world = cached({ kvBlocks: 20, context: 2560 });
  for (const first of [1, 2]) {
    world.submit({ prompt: promptOf(1000, first), maxTokens: 24 });
    await world.idle();
  }
  // Sixteen blocks lie in the cache, and the third prompt needs eight.
  world.submit({ prompt: promptOf(1000, 3), maxTokens: 24 });
  await world.idle();
  const held = world.scheduler.cache!.idle().map(({ tokens }) => [tokens[0], tokens.length]);
  assertEquals(held, [[1, 512], [2, 1023], [3, 1023]]);
  assertEquals(world.engine.outOfBlocks, 0);
  const again = world.submit({ prompt: promptOf(1000, 1), maxTokens: 24 });
  await world.idle();
  assertEquals(again.output.cachedTokens, 512);
  await finish(world);
});

Deno.test("when nothing else is left, a request takes over what it would share", async () => {
  const world = cached({ kvBlocks: 9, context: 1152, maxContexts: 1 });
  world.submit({ prompt: asking(1), maxTokens: 100 });
  await world.idle();
  const { output } = world.submit({ prompt: asking(2), maxTokens: 100 });
  await world.idle();
  assertEquals(output.cachedTokens, 896);
  await givesWhatItGivesAlone(output, asking(2), { maxTokens: 100 });
  await finish(world);
});

Deno.test("what requests have in common is admitted once: many fit that would not fit apart", async () => {
  const world = cached({ kvBlocks: 13, context: 1536 });
  world.submit({ prompt: asking(1), maxTokens: 4 });
  await world.idle();
  let most = 0;
  const outputs = [2, 3, 4].map((question) =>
    world.submit({ prompt: asking(question), maxTokens: 100 }).output
  );
  outputs[0]!.onToken = () => most = Math.max(most, world.scheduler.running);
  await world.idle();
  assertEquals(most, 3);
  assertEquals([world.engine.outOfBlocks, world.engine.peakBlocks], [0, 13]);
  await finish(world);
});

Deno.test("a choice of several starts from the cache, too", async () => {
  const world = cached();
  world.submit({ prompt: asking(1) });
  await world.idle();
  const fields = { prompt: asking(2), n: 3 };
  const { output } = world.submit(fields);
  await world.idle();
  assertEquals(output.cachedTokens, 1000);
  assertEquals([0, 1, 2].map((choice) => output.of(choice)), await alone(fields));
  await finish(world);
});

Deno.test("sessions list idle contexts, hold one against eviction, reserve room and hand one in", async () => {
  const world = cached({ kvBlocks: 20, context: 2560 });
  const cache = world.scheduler.cache!;
  for (const first of [1, 2]) {
    world.submit({ prompt: promptOf(1000, first), maxTokens: 24, cacheScope: "a" });
    await world.idle();
  }
  assertEquals(cache.idle().map(({ origin, tokens }) => [origin, tokens.length]), [
    [{ scope: "a", provenance: "exact" }, 1023],
    [{ scope: "a", provenance: "exact" }, 1023],
  ]);
  const asked: number[] = [];
  let letGo: (() => void) | null = null;
  cache.keeper = (entry) => {
    asked.push(entry.tokens[0]!);
    letGo ??= cache.hold(entry);
    return true;
  };
  await world.scheduler.alone(async () => {
    // Four blocks are free: two more are taken from the end of the second, as the first one is kept.
    const reserved = cache.reserve(6)!;
    assertEquals(asked, [1, 2]);
    assertEquals(cache.idle().map(({ tokens }) => tokens.length), [1023, 768]);
    assertEquals([cache.reserve(7), cache.hold(cache.idle()[0]!)], [null, null]);
    const context = world.engine.createContext();
    await world.engine.step([{
      context,
      tokens: promptOf(300, 3),
      sampling: null,
      choice: 0,
      promptTokens: 300,
      alternatives: 0,
    }]);
    reserved();
    cache.insert(context, { scope: "a", provenance: "exact" }, promptOf(300, 3));
  });
  const hit = world.submit({ prompt: promptOf(310, 3), cacheScope: "a" });
  // It needs eighteen blocks: the held eight are in its way until they are let go.
  const large = world.submit({ prompt: promptOf(2200, 4), maxTokens: 100 });
  await new Promise((done) => setTimeout(done, 5));
  assertEquals([hit.output.cachedTokens, large.output.cachedTokens], [300, null]);
  letGo!();
  letGo!();
  await world.idle();
  assertEquals(large.output.tokens.length, 100);
  await finish(world);
});

Deno.test("a context that is held can still be forked", async () => {
  const world = cached();
  world.submit({ prompt: asking(1) });
  await world.idle();
  const letGo = await world.scheduler.alone(() => {
    const { cache } = world.scheduler;
    return cache!.hold(cache!.idle()[0]!)!;
  });
  const { output } = world.submit({ prompt: asking(2) });
  await world.idle();
  assertEquals(output.cachedTokens, 1000);
  letGo();
  await finish(world);
});

Deno.test("what would be lost is evicted last, and then the least recently used first", async () => {
  const world = cached({ kvBlocks: 24, context: 2560 });
  const cache = world.scheduler.cache!;
  for (const first of [1, 2]) {
    world.submit({ prompt: promptOf(1000, first), maxTokens: 24 });
    await world.idle();
  }
  const lengths = () => cache.idle().map(({ tokens }) => tokens.length);
  await world.scheduler.alone(() => {
    // Eight blocks are free.
    assertEquals(cache.evictedFor(8, 0), []);
    assertEquals(cache.evictedFor(9, 0), cache.idle().slice(0, 1));
    assertEquals(cache.evictedFor(0, 15), cache.idle().slice(0, 1));
    cache.keeper = ({ tokens }) => tokens[0] !== 1;
    const letGo = cache.reserve(10)!;
    assertEquals(lengths(), [1023, 768]);
    letGo();
    cache.keeper = () => false;
    cache.reserve(12)!();
    assertEquals(lengths(), [768, 768]);
    cache.keeper = null;
  });
  await finish(world);
});
