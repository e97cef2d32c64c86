// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import { ATTENTIONS, readStatistics } from "../../ffi/attention.ts";
import { StepBuffers } from "../../ffi/step_buffers.ts";
import * as abi from "../../ffi/symbols.ts";
import { FULL_ATTENTION, GREEDY, type StepSequence, STRATEGIES } from "../../src/engine/engine.ts";

function limits(maxStepSequences: number) {
  return { maxStepSequences, maxStepTokens: 8, vocabulary: 70 };
}

function sequence(more: Partial<StepSequence> = {}): StepSequence {
  return {
    context: 1,
    tokens: [5],
    sampling: null,
    choice: 0,
    promptTokens: 3,
    alternatives: 0,
    ...more,
  };
}

Deno.test("strategies have the ABI's numbers, in its order", () => {
  assertEquals(STRATEGIES.map((name) => ATTENTIONS[name]), [0, 1, 2, 3, 4, 5]);
  assertEquals(STRATEGIES.length, abi.ATTENTION_COUNT);
});

Deno.test("each sequence's attention stands in its own row, and exact ones forget the last step's", () => {
  const buffers = new StepBuffers(limits(2));
  const attention = {
    strategy: "oracle" as const,
    budget: 0.25,
    beta: 1.5,
    seed: 2n ** 63n + 5n,
    collisions: 3,
    draws: 77,
    from: 1234,
    verify: true,
  };
  const rows = (row: number) => {
    const ints = buffers.ints.subarray(row * abi.STEP_INT_COUNT);
    const floats = buffers.floats.subarray(row * abi.STEP_FLOAT_COUNT);
    return [...ints.slice(abi.STEP_ATTENTION, abi.STEP_HIDDEN), floats[6], floats[7]];
  };
  buffers.write([sequence(), sequence({ context: 2, attention })]);
  const exact = [0, 0, 0, 0, 2, 0, 0, 1, 1];
  assertEquals(rows(0), exact);
  assertEquals(rows(1), [5, 1234, 5, -(2 ** 31), 3, 77, 1, 0.25, 1.5]);
  buffers.write([sequence(), sequence({ context: 2 })]);
  assertEquals(rows(1), exact);
});

Deno.test("masks stand in rows of their own, cleared of what the last step left there", () => {
  const buffers = new StepBuffers(limits(4));
  const row = (sequence: number) =>
    buffers.ints[sequence * abi.STEP_INT_COUNT + abi.STEP_ALLOWED_ROW];
  buffers.write([sequence(), sequence({ context: 2 })]);
  assertEquals([buffers.allowed, buffers.allowedRows, row(0), row(1)], [null, 0, -1, -1]);
  const masks = [[1, 2, 3], [4, 5, 6], [7, 8, 9]].map((words) => Uint32Array.from(words));
  const sampled = (context: number, allowed: Uint32Array | null) =>
    sequence({ context, sampling: GREEDY, allowed });
  buffers.write([
    sampled(1, masks[0]!),
    sampled(2, null),
    sampled(3, masks[1]!),
    sampled(4, masks[2]!),
  ]);
  assertEquals([row(0), row(1), row(2), row(3)], [0, -1, 1, 2]);
  assertEquals([...buffers.allowed!.subarray(0, 9)], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  // A mask that is too short allows nothing beyond its end.
  buffers.write([sampled(1, Uint32Array.of(11))]);
  assertEquals([buffers.allowedRows, ...buffers.allowed!.subarray(0, 3)], [1, 11, 0, 0]);
});

Deno.test("no budget and no exponent is so small that it becomes zero", () => {
  const buffers = new StepBuffers(limits(1));
  const attention = { ...FULL_ATTENTION, budget: 1e-300, beta: 1e-300, from: 0, verify: false };
  buffers.write([sequence({ attention })]);
  assertEquals([...buffers.floats.subarray(6, 8)].map((value) => value > 0), [true, true]);
});

Deno.test("statistics say what sampling did, and nothing where no layer sampled", () => {
  const row = (...values: number[]) => readStatistics(Float32Array.from(values));
  assertEquals(row(10, 20, 0, 0, 0, 0, 0, 0), { keysRead: 10, keysTotal: 20, sampled: null });
  assertEquals(row(10, 20, 16, 2, 4, Infinity, 0.5, 0.25).sampled, {
    offloaded: 16,
    chosenKeys: 2,
    chosenRows: 4,
    effectiveSamples: Infinity,
    standardError: 0.5,
    verifyError: 0.25,
  });
  assertEquals(row(10, 20, 16, 2, 4, 8, 0.5, -1).sampled!.verifyError, null);
  assertEquals(row(10, 20, 16, 2, 4, 8, 0.5, 0).sampled!.verifyError, 0);
});

Deno.test("each row of statistics is that of its sequence", () => {
  const buffers = new StepBuffers(limits(2));
  buffers.statistics.set([1, 2], 0);
  buffers.statistics.set([3, 4, 4, 1, 2, 8, 0.5, -1], abi.STATISTIC_COUNT);
  const [first, second] = buffers.read([sequence(), sequence({ context: 2 })]);
  assertEquals([first!.keysRead, first!.keysTotal, first!.sampled], [1, 2, null]);
  assertEquals([second!.keysRead, second!.sampled?.effectiveSamples], [3, 8]);
});
