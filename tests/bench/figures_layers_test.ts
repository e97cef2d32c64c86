// SPDX-License-Identifier: Apache-2.0
import { assertEquals, assertThrows } from "@std/assert";
import { chosenLayers } from "../../bench/figures/figures.ts";
import { Failure } from "../../src/errors.ts";

Deno.test("figures of layers that never sample are refused before a text is read", () => {
  assertEquals(chosenLayers("2,1", 4, [0]), [1, 2]);
  assertEquals(chosenLayers("0", 4, []), [0]);
  assertThrows(() => chosenLayers("1,0", 4, [0]), Failure, "--layers names 0, which is exact");
  assertThrows(() => chosenLayers("none", 4, [0]), Failure, '--layers is "none"');
});
