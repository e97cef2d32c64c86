// SPDX-License-Identifier: Apache-2.0
import { assertEquals } from "@std/assert";
import type { Usage } from "../../web/api.ts";
import { figures, percent, rowsShare, speed, verdict } from "../../web/figures.ts";

const EXACT: Usage = {
  prompt_tokens: 12_034,
  completion_tokens: 11,
  sounder: {
    attention: "full",
    keys_read: 5,
    keys_total: 5,
    rows_read: null,
    rows_total: null,
    effective_samples: null,
    standard_error: null,
    cached_tokens: 0,
  },
};
const SAMPLED: Usage = {
  ...EXACT,
  sounder: {
    ...EXACT.sounder,
    attention: "sketch",
    rows_read: 2640,
    rows_total: 132_000,
    standard_error: 0.0342,
    cached_tokens: 9025,
  },
};
const TIMING = { firstMs: 420, lastMs: 520 };

Deno.test("a sampled answer's figures are those of one token and of the whole prompt", () => {
  assertEquals(figures(SAMPLED, TIMING), [
    { value: "420 ms", label: "first token" },
    { value: "100", label: "tokens a second" },
    {
      value: "9,025",
      label: "tokens cached of 12,034",
      share: 9025 / 12_034,
      kind: "cached",
    },
    { value: "2 %", label: "rows read, 240 of 12,000", share: 0.02 },
    { value: "± 3.4 %", label: "standard error" },
  ]);
});

Deno.test("an exact answer read everything, and has no error", () => {
  const values = figures(EXACT, { firstMs: 12_340, lastMs: 20_000 }).map(({ value }) => value);
  assertEquals(values, ["12.3 s", "1.31", "0", "100 %", "exact"]);
});

Deno.test("the best keys are no sample: their answer is neither exact nor has it a standard error", () => {
  const sounder = { ...SAMPLED.sounder, attention: "topk", standard_error: null };
  assertEquals(figures({ ...SAMPLED, sounder }, TIMING).at(-1), {
    value: "–",
    label: "standard error: nothing was left to chance",
  });
});

Deno.test("tokens that came together say nothing of the speed", () => {
  assertEquals(speed(EXACT, { firstMs: 100, lastMs: 101 }), null);
  assertEquals(speed({ ...EXACT, completion_tokens: 1 }, { firstMs: 100, lastMs: 900 }), null);
  assertEquals(figures(EXACT, { firstMs: 1, lastMs: 1 })[1]!.value, "–");
});

Deno.test("a context too short to be sampled has no share", () => {
  const none = { ...SAMPLED, sounder: { ...SAMPLED.sounder, rows_read: 0, rows_total: 0 } };
  assertEquals([rowsShare(none), rowsShare(EXACT), rowsShare(SAMPLED)], [null, null, 0.02]);
  assertEquals([percent(0.0213), percent(0.00049), percent(1)], ["2.1 %", "0.049 %", "100 %"]);
});

Deno.test("the verdict says whether the answers differ, what was read and how fast", () => {
  const full = { text: "7 ", usage: EXACT, timing: { firstMs: 0, lastMs: 250 } };
  const sampled = { text: "7", usage: SAMPLED, timing: { firstMs: 0, lastMs: 100 } };
  assertEquals(
    verdict(full, sampled),
    "Both answers are the same; the second one read 2 % of the rows, at 2.5 × the speed.",
  );
  assertEquals(
    verdict(full, { ...sampled, text: "8", timing: { firstMs: 0, lastMs: 0 } }),
    "The answers differ; the second one read 2 % of the rows.",
  );
  assertEquals(
    verdict(full, { ...sampled, usage: EXACT }),
    "Both answers are the same: this prompt is too short to be sampled.",
  );
});
