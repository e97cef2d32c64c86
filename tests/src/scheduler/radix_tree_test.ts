// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { RadixTree } from "../../../src/scheduler/radix_tree.ts";

function common(a: Int32Array, b: Int32Array): number {
  let count = 0;
  while (count < a.length && count < b.length && a[count] === b[count]) count++;
  return count;
}

Deno.test("a tree finds what every value has in common with some tokens, whatever came and went", () => {
  const tokens = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 8 });
  const change = fc.record({ tokens, remove: fc.option(fc.nat(20), { freq: 3 }) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      const tree = new RadixTree<number>();
      const values = new Map<number, Int32Array>();
      for (const [i, change] of changes.entries()) {
        const run = Int32Array.from(change.tokens);
        if (change.remove === null) {
          tree.insert(run, i);
          values.set(i, run);
        } else {
          tree.remove(change.remove);
          values.delete(change.remove);
        }
        assertEquals(tree.size, values.size);
        const found = tree.matches(run).map((match) => [match.value, match.common]);
        const expected = [...values].map(([value, own]) => [value, common(own, run)]);
        assertEquals(
          found.sort((a, b) => a[0]! - b[0]!),
          expected.filter(([, shared]) => shared! > 0),
        );
      }
    }),
    { numRuns: 1000, seed: 8 },
  );
});
