// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import type { SampledFigures } from "../../../src/engine/engine.ts";
import {
  addSampled,
  NO_SAMPLED,
  sampledToken,
  Verification,
} from "../../../src/generate/sampled_usage.ts";

function figures(fields: Partial<SampledFigures>): SampledFigures {
  return {
    offloaded: 1000,
    chosenKeys: 10,
    chosenRows: 20,
    effectiveSamples: 4,
    standardError: 0.5,
    verifyError: null,
    ...fields,
  };
}

Deno.test("tokens add up to sums from which every mean follows", () => {
  const tokens = [
    figures({}),
    figures({ effectiveSamples: Infinity, standardError: 0 }),
    figures({ chosenRows: 40, offloaded: 2000, effectiveSamples: 8, verifyError: 0.25 }),
  ];
  assertEquals(tokens.map(sampledToken).reduce(addSampled, NO_SAMPLED), {
    tokens: 3,
    rowsRead: 80,
    rowsTotal: 4000,
    inverseSamples: 1 / 4 + 1 / 8,
    squaredError: 0.5,
    verified: 1,
    verifyError: 0.25,
  });
});

Deno.test("an error of zero was verified, one that is not there was not", () => {
  assertEquals(sampledToken(figures({ verifyError: 0 })).verified, 1);
  assertEquals(sampledToken(figures({ verifyError: null })).verified, 0);
});

Deno.test("verification keeps the mean and the largest error", () => {
  const verification = new Verification();
  assertEquals(verification.totals, { tokens: 0, meanError: null, largestError: null });
  for (const error of [0.5, 0.25, 0]) verification.add(error);
  assertEquals(verification.totals, { tokens: 3, meanError: 0.25, largestError: 0.5 });
});
