// SPDX-License-Identifier: Apache-2.0
/** Sampled steps through the FFI, on the device that SOUNDER_DEVICE names. */
import { assert, assertEquals } from "@std/assert";
import { FULL_ATTENTION } from "../../src/engine/engine.ts";
import { NO_INDEX } from "../../src/engine/settings.ts";
import { FAMILIES, TestEngine } from "../fixtures/native_engine.ts";

const TOKENS = Array.from({ length: 900 }, (_, i) => 1 + (i * 7919) % 200);
const SKETCH = { ...FULL_ATTENTION, strategy: "sketch" as const, budget: 0.2 };

for (const sketchBits of [2, 4] as const) {
  for (const family of ["llama2_mha", "qwen3_qk_norm"]) {
    Deno.test(`${family} samples by sketches of ${sketchBits} bits: the keys of a seed and choice, and few of all`, async () => {
      const index = { ...NO_INDEX, sketchBits, leastRows: 32 };
      await using model = await TestEngine.open(FAMILIES + family, {
        ...{ kvBlocks: 40, context: 1024, index },
      });
      const sampled = async (seed: bigint, choice = 0) => {
        using context = model.context();
        await context.append(TOKENS, 500);
        const attention = { ...SKETCH, seed, from: 0, verify: true };
        return await context.step([7], { attention, choice });
      };
      const [first, again, other] = [await sampled(1n), await sampled(1n), await sampled(2n)];
      const [second, secondAgain] = [await sampled(1n, 1), await sampled(1n, 1)];
      assert(second.sampled!.verifyError !== first.sampled!.verifyError);
      assertEquals(secondAgain.sampled, second.sampled);
      assertEquals(again.sampled, first.sampled);
      assertEquals(again.keysRead, first.keysRead);
      assert(other.sampled!.verifyError !== first.sampled!.verifyError);
      assert(first.keysTotal === TOKENS.length + 1 && first.keysRead < 0.8 * first.keysTotal);
      const { offloaded, chosenKeys, verifyError } = first.sampled!;
      assert(offloaded > 700 && chosenKeys > 30 && chosenKeys < 0.4 * offloaded);
      assert(verifyError! > 0 && verifyError! < 1, `${verifyError}`);
    });
  }
}
