// SPDX-License-Identifier: Apache-2.0
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  blocksFor,
  diverge,
  divergenceOf,
  type LogitsEngine,
} from "../../bench/eval/divergence.ts";
import { scoreDivergences } from "../../bench/eval/kl_report.ts";
import { parseStrategies } from "../../bench/eval/strategies.ts";
import { kindOf } from "../../bench/eval/tables.ts";
import type { StepResult, StepSequence } from "../../src/engine/engine.ts";
import { FakeEngine } from "../fixtures/fake_engine.ts";

Deno.test("the divergence is that of the definition, whatever is added to the logits", () => {
  const full = Float32Array.from([0.5, 0.25, 0.25], Math.log);
  const other = Float32Array.from([0.25, 0.5, 0.25], (p) => Math.log(p) + 3);
  const expected = 0.5 * Math.log(2) + 0.25 * Math.log(0.5);
  assertAlmostEquals(divergenceOf(full, other), expected, 1e-6);
  assertEquals(divergenceOf(full, full), 0);
  // A token that is impossible in both adds nothing.
  const cut = (logits: Float32Array) => Float32Array.of(...logits, -Infinity);
  assertAlmostEquals(divergenceOf(cut(full), cut(other)), expected, 1e-6);
});

/** Logits 1 for the token's own id and 0 elsewhere; rows of sampled tokens are flat. */
class LogitsFake extends FakeEngine implements LogitsEngine {
  readonly appended: { tokens: number; from: number | null }[] = [];
  #logits = new Float32Array();

  capture(): void {}

  readCapture(): Float32Array {
    return this.#logits;
  }

  override async step(sequences: readonly StepSequence[]): Promise<StepResult> {
    const { vocabulary } = this.limits;
    const rows = sequences.flatMap(({ tokens, attention }) =>
      Array.from(tokens, (token) => {
        const row = new Float32Array(vocabulary);
        if (attention === undefined) row[token] = 1;
        return row;
      })
    );
    this.#logits = Float32Array.from(rows.flatMap((row) => [...row]));
    sequences.forEach(({ tokens, attention }) =>
      this.appended.push({ tokens: tokens.length, from: attention?.from ?? null })
    );
    return await super.step(sequences);
  }
}

Deno.test("all strategies step through the last tokens side by side, sampled from the first of them", async () => {
  const [tokens, last] = [300, 70];
  const specs = parseStrategies("full,sketch@0.02,oracle@0.02");
  const engine = new LogitsFake({
    vocabulary: 20,
    maxStepTokens: 96,
    kvBlocks: blocksFor(tokens, last, specs.length),
    maxContexts: 4,
    maxStepSequences: 3,
  });
  const text = { name: "t", tokens: Int32Array.from({ length: tokens }, (_, i) => 1 + i % 19) };
  const found = await diverge(engine, text, specs, last);
  assertEquals(engine.violations, []);
  assertEquals(engine.usage().contexts, 0);
  assertEquals(found.map(({ strategy }) => strategy), ["full", "sketch@0.02", "oracle@0.02"]);
  assertEquals(found.map(({ divergences }) => divergences.length), [last, last, last]);
  assertEquals(found[0]!.divergences, Array(last).fill(0));
  assertEquals(found[0]!.agreement, 1);
  // Against a flat row: Σ p log(20 p) with p = e / (e + 19) once and 1 / (e + 19) else.
  const z = Math.E + 19;
  const expected = Math.E / z * Math.log(20 * Math.E / z) + 19 / z * Math.log(20 / z);
  for (const value of found[1]!.divergences) assertAlmostEquals(value, expected, 1e-6);
  assertEquals(found[1]!.agreement, 0);
  const sampled = engine.appended.filter(({ from }) => from !== null);
  assert(sampled.every(({ from }) => from === tokens - last));
  assertEquals(sampled.reduce((sum, one) => sum + one.tokens, 0), 2 * last);
});

Deno.test("a strategy's divergence is the mean of its texts' means", () => {
  const one = (text: string, divergences: number[]) => ({
    text,
    strategy: "sketch@0.02",
    divergences,
    agreement: 0.5,
    chosenKeys: 0.01,
    chosenRows: null,
    standardError: null,
  });
  const [score] = scoreDivergences([one("a", [1, 3]), one("b", Array(100).fill(4))]);
  assertEquals(score!.divergence.value, 3);
  assertEquals(score!.texts, [{ text: "a", divergence: 2 }, { text: "b", divergence: 4 }]);
  assertEquals([score!.chosenKeys, score!.chosenRows], [0.01, null]);
});

Deno.test("kinds of strategies", () => {
  assertEquals(["sketch1@0.02", "lsh:10x150", "quest:16@0.04", "full"].map(kindOf), [
    "sketch1",
    "lsh",
    "quest",
    "full",
  ]);
});

Deno.test("a text and its forks have room wherever their last tokens begin in a block", async () => {
  const specs = parseStrategies("full,sketch@0.02,oracle@0.02");
  for (const [tokens, last] of [[300, 70], [385, 128], [384, 128], [260, 5], [257, 2]] as const) {
    const engine = new LogitsFake({
      vocabulary: 20,
      maxStepTokens: 96,
      kvBlocks: blocksFor(tokens, last, specs.length),
      maxContexts: 4,
      maxStepSequences: 3,
    });
    await diverge(engine, { name: "t", tokens: new Int32Array(tokens).fill(1) }, specs, last);
    assertEquals(engine.outOfBlocks, 0, `${tokens} ${last}`);
  }
});
