// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { EngineLimits } from "../../../src/engine/engine.ts";
import type { Job } from "../../../src/scheduler/job.ts";
import type { ChunkPace } from "../../../src/scheduler/pace.ts";
import { planStep, stepSequence } from "../../../src/scheduler/plan.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import { job } from "./jobs.ts";

function limits(fields: Partial<EngineLimits> = {}): EngineLimits {
  return new FakeEngine({ maxStepTokens: 1000, maxStepSequences: 8, ...fields }).limits;
}

/** A pace of a token a millisecond: so many prefill tokens beside those who decode, and as many as fit alone. */
function beside(tokens: number): ChunkPace {
  return {
    prefillMs: (decoding) => decoding === 0 ? Infinity : tokens,
    tokensIn: (ms) => Math.max(0, Math.floor(ms)),
    msOf: (tokens) => tokens,
    lacksDecode: () => false,
  };
}

const BESIDE = beside(64);

function running(fields: Parameters<typeof job>[0] = {}): Job {
  const made = job(fields);
  made.state = "running";
  return made;
}

/** A job that has run its prompt and has one token to feed. */
function decoding(): Job {
  const made = running({ promptTokens: 10 });
  made.sequences[0]!.length = 10;
  made.sequences[0]!.generated.push(65);
  return made;
}

function shares(jobs: Job[], batch: ReturnType<typeof planStep>): number[] {
  return jobs.map(({ sequences }) =>
    batch.entries.find((entry) => entry.sequence === sequences[0])?.tokens ?? 0
  );
}

Deno.test("a prompt alone runs in chunks as large as a step", () => {
  const jobs = [running({ promptTokens: 3000 })];
  assertEquals(shares(jobs, planStep(jobs, limits(), BESIDE, 0)), [1000]);
});

Deno.test("beside decoding neighbours a prompt runs in small chunks", () => {
  const jobs = [decoding(), running({ promptTokens: 3000 }), decoding()];
  const batch = planStep(jobs, limits(), BESIDE, 0);
  assertEquals(shares(jobs, batch), [1, 64, 1]);
  assertEquals([batch.prefillTokens, batch.decodeTokens], [64, 2]);
});

Deno.test("prompts wait a step where it isn't known what decode takes", () => {
  const jobs = [decoding(), running({ promptTokens: 3000 })];
  const unsure = { ...BESIDE, lacksDecode: (decoding: number) => decoding === 1 };
  assertEquals(shares(jobs, planStep(jobs, limits(), unsure, 0)), [1, 0]);
  assertEquals(shares(jobs.slice(1), planStep(jobs.slice(1), limits(), unsure, 1)), [1000]);
});

Deno.test("a short prompt isn't stuck behind a long one, and the long one gets most", () => {
  const jobs = [running({ promptTokens: 3000 }), running({ promptTokens: 2000 }), running()];
  assertEquals(shares(jobs, planStep(jobs, limits(), BESIDE, 0)), [750, 245, 5]);
});

Deno.test("what short prompts leave goes to the oldest", () => {
  const jobs = [running({ promptTokens: 3000 }), running(), running()];
  assertEquals(shares(jobs, planStep(jobs, limits(), BESIDE, 0)), [990, 5, 5]);
});

Deno.test("chunks shrink with the keys before them, down to one that the oldest and the shortest always get", () => {
  const deep: ChunkPace = {
    prefillMs: () => 100,
    tokensIn: (ms, depth) => Math.floor(ms / (1 + depth / 100)),
    msOf: (tokens, depth) => tokens * (1 + depth / 100),
    lacksDecode: () => false,
  };
  const at = (depth: number) => {
    const made = running({ promptTokens: 3000 });
    made.sequences[0]!.length = depth;
    return made;
  };
  assertEquals(shares([decoding()], planStep([decoding(), at(0)], limits(), deep, 0)), [0]);
  for (const [depth, tokens] of [[0, 96], [50, 64], [1000, 32]] as const) {
    const jobs = [decoding(), at(depth)];
    assertEquals(shares(jobs, planStep(jobs, limits(), deep, 0)), [1, tokens]);
  }
  const many = [
    decoding(),
    at(1000),
    running({ promptTokens: 900 }),
    running({ promptTokens: 800 }),
  ];
  assertEquals(shares(many, planStep(many, limits(), deep, 0)), [1, 32, 0, 32]);
});

Deno.test("paused, released and ended ones are left out", () => {
  const jobs = [decoding(), decoding(), decoding(), decoding()];
  jobs[0]!.state = "paused";
  jobs[1]!.state = "released";
  jobs[2]!.sequences[0]!.ended = true;
  assertEquals(shares(jobs, planStep(jobs, limits(), BESIDE, 0)), [0, 0, 0, 1]);
});

Deno.test("with more sequences than a step takes, those served longest ago come first", () => {
  const jobs = Array.from({ length: 5 }, decoding);
  const few = limits({ maxStepSequences: 2 });
  const rounds = [0, 1, 2, 3, 4].map((step) => shares(jobs, planStep(jobs, few, BESIDE, step + 1)));
  assertEquals(rounds.map((round) => round.join("")), [
    "11000",
    "00110",
    "10001",
    "01100",
    "10010",
  ]);
});

Deno.test("no step exceeds the engine's limits, and none is empty while someone can run", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 2, max: 900 })), { minLength: 1 }),
      fc.integer({ min: 1, max: 600 }),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 512 }),
      (prompts, maxStepTokens, maxStepSequences, chunk) => {
        const jobs = prompts.map((promptTokens) =>
          promptTokens === 0 ? decoding() : running({ promptTokens })
        );
        const few = limits({ maxStepTokens, maxStepSequences });
        const { entries, prefillTokens, decodeTokens } = planStep(jobs, few, beside(chunk), 1);
        const tokens = entries.reduce((sum, entry) => sum + entry.tokens, 0);
        assert(entries.length > 0 && entries.length <= maxStepSequences);
        assert(tokens <= maxStepTokens);
        assertEquals(prefillTokens + decodeTokens, tokens);
        assert(entries.every((entry) => entry.tokens > 0));
        // The oldest and the shortest prompt get 32 tokens whatever they take.
        if (decodeTokens > 0) assert(prefillTokens <= chunk + 64);
        assertEquals(new Set(entries.map((entry) => entry.sequence)).size, entries.length);
      },
    ),
    { numRuns: 2000, seed: 6 },
  );
});

Deno.test("only the end of what is known is sampled after, and until a job forks nothing is", () => {
  const small = limits({ maxStepTokens: 100 });
  const one = running({ promptTokens: 150 });
  assertEquals(planStep([one], small, BESIDE, 0).entries.map((entry) => entry.samples), [false]);
  one.sequences[0]!.length = 100;
  assertEquals(planStep([one], small, BESIDE, 0).entries.map((entry) => entry.samples), [true]);
  const three = running({ promptTokens: 90, n: 3 });
  const [root] = planStep([three], small, BESIDE, 0).entries;
  assertEquals([root!.tokens, root!.samples], [89, false]);
  three.markForked();
  for (const sequence of three.sequences) sequence.length = 89;
  const forks = planStep([three], small, BESIDE, 0).entries;
  assertEquals(forks.map((entry) => [entry.sequence.choice, entry.tokens, entry.samples]), [
    [0, 1, true],
    [1, 1, true],
    [2, 1, true],
  ]);
});

Deno.test("a scored prompt runs in chunks of 512 that each name the token after them, once", () => {
  const scoring = running({ promptTokens: 700, scoreAlternatives: 2 });
  const { prompt } = scoring.spec;
  const [first] = planStep([scoring], limits(), BESIDE, 0).entries;
  assertEquals(first!.tokens, 512);
  first!.context = 1;
  assertEquals(stepSequence(first!).score, { nextToken: prompt[512]!, alternatives: 2 });
  scoring.sequences[0]!.length = 512;
  scoring.scored = 513;
  const [second] = planStep([scoring], limits(), BESIDE, 0).entries;
  assertEquals([second!.tokens, stepSequence(second!).score?.nextToken], [188, -1]);
  scoring.scored = 700;
  assertEquals(stepSequence(second!).score, undefined);
});

Deno.test("a deterministic prompt is fed in whole blocks, however little time and whoever else runs", () => {
  const slow = beside(1);
  const jobs = [
    decoding(),
    running({ promptTokens: 300, deterministic: true }),
    running({ promptTokens: 500, deterministic: true }),
    running({ promptTokens: 140, deterministic: true }),
  ];
  const fed = [0, 1, 2].map((step) => {
    const batch = planStep(jobs, limits(), slow, step);
    const tokens = shares(jobs, batch);
    batch.entries.forEach(({ sequence, tokens }) => {
      if (sequence.feedable > 1) sequence.length += tokens;
    });
    return tokens;
  });
  // The oldest and the one that needs the least; when that one decodes, who is left.
  assertEquals(fed, [[1, 128, 0, 128], [1, 128, 0, 12], [1, 44, 128, 1]]);
  const narrow = planStep([decoding(), jobs[2]!], limits({ maxStepTokens: 100 }), slow, 9);
  assertEquals(narrow.prefillTokens, 0);
});

Deno.test("a deterministic job feeds its prompt in chunks and generated tokens one by one, again too", () => {
  for (const n of [1, 2]) {
    const again = running({ promptTokens: 10, maxTokens: 50, n, deterministic: true });
    const [first, second] = again.sequences;
    first!.generated.push(...Array.from({ length: 3 }, (_, i) => 200 + i));
    if (second !== undefined) second.ended = true;
    again.forget();
    const fed: [number, boolean][] = [];
    while (first!.length < first!.goal) {
      const [entry] = planStep([again], limits(), BESIDE, 0).entries;
      fed.push([entry!.tokens, entry!.samples]);
      first!.length += entry!.tokens;
    }
    const single: [number, boolean][] = [[1, false], [1, false], [1, true]];
    const prompt: [number, boolean][] = n === 1 ? [[10, false]] : [[9, false], [1, false]];
    assertEquals(fed, [...prompt, ...single]);
  }
});

Deno.test("a job whose KV was given up feeds its prompt and what it had generated", () => {
  const again = running({ promptTokens: 10, maxTokens: 50 });
  again.sequences[0]!.generated.push(...Array.from({ length: 20 }, (_, i) => 200 + i));
  const [entry] = planStep([again], limits(), BESIDE, 0).entries;
  assertEquals([entry!.tokens, entry!.samples], [30, true]);
  assertEquals(Array.from(stepSequence(entry!).tokens), [
    ...again.spec.prompt,
    ...again.sequences[0]!.generated,
  ]);
});
