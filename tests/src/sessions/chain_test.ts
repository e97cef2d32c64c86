// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BLOCK_TOKENS } from "../../../src/engine/engine.ts";
import { chainOf, commonTokens } from "../../../src/sessions/chain.ts";

const tokens = fc.array(fc.integer({ min: 0, max: 2 }), { maxLength: 500 });

Deno.test("chains agree for as many blocks as the tokens do, and no further", () => {
  fc.assert(
    fc.property(tokens, tokens, tokens, (start, a, b) => {
      const one = Int32Array.from([...start, ...a]);
      const two = Int32Array.from([...start, ...b]);
      const same = Math.floor(commonTokens(one, two) / BLOCK_TOKENS);
      const [x, y] = [chainOf("", one), chainOf("", two)];
      assertEquals(x.length, Math.floor(one.length / BLOCK_TOKENS));
      for (let i = 0; i < Math.min(x.length, y.length); i++) assertEquals(x[i] === y[i], i < same);
    }),
    { seed: 1 },
  );
});

Deno.test("equal tokens of two scopes have no block in common", () => {
  const all = Int32Array.from({ length: 1000 }, (_, i) => i);
  const seen = new Set(chainOf("aa", all));
  for (const scope of ["", "ab", "a"]) assert(chainOf(scope, all).every((hash) => !seen.has(hash)));
});

Deno.test("a hundred thousand blocks have as many hashes, which JavaScript's numbers hold", () => {
  const hashes = new Set<number>();
  for (let i = 0; i < 100_000; i++) {
    const [hash] = chainOf("", new Int32Array(BLOCK_TOKENS).fill(i));
    assert(Number.isSafeInteger(hash));
    hashes.add(hash!);
  }
  assertEquals(hashes.size, 100_000);
});
