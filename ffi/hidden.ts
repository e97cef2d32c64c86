// SPDX-License-Identifier: Apache-2.0
/** Sums of hidden states, fetched after a step for the sequences that asked for them. */
import type { SequenceResult, StepSequence } from "../src/engine/engine.ts";

/** Adds to each result what `read` copies of its row. */
export function addHidden(
  sequences: readonly StepSequence[],
  results: readonly SequenceResult[],
  width: number,
  read: (row: number, values: Float32Array<ArrayBuffer>) => void,
): void {
  results.forEach((result, row) => {
    if (!sequences[row]!.hidden || result.failure !== null) return;
    const values = new Float32Array(width);
    read(row, values);
    result.hidden = values;
  });
}
