// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { JobAttention } from "../../../src/engine/attention.ts";
import { STRATEGIES } from "../../../src/engine/engine.ts";
import { EXACT, provenanceOf, shareable } from "../../../src/engine/provenance.ts";

const attentions: fc.Arbitrary<JobAttention> = fc.record({
  params: fc.record({
    strategy: fc.constantFrom(...STRATEGIES.slice(1)),
    budget: fc.constantFrom(0.01, 0.02),
    beta: fc.constantFrom(0.9, 1),
    seed: fc.constantFrom(1n, 2n, 2n ** 63n),
    collisions: fc.constantFrom(1, 2),
    draws: fc.constantFrom(0, 50),
  }),
  from: fc.constantFrom(5, 50),
  verify: fc.constantFrom(0, 1),
});
const choices = fc.nat({ max: 2 });

Deno.test("provenances are equal exactly when everything that sampled KV depends on is", () => {
  const known = new Map<string, string>();
  fc.assert(
    fc.property(attentions, choices, (attention, choice) => {
      const key = provenanceOf(attention, choice);
      const { seed, ...params } = attention.params;
      // Verification looks on and changes nothing.
      const what = JSON.stringify([params, `${seed}`, attention.from, choice]);
      assertEquals(known.get(key) ?? what, what);
      known.set(key, what);
      assert(key !== EXACT);
    }),
    { numRuns: 2000, seed: 5 },
  );
  assertEquals(new Set(known.values()).size, known.size);
  assert(known.size > 500);
});

Deno.test("exact attention is exact for every choice of everyone", () => {
  assertEquals([provenanceOf(null, 0), provenanceOf(null, 3)], [EXACT, EXACT]);
});

Deno.test("nobody is given KV that another provenance sampled", () => {
  fc.assert(
    fc.property(
      fc.option(attentions),
      fc.option(attentions),
      fc.nat({ max: 100 }),
      fc.nat({ max: 100 }),
      (owner, other, length, exact) => {
        const provenance = provenanceOf(owner, 0);
        const wanted = provenanceOf(other, 0);
        const tokens = shareable({ provenance, length, exact: Math.min(length, exact) }, wanted);
        assertEquals(tokens, provenance === wanted ? length : Math.min(length, exact));
      },
    ),
    { seed: 6 },
  );
});
