// SPDX-License-Identifier: Apache-2.0
/** How tokens attend, and what came of it, in the ABI's words. */
import type { AttentionParams, SampledFigures, Strategy } from "../src/engine/engine.ts";
import * as abi from "./symbols.ts";

/** Their numbers in the ABI. */
export const ATTENTIONS: Record<Strategy, number> = {
  full: abi.ATTENTION_FULL,
  sketch: abi.ATTENTION_SKETCH,
  lsh: abi.ATTENTION_LSH,
  quest: abi.ATTENTION_QUEST,
  topk: abi.ATTENTION_TOPK,
  oracle: abi.ATTENTION_ORACLE,
};

/** The library takes no budget or exponent of zero, and a smaller one is zero as a float32. */
const LEAST_SHARE = 1e-9;

/** Where sampling starts and whether it is verified. */
export type Attending = AttentionParams & { from: number; verify: boolean };

/** Writes the attention part of one context's rows of `ints` and `floats`. */
export function writeAttention(
  { strategy, from, seed, collisions, draws, verify, budget, beta }: Attending,
  ints: Int32Array,
  floats: Float32Array,
): void {
  ints[abi.STEP_ATTENTION] = ATTENTIONS[strategy];
  ints[abi.STEP_SAMPLED_FROM] = from;
  ints[abi.STEP_ATTENTION_SEED_LOW] = Number(BigInt.asIntN(32, seed));
  ints[abi.STEP_ATTENTION_SEED_HIGH] = Number(BigInt.asIntN(32, seed >> 32n));
  ints[abi.STEP_COLLISIONS] = collisions;
  ints[abi.STEP_DRAWS] = draws;
  ints[abi.STEP_VERIFY] = verify ? 1 : 0;
  floats[abi.STEP_BUDGET] = Math.max(budget, LEAST_SHARE);
  floats[abi.STEP_BETA] = Math.max(beta, LEAST_SHARE);
}

/** What one context's row of statistics says. */
export interface Statistics {
  keysRead: number;
  keysTotal: number;
  sampled: SampledFigures | null;
}

/** Reads a row of SOUNDER_STATISTIC_COUNT floats. */
export function readStatistics(row: Float32Array): Statistics {
  const verifyError = row[abi.STATISTIC_VERIFY_ERROR]!;
  const offloaded = row[abi.STATISTIC_OFFLOADED]!;
  return {
    keysRead: row[abi.STATISTIC_KEYS_READ]!,
    keysTotal: row[abi.STATISTIC_KEYS_TOTAL]!,
    sampled: offloaded === 0 ? null : {
      offloaded,
      chosenKeys: row[abi.STATISTIC_CHOSEN_KEYS]!,
      chosenRows: row[abi.STATISTIC_CHOSEN_ROWS]!,
      effectiveSamples: row[abi.STATISTIC_EFFECTIVE_SAMPLES]!,
      standardError: row[abi.STATISTIC_STANDARD_ERROR]!,
      verifyError: verifyError < 0 ? null : verifyError,
    },
  };
}
