// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { JobAttention } from "../../../src/engine/attention.ts";
import { FULL_ATTENTION, type StepSequence } from "../../../src/engine/engine.ts";
import { EXACT, provenanceOf } from "../../../src/engine/provenance.ts";
import { Contexts } from "../../../src/scheduler/contexts.ts";
import { FakeEngine } from "../../fixtures/fake_engine.ts";
import { failureOf, promptOf } from "../../fixtures/requests.ts";
import { alone, finish, setUp } from "./world.ts";

function sketch(from: number, seed = 1n, verify = 0): JobAttention {
  const params = { ...FULL_ATTENTION, strategy: "sketch" as const, budget: 0.02, seed };
  return { params, from, verify };
}

Deno.test("steps carry the strategy, and sampling starts behind the prompt", async () => {
  const seen: StepSequence["attention"][] = [];
  const world = setUp({ during: (_, sequences) => void seen.push(sequences[0]!.attention) });
  world.submit({ promptTokens: 9, maxTokens: 3, attention: sketch(9, 5n) });
  await finish(world);
  const { params } = sketch(9, 5n);
  assertEquals(seen, new Array(3).fill({ ...params, from: 9, verify: false }));
});

Deno.test("steps of exact jobs say nothing of attention", async () => {
  const world = setUp({
    during: (_, [sequence]) => assertEquals("attention" in sequence!, false),
  });
  world.submit();
  await finish(world);
});

Deno.test("the same request gives the same tokens, with another seed others", async () => {
  const fields = { promptTokens: 20, maxTokens: 30 };
  const of = (seed: bigint) => alone({ ...fields, attention: sketch(20, seed) });
  assertEquals(await of(1n), await of(1n));
  assertNotEquals(await of(1n), await of(2n));
  // The first token comes from the prompt, which is exact.
  assertEquals((await of(1n))[0]![0], (await alone(fields))[0]![0]);
});

Deno.test("KV that was given up is made again by sampling at the same positions", async () => {
  const world = setUp({ kvBlocks: 6, context: 700 }, { reservedTokens: 8 });
  const all = [0, 1, 2].map((i) => ({
    promptTokens: 100 + i,
    maxTokens: 500,
    attention: sketch(100 + i, BigInt(i)),
  }));
  const jobs = all.map((fields) => world.submit(fields));
  await finish(world);
  for (const [i, { output }] of jobs.entries()) {
    assertEquals([output.of(0)], await alone(all[i]!));
  }
  const prefilled = world.engine.steps.flat().filter(({ tokens }) => tokens > 100);
  assert(prefilled.length > 3, "nobody's KV was given up");
});

Deno.test("several choices share the exact prompt and sample each for itself", async () => {
  const world = setUp();
  const fields = { promptTokens: 300, n: 3, maxTokens: 10, attention: sketch(300) };
  const { output } = world.submit(fields);
  await finish(world);
  assertEquals(output.failure, null);
  assertEquals([0, 1, 2].map((choice) => output.of(choice).length), [10, 10, 10]);
});

Deno.test("verified tokens are chosen by position, whatever else runs", async () => {
  const verifiedAt = async (neighbours: number) => {
    const positions: number[] = [];
    const world = setUp({
      during: (_, sequences) => {
        for (const { context, tokens, attention } of sequences) {
          if (attention?.verify !== true) continue;
          positions.push(world.engine.contextLength(context) + tokens.length - 1);
        }
      },
    });
    world.submit({ promptTokens: 10, maxTokens: 50, attention: sketch(10, 1n, 0.3) });
    for (let i = 0; i < neighbours; i++) world.submit({ promptTokens: 40 + i });
    await finish(world);
    return positions;
  };
  const positions = await verifiedAt(0);
  assert(positions.length > 5 && positions.length < 30, `${positions.length}`);
  assert(positions.every((position) => position >= 10));
  assertEquals(await verifiedAt(3), positions);
});

Deno.test("a context is never forked with KV that another one sampled", async () => {
  const engine = new FakeEngine();
  const contexts = new Contexts(engine);
  const owner = { sharesBlocks: true };
  const context = contexts.create(owner);
  const attention = sketch(10);
  await engine.step([{
    context,
    tokens: promptOf(12),
    sampling: null,
    choice: 0,
    promptTokens: 10,
    alternatives: 0,
    attention: { ...attention.params, from: 10, verify: false },
  }]);
  const own = provenanceOf(attention, 0);
  for (const wanted of [EXACT, provenanceOf(attention, 1), provenanceOf(sketch(10, 2n), 0)]) {
    const { kind, message } = failureOf(() =>
      contexts.fork({ context, provenance: own }, 12, wanted, owner)
    );
    assertEquals([kind, message.includes("10 of 12 tokens")], ["engine", true]);
  }
  const fork = contexts.fork({ context, provenance: own }, 10, EXACT, owner);
  assertEquals(engine.contextLength(fork), 10);
  assertEquals(engine.violations, []);
});
