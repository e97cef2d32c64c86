// SPDX-License-Identifier: Apache-2.0
/** Sums of hidden states against the golden ones, for every model that has them. */
import { assertEquals } from "@std/assert";
import { Differences, goldenModel } from "../fixtures/golden_files.ts";
import { MODELS } from "../fixtures/golden_models.ts";
import { TestEngine } from "../fixtures/native_engine.ts";

const SETTINGS = { kvBlocks: 4, context: 128, maxStepTokens: 64, maxContexts: 2 };

for (const { name, path, ignore } of MODELS) {
  Deno.test({ name: `${name} adds up hidden states as the reference's are`, ignore }, async () => {
    const { ids, stages } = goldenModel(name).hidden;
    const { positions } = stages.find(({ stage }) => isFinalNorm(stage))!;
    await using model = await TestEngine.open(path, { ...SETTINGS, precision: "f32" });
    using context = model.context();
    const half = Math.floor(ids.length / 2);
    const parts = [ids.slice(0, half), ids.slice(half)];
    const sums: Float32Array[] = [];
    for (const part of parts) sums.push((await context.step(part, { hidden: true })).hidden!);
    assertEquals(sums[0]!.length, model.source.config.hidden);
    const differences = new Differences();
    const norm = positions.reduce((sum, position) => sum + position.norm, 0);
    for (let i = 0; i < 8; i++) {
      const expected = positions.reduce((sum, { first8 }) => sum + first8[i]!, 0);
      differences.add((sums[0]![i]! + sums[1]![i]!) / norm, expected / norm, `number ${i}`);
    }
    differences.requireWithin(1e-5, "sum of the final norm's rows");
  });
}

function isFinalNorm(stage: string): boolean {
  return !stage.startsWith("layer ") && stage !== "embedding";
}
