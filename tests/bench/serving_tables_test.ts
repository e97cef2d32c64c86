// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertStringIncludes } from "@std/assert";
import { bars, prefixTable, type ServerFigures, streamTable } from "../../bench/serving_tables.ts";

function figures(perSecond: number[], cold: number, question: number): ServerFigures {
  const times = { firstToken: [9, 7, 8], betweenP50: [1], betweenP99: [2] };
  return {
    streams: [{ clients: 8, ...times, perSecond }],
    prefix: { cold: [cold], repeat: [5], question: [question] },
  };
}

const GOOD = { ours: figures([150, 160, 140], 400, 80), peer: figures([100], 1000, 500) };

Deno.test("a row for each server has medians with their range", () => {
  const table = streamTable(GOOD);
  assertStringIncludes(
    table,
    "| 8 | Sounder | 8.0 (7.0–9.0) | 1.0 (1.0–1.0) | 2.0 (2.0–2.0) | 150 (140–160) |",
  );
  assertStringIncludes(table, "| 8 | llama.cpp |");
  assertStringIncludes(prefixTable(GOOD, 7000), "| llama.cpp | 1000 (1000–1000) | 5.0");
  assertStringIncludes(prefixTable({ ...GOOD, peer: null }, 7000), "| llama.cpp | – | – | – |");
});

Deno.test("each bar is met at its figure and missed beyond it", () => {
  const verdicts = (ours: ServerFigures) => bars({ ...GOOD, ours }).map(({ good }) => good);
  assertEquals(verdicts(figures([150], 500, 299)), [true, true, true]);
  assertEquals(verdicts(figures([149], 501, 300)), [false, false, false]);
  assertEquals(bars({ ...GOOD, peer: null }).length, 1);
});
