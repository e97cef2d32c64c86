// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { AttendRequest } from "../../ffi/attend.ts";
import { FULL_ATTENTION, GREEDY } from "../../src/engine/engine.ts";
import { DEFAULT_SETTINGS, type IndexSettings, NO_INDEX } from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import { RECALL, type TestContext, TestEngine } from "../fixtures/native_engine.ts";

const LAYER = 3;
const TOKENS = Array.from({ length: 1500 }, (_, i) => 300 + (i * 7919) % 3000);
const SKETCHED: IndexSettings = { ...NO_INDEX, sketchBits: 2, yardsticks: true };

async function open(index = SKETCHED): Promise<TestEngine> {
  return await TestEngine.open(RECALL, {
    ...DEFAULT_SETTINGS,
    precision: "f32",
    context: 4096,
    index,
  });
}

/** Appends all tokens; q and the attention of the last one at a layer, as the model computed them. */
async function lastToken(context: TestContext) {
  await context.append(TOKENS.slice(0, -4), 500);
  return await context.captured(TOKENS.slice(-4), () => {
    const last = (name: "q" | "attention") => {
      const values = context.engine.readCapture(name, LAYER);
      return values.slice(-values.length / 4) as Float32Array<ArrayBuffer>;
    };
    return { q: last("q"), attention: last("attention") };
  });
}

function difference(a: Float32Array, b: Float32Array): number {
  const norm = (values: Float32Array) => Math.hypot(...values);
  return norm(a.map((value, i) => value - b[i]!)) / norm(b);
}

Deno.test("attending the last token's query again gives what the step gave", async () => {
  await using test = await open();
  using context = test.context();
  const { q, attention } = await lastToken(context);
  const request: AttendRequest = { context: context.id, layer: LAYER, params: FULL_ATTENTION, q };
  const full = await test.engine.attend(request);
  assert(difference(full.output, attention) < 1e-5);
  assertEquals(full.statistics.sampled, null);
  assertEquals([full.statistics.keysTotal, full.scores], [TOKENS.length, null]);

  const sketch = { ...FULL_ATTENTION, strategy: "sketch" as const, budget: 0.5, seed: 3n };
  const sampled = await test.engine.attend({ ...request, params: sketch, verify: true });
  const error = difference(sampled.output, full.output);
  assert(error > 0 && error < 0.5, `${error}`);
  assert(sampled.statistics.sampled!.verifyError! > 0);
  assert(sampled.statistics.keysRead < TOKENS.length);
  const again = await test.engine.attend({ ...request, params: sketch });
  assertEquals(again.output, sampled.output);
  assertEquals(again.statistics.sampled!.verifyError, null);
});

Deno.test("scores come for every head and token, true ones or the sketch's", async () => {
  await using test = await open();
  using context = test.context();
  const { q } = await lastToken(context);
  const scores = async (strategy: "full" | "sketch") => {
    const params = { ...FULL_ATTENTION, strategy, budget: 0.5 };
    const request = { context: context.id, layer: LAYER, params, q, scores: true };
    return (await test.engine.attend(request)).scores!;
  };
  const [truth, estimate] = [await scores("full"), await scores("sketch")];
  const heads = test.source.config.heads;
  assertEquals([truth.length, estimate.length], [heads * TOKENS.length, heads * TOKENS.length]);
  assert(truth.every(Number.isFinite));
  const known = [...estimate.keys()].filter((i) => !Number.isNaN(estimate[i]!));
  assert(known.length > truth.length / 2);
  const error = known.reduce((sum, i) => sum + (estimate[i]! - truth[i]!) ** 2, 0) / known.length;
  const mean = known.reduce((sum, i) => sum + truth[i]!, 0) / known.length;
  const spread = known.reduce((sum, i) => sum + (truth[i]! - mean) ** 2, 0) / known.length;
  assert(error < 0.3 * spread, `${error} of ${spread}`);
});

Deno.test("what cannot be attended is refused with a sentence", async () => {
  await using test = await open({ ...NO_INDEX });
  using context = test.context();
  const { heads, headDim, layers } = test.source.config;
  const request: AttendRequest = {
    context: context.id,
    layer: LAYER,
    params: FULL_ATTENTION,
    q: new Float32Array(heads * headDim),
  };
  const refuses = (fields: Partial<AttendRequest>, part: string) =>
    assertRejects(() => test.engine.attend({ ...request, ...fields }), Failure, part);
  await refuses({}, "no tokens");
  await context.append(TOKENS, 500);
  await refuses({ q: new Float32Array(3) }, "q has 3 values");
  await refuses({ layer: layers }, `There is no layer ${layers}`);
  await refuses({ layer: -1 }, "There is no layer -1");
  await refuses({ context: 12345 }, "12345");
  await refuses({ params: { ...FULL_ATTENTION, strategy: "sketch" } }, "no sketch index");
  await refuses({ params: { ...FULL_ATTENTION, strategy: "topk" } }, "no yardstick");
  await test.engine.attend(request);
});

Deno.test("the exact part of a context ends where sampling starts, and truncation keeps it", async () => {
  await using test = await open();
  using context = test.context();
  const { engine } = test;
  await context.append(TOKENS, 500);
  assertEquals(engine.contextExact(context.id), TOKENS.length);
  const attention = {
    ...FULL_ATTENTION,
    strategy: "sketch" as const,
    budget: 0.3,
    from: TOKENS.length + 1,
    verify: true,
  };
  const step = () =>
    context.step([5], { sampling: GREEDY, attention, promptTokens: TOKENS.length });
  assertEquals((await step()).sampled, null);
  assertEquals(engine.contextExact(context.id), TOKENS.length + 1);
  const { sampled } = await step();
  assert(sampled!.offloaded > 1000 && sampled!.chosenRows >= 256);
  assert(sampled!.verifyError! >= 0);
  await step();
  assertEquals(engine.contextExact(context.id), TOKENS.length + 1);
  using fork = context.fork(TOKENS.length + 2);
  assertEquals(engine.contextExact(fork.id), TOKENS.length + 1);
  engine.truncateContext(context.id, 700);
  assertEquals(engine.contextExact(context.id), 700);
});
