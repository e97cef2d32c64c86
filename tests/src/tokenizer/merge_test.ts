// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { mergeSymbols } from "../../../src/tokenizer/merge.ts";
import { addPair, createPairTable, findPair } from "../../../src/tokenizer/pair_table.ts";

type Merge = [left: number, right: number, rank: number, merged: number];

/** The definition, word for word: lowest rank first, leftmost among equals. */
function mergeSlowly(symbols: number[], merges: Merge[]): number[] {
  const out = [...symbols];
  for (;;) {
    let best: { at: number; merge: Merge } | null = null;
    for (let at = 0; at + 1 < out.length; at++) {
      const merge = merges.findLast(([left, right]) => left === out[at] && right === out[at + 1]);
      if (merge && (best === null || merge[2] < best.merge[2])) best = { at, merge };
    }
    if (best === null) return out;
    out.splice(best.at, 2, best.merge[3]);
  }
}

function table(merges: Merge[]): Int32Array {
  const pairs = createPairTable(merges.length);
  for (const merge of merges) addPair(pairs, ...merge);
  return pairs;
}

const symbol = fc.nat(7);
const merges = fc.array(fc.tuple(symbol, symbol, fc.nat(9), symbol), { maxLength: 30 });

Deno.test("short and long pieces merge as the definition says", () => {
  const symbols = fc.array(symbol, { maxLength: 120 });
  fc.assert(
    fc.property(symbols, merges, (list, rules) => {
      const buffer = Int32Array.from(list);
      const count = mergeSymbols(buffer, list.length, table(rules));
      assertEquals([...buffer.subarray(0, count)], mergeSlowly(list, rules));
    }),
    { seed: 3, numRuns: 500 },
  );
});

Deno.test("a pair is found with its last rank, others are not", () => {
  const entry = fc.tuple(fc.nat(300), fc.nat(300), fc.nat(1e6), fc.nat(1e6));
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 400 }), (rules) => {
      const pairs = table(rules);
      const expected = new Map(rules.map(([l, r, rank, id]) => [l * 1000 + r, [rank, id]]));
      for (const [key, [rank, id]] of expected) {
        const at = findPair(pairs, Math.floor(key / 1000), key % 1000);
        assertEquals([pairs[at + 2], pairs[at + 3]], [rank, id]);
      }
      assertEquals(pairs[findPair(pairs, 301, 0)], -1);
    }),
    { seed: 4, numRuns: 50 },
  );
});
