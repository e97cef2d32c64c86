// SPDX-License-Identifier: Apache-2.0
import { assert, assertEquals } from "@std/assert";
import { parseConfig } from "../../../src/model/config.ts";
import { computeRope, yarnAttentionFactor } from "../../../src/model/rope.ts";
import golden from "./fixtures/rope.json" with { type: "json" };

/** Rounding steps between two float32 numbers of the same sign. */
function ulps(a: number, b: number): number {
  const bits = new Int32Array(Float32Array.of(a, b).buffer);
  return Math.abs(bits[0]! - bits[1]!);
}

for (const { name, config, scale, frequencies } of golden) {
  Deno.test(`RoPE frequencies are those of transformers: ${name}`, () => {
    const { rope } = parseConfig(JSON.stringify(config), "config.json").config;
    assertEquals(rope.frequencies.length, frequencies.length);
    assert(Math.abs(rope.scale - scale) < 1e-12, `${rope.scale} is not ${scale}`);
    const steps = frequencies.map((f, i) => ulps(f, rope.frequencies[i]!));
    // Powers differ by one step between libraries; the few operations after them add at most one each.
    assert(Math.max(...steps) <= 3, `off by ${steps} steps`);
  });
}

Deno.test("RoPE without scaling turns the first pair by the position itself", () => {
  const rope = computeRope({ theta: 10_000, dimensions: 8, scaling: { type: "none" } });
  assertEquals([...rope.frequencies].map((f) => Number(f.toPrecision(6))), [1, 0.1, 0.01, 0.001]);
  assertEquals(rope.scale, 1);
});

Deno.test("YaRN's attention factor is 1 without stretching", () => {
  assertEquals(yarnAttentionFactor(1), 1);
  assertEquals(yarnAttentionFactor(0.5), 1);
  assert(yarnAttentionFactor(4) > 1.13);
});
