// SPDX-License-Identifier: Apache-2.0
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  correlation,
  coverage,
  drawVariance,
  headErrors,
  keyGeometry,
  quantile,
} from "../../bench/figures/measures.ts";
import { positionsOf } from "../../bench/figures/reading.ts";

/** Numbers from 0 to 1, the same each time. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => (state = (1103515245 * state + 12345) % 2147483648) / 2147483648;
}

Deno.test("errors are relative to each head", () => {
  const full = Float32Array.of(3, 4, 0, 2);
  assertEquals(headErrors(Float32Array.of(3, 4, 0, 3), full, 2), [0, 0.5]);
  assertEquals(headErrors(Float32Array.of(0, 0, 0, 2), full, 2), [1, 0]);
});

Deno.test("the best keys cover what their weights sum to", () => {
  const scores = Float32Array.of(Math.log(1), Math.log(4), Math.log(3), Math.log(2));
  const [none, first, half, all] = coverage(scores, [0, 0.25, 0.5, 1]);
  assertEquals(none, 0);
  assertAlmostEquals(first!, 0.4, 1e-6);
  assertAlmostEquals(half!, 0.7, 1e-6);
  assertEquals(all, 1);
});

Deno.test("the predicted variance is that of independent draws", () => {
  const random = randomOf(7);
  const [tokens, dims, draws, repeats] = [40, 3, 5, 20_000];
  const scores = Float32Array.from({ length: tokens }, () => 3 * random());
  const values = Array.from(
    { length: tokens },
    () => Float32Array.from({ length: dims }, () => random() - 0.3),
  );
  const range = { begin: 4, end: 30 };
  const predicted = drawVariance(scores, range, (token) => values[token]!) / draws;

  const weights = Array.from(scores, Math.exp);
  const total = weights.reduce((a, b) => a + b);
  const chosen = weights.slice(range.begin, range.end).reduce((a, b) => a + b);
  const sum = (each: (token: number) => number, tokens: number[]) =>
    Array.from(
      { length: dims },
      (_, i) => tokens.reduce((s, t) => s + each(t) * values[t]![i]!, 0),
    );
  const everything = sum((t) => weights[t]! / total, [...weights.keys()]);
  const exact = sum(
    (t) => weights[t]! / total,
    [...weights.keys()].filter((t) => t < 4 || t >= 30),
  );
  let measured = 0;
  for (let repeat = 0; repeat < repeats; ++repeat) {
    const output = [...exact];
    for (let draw = 0; draw < draws; ++draw) {
      let [left, token] = [random() * chosen, range.begin];
      while ((left -= weights[token]!) > 0) token++;
      values[token]!.forEach((v, i) => output[i]! += chosen / total * v / draws);
    }
    measured += output.reduce((s, x, i) => s + (x - everything[i]!) ** 2, 0) / repeats;
  }
  const size = everything.reduce((s, x) => s + x * x, 0);
  assertAlmostEquals(measured / size / predicted, 1, 0.03);
});

Deno.test("keys on a line with an opposite first one have the geometry that this says", () => {
  const along = (x: number) => Float32Array.of(x, 0);
  const keys = [along(-1), ...Array.from({ length: 256 }, (_, i) => along(1 + i % 2))];
  const { sinkToMean, keysToMean, queriesToSink, residual, centredToMean } = keyGeometry(keys, [
    along(-3),
  ]);
  assertEquals([sinkToMean, keysToMean, queriesToSink], [-1, 1, 1]);
  // Half the keys lie half a unit below their block's mean, half above: no direction left.
  assertAlmostEquals(centredToMean, 0, 1e-6);
  assertAlmostEquals(residual, (0.5 / 1 + 0.5 / 2) / 2, 1e-6);
});

Deno.test("quantiles, correlations and positions", () => {
  assertEquals(quantile([5, 1, 4, 2, 3], 0.99), 5);
  assertEquals(quantile([5, 1, 4, 2, 3], 0.5), 3);
  assertAlmostEquals(correlation([1, 2, 3], [-2, -4, -6]), -1, 1e-12);
  assertEquals(positionsOf(1000, 4, 512), [615, 743, 871, 999]);
  assertEquals(positionsOf(3, 5, 512), [0, 1, 2]);
  assert(positionsOf(8000, 12, 512).every((position) => position >= 7488));
});
