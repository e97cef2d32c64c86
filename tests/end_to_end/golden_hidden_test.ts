// SPDX-License-Identifier: Apache-2.0
/** The inner values of a forward pass against the reference: they say where a wrong logit comes from. */
import { Differences, goldenModel, type GoldenStage } from "../fixtures/golden_files.ts";
import { MODELS } from "../fixtures/golden_models.ts";
import { TestEngine } from "../fixtures/native_engine.ts";
import type { CaptureName } from "../../ffi/capture.ts";

const SETTINGS = { kvBlocks: 4, context: 128, maxStepTokens: 64, maxContexts: 2 };
/** Stages of layer 0 that a capture has, by their name in the golden. */
const LAYER0: Record<string, CaptureName> = {
  input_layernorm: "attention_norm",
  q_after_rope: "q",
  k_after_rope: "k",
  v_proj: "v",
  attention_before_o_proj: "attention",
};

/** Capture and layer of a stage such as "layer 15". */
function captureOf(stage: string): [CaptureName, number] {
  if (stage.startsWith("layer ")) return ["layer", Number(stage.slice(6))];
  return [stage === "embedding" ? "embedding" : "final_norm", 0];
}

/** Differences as shares of each position's norm: the first position's is 100 times the others'. */
function compareStage(values: Float32Array, golden: GoldenStage): Differences {
  const differences = new Differences();
  const width = values.length / golden.positions.length;
  golden.positions.forEach(({ norm, first8 }, position) => {
    const row = values.subarray(position * width, (position + 1) * width);
    const where = `${golden.stage}, position ${position}`;
    differences.add(Math.hypot(...row) / norm, 1, `${where}, norm`);
    first8.forEach((value, i) => differences.add(row[i]! / norm, value / norm, `${where}, ${i}`));
  });
  return differences;
}

/** Attention probabilities of one head and query row, from captured q and k. */
function probabilities(q: Float32Array, keys: Float32Array[]): number[] {
  const scores = keys.map((k) =>
    k.reduce((sum, value, i) => sum + value * q[i]!, 0) / Math.sqrt(q.length)
  );
  const top = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

for (const { name, path, ignore } of MODELS) {
  const golden = goldenModel(name);

  for (const [precision, tolerance] of [["f32", 1e-5], ["bf16", 2e-2]] as const) {
    Deno.test(
      { name: `${name} in ${precision} keeps to the reference stage by stage`, ignore },
      async (t) => {
        await using model = await TestEngine.open(path, { ...SETTINGS, precision });
        using context = model.context();
        await context.captured(golden.hidden.ids, async () => {
          for (const stage of golden.hidden.layer0) {
            const capture = LAYER0[stage.stage];
            if (capture === undefined) continue;
            await t.step(`layer 0: ${stage.stage}`, () => {
              const values = model.engine.readCapture(capture, 0);
              compareStage(values, stage).requireWithin(tolerance, stage.stage);
            });
          }
          for (const stage of golden.hidden.stages) {
            await t.step(stage.stage, () => {
              const values = model.engine.readCapture(...captureOf(stage.stage));
              compareStage(values, stage).requireWithin(tolerance, stage.stage);
            });
          }
        });
      },
    );
  }

  Deno.test({ name: `${name} in f32 attends as the reference does`, ignore }, async () => {
    await using model = await TestEngine.open(path, { ...SETTINGS, precision: "f32" });
    const { heads, kvHeads, headDim } = model.source.config;
    using context = model.context();
    const { ids, layers } = golden.attention;
    const differences = new Differences();
    await context.captured(ids, () => {
      for (const { layer, heads_last_row, head0_lower_triangle } of layers) {
        const [q, k] = [model.engine.readCapture("q", layer), model.engine.readCapture("k", layer)];
        const part = (values: Float32Array, count: number, row: number, head: number) =>
          values.subarray((row * count + head) * headDim, (row * count + head + 1) * headDim);
        const check = (head: number, row: number, expected: number[]) => {
          const kvHead = Math.floor(head / (heads / kvHeads));
          const keys = expected.map((_, i) => part(k, kvHeads, i, kvHead));
          probabilities(part(q, heads, row, head), keys).forEach((p, i) =>
            differences.add(p, expected[i]!, `layer ${layer}, head ${head}, row ${row}, key ${i}`)
          );
        };
        heads_last_row.forEach((expected, head) => check(head, ids.length - 1, expected));
        head0_lower_triangle.forEach((expected, row) => check(0, row, expected));
      }
    });
    differences.requireWithin(2e-5, "attention probabilities");
  });
}
