// SPDX-License-Identifier: Apache-2.0
/**
 * Where KV comes from. Exact attention makes the same KV for everyone; KV of tokens that sampled is good only
 * for a sequence that would have made the same: same strategy, parameters, seed, choice and first position.
 */
import type { JobAttention } from "./attention.ts";

/** A key: equal keys make equal KV of equal tokens. */
export type Provenance = string;

/** Of exact attention. */
export const EXACT: Provenance = "exact";

/** Of one choice of a job. */
export function provenanceOf(attention: JobAttention | null, choice: number): Provenance {
  if (attention === null) return EXACT;
  const { params: { strategy, budget, beta, seed, collisions, draws }, from } = attention;
  return [strategy, budget, beta, seed, collisions, draws, `from ${from}`, `choice ${choice}`]
    .join(" ");
}

/** KV that lies there. */
export interface Holding {
  provenance: Provenance;
  /** Tokens that it has, and the first of them whose KV exact attention made. */
  length: number;
  exact: number;
}

/** First tokens of it that a sequence of this provenance may take over. */
export function shareable({ provenance, length, exact }: Holding, wanted: Provenance): number {
  return provenance === wanted ? length : Math.min(length, exact);
}
