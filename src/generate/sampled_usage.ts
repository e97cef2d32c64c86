// SPDX-License-Identifier: Apache-2.0
/** Sums what sampling did over tokens, choices and prompts. */
import type { SampledFigures } from "../engine/engine.ts";
import type { SampledUsage, VerifyTotals } from "../types.ts";

/** Nothing sampled yet. */
export const NO_SAMPLED: Readonly<SampledUsage> = {
  tokens: 0,
  rowsRead: 0,
  rowsTotal: 0,
  inverseSamples: 0,
  squaredError: 0,
  verified: 0,
  verifyError: 0,
};

/** One token as sums. */
export function sampledToken(figures: SampledFigures): SampledUsage {
  const { chosenRows, offloaded, effectiveSamples, standardError, verifyError } = figures;
  return {
    tokens: 1,
    rowsRead: chosenRows,
    rowsTotal: offloaded,
    inverseSamples: 1 / effectiveSamples,
    squaredError: standardError ** 2,
    verified: verifyError === null ? 0 : 1,
    verifyError: verifyError ?? 0,
  };
}

/** The sums of both. */
export function addSampled(a: SampledUsage, b: SampledUsage): SampledUsage {
  return {
    tokens: a.tokens + b.tokens,
    rowsRead: a.rowsRead + b.rowsRead,
    rowsTotal: a.rowsTotal + b.rowsTotal,
    inverseSamples: a.inverseSamples + b.inverseSamples,
    squaredError: a.squaredError + b.squaredError,
    verified: a.verified + b.verified,
    verifyError: a.verifyError + b.verifyError,
  };
}

/** What verification found over all requests of a server. */
export class Verification {
  #tokens = 0;
  #sum = 0;
  #largest = 0;

  add(error: number): void {
    this.#tokens++;
    this.#sum += error;
    this.#largest = Math.max(this.#largest, error);
  }

  get totals(): VerifyTotals {
    const tokens = this.#tokens;
    if (tokens === 0) return { tokens, meanError: null, largestError: null };
    return { tokens, meanError: this.#sum / tokens, largestError: this.#largest };
  }
}
