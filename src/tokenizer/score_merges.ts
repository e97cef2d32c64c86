// SPDX-License-Identifier: Apache-2.0
/**
 * SentencePiece's BPE as merges: two neighbours merge when their join is a token, the one of highest score
 * first, leftmost among equals. So every way to cut a token into two tokens is a merge, and its rank is
 * that of the token's score; equal scores share a rank.
 */
import { Failure } from "../errors.ts";
import { MAX_MERGES } from "./merge.ts";
import { addPair, createPairTable } from "./pair_table.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Longer tokens are no product of training; their cuts would cost the square of their length. */
const LONGEST = 512;

/** @throws {Failure} kind `model` when there are too many. */
export function mergesFromScores(
  vocabulary: Vocabulary,
  scores: ArrayLike<number>,
  mergeable: (id: number) => boolean,
): Int32Array {
  const pairs: [left: number, right: number, merged: number][] = [];
  for (const [token, merged] of vocabulary) {
    if (!mergeable(merged) || token.length > LONGEST) continue;
    for (let at = 1; at < token.length; at++) {
      const left = vocabulary.getPart(token, 0, at);
      if (left < 0 || !mergeable(left)) continue;
      const right = vocabulary.getPart(token, at, token.length);
      if (right >= 0 && mergeable(right)) pairs.push([left, right, merged]);
    }
    if (pairs.length >= MAX_MERGES) {
      throw new Failure("model", "The tokenizer has too many merges.");
    }
  }
  const ranks = ranksOf(pairs.map(([, , merged]) => scores[merged]!));
  const table = createPairTable(pairs.length);
  for (const [left, right, merged] of pairs) {
    addPair(table, left, right, ranks.get(scores[merged]!)!, merged);
  }
  return table;
}

/** 0 for the highest score. What is no number comes last; a Map takes NaN as equal to itself. */
function ranksOf(scores: number[]): ReadonlyMap<number, number> {
  const order = (score: number) => Number.isNaN(score) ? -Infinity : score;
  const distinct = [...new Set(scores)].sort((a, b) => order(b) - order(a) || 0);
  return new Map(distinct.map((score, rank) => [score, rank]));
}
