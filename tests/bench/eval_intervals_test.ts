// SPDX-License-Identifier: Apache-2.0
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  effectiveCount,
  meanInterval,
  meanOf,
  shareInterval,
  wilson,
} from "../../bench/eval/intervals.ts";

Deno.test("Wilson's interval is that of the literature", () => {
  // 8 of 10: Agresti and Coull 1998 give .490 to .943; none of 10: 0 to .278.
  const some = wilson(0.8, 10);
  assertAlmostEquals(some.low, 0.4902, 1e-4);
  assertAlmostEquals(some.high, 0.9433, 1e-4);
  const none = wilson(0, 10);
  assertEquals(none.low, 0);
  assertAlmostEquals(none.high, 0.2775, 1e-4);
});

Deno.test("questions of documents that are all right or all wrong count as documents", () => {
  const alike = Array.from({ length: 20 }, (_, i) => Array(4).fill(i % 2));
  assertAlmostEquals(effectiveCount(alike), 20, 1e-9);
  const single = Array.from({ length: 20 }, (_, i) => [i % 2]);
  assertEquals(effectiveCount(single), 20);
  // In each document as many are right as elsewhere: no correlation, all questions count.
  assertEquals(effectiveCount(Array.from({ length: 20 }, () => [0, 1, 0, 1])), 80);
  assertEquals(effectiveCount([[1, 1], [1, 1]]), 4);
  assert(shareInterval(alike).high > shareInterval(alike.map(() => [0, 1, 0, 1])).high);
});

Deno.test("a mean of families weighs families alike and lies in its interval", () => {
  const families = [[[1, 1, 1, 1], [1, 1, 1, 1]], [[0, 1], [1, 0], [0, 0], [1, 1]]];
  const { value, low, high } = meanInterval(families);
  assertEquals(value, 0.75);
  assert(low < value && value < high);
  assertEquals(meanInterval(families), meanInterval(families));
  assertEquals(meanOf(families[1]!), 0.5);
  const single = meanInterval([[[1, 1, 0, 1]]]);
  assert(single.low < 0.75 && single.high === 1, "one document: its questions are resampled");
});

Deno.test("the interval of a mean covers the truth about as often as it says", () => {
  // 40 documents with 4 questions each, a share p of them right, p differing from document to document.
  let state = 12345;
  const random = () => (state = (1103515245 * state + 12345) % 2147483648) / 2147483648;
  let covered = 0;
  const trials = 100;
  for (let trial = 0; trial < trials; ++trial) {
    const clusters = Array.from({ length: 40 }, () => {
      const p = 0.5 + 0.8 * (random() - 0.5);
      return Array.from({ length: 4 }, () => random() < p ? 1 : 0);
    });
    const { low, high } = meanInterval([clusters], trial + 1);
    if (low <= 0.5 && 0.5 <= high) covered++;
  }
  assert(covered / trials > 0.9 && covered / trials < 0.985, `${covered} of ${trials}`);
});
