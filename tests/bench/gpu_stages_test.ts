// SPDX-License-Identifier: Apache-2.0
/** What a bench tells of a step's stages, on the device that SOUNDER_DEVICE names. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { MEASURED_RATES, stageTraffic } from "../../bench/gpu/arithmetic.ts";
import { decodeTogether } from "../../bench/gpu/measure.ts";
import { stageTable } from "../../bench/gpu/stages.ts";
import { parseStrategies } from "../../bench/eval/strategies.ts";
import { NO_INDEX } from "../../src/engine/settings.ts";
import { FAMILIES, TestEngine } from "../fixtures/native_engine.ts";

const INDEX = { ...NO_INDEX, sketchBits: 2 as const, leastRows: 32, denseLayers: [0] };
const onGpu = (Deno.env.get("SOUNDER_DEVICE") ?? "cpu") !== "cpu";

Deno.test("a bench tells the stages of steps that ask for it, those of choosing rows on a GPU alone", async () => {
  const settings = { kvBlocks: 16, context: 1024, index: INDEX, hostLayers: onGpu ? 1 : 0 };
  await using model = await TestEngine.open(`${FAMILIES}llama2_mha`, settings);
  const [full, sketch] = parseStrategies("full,sketch@0.2");
  using context = model.context();
  await model.engine.fillContext(context.id, 700, 1);
  const plain = await decodeTogether(model.engine, [context.id], sketch!);
  assertEquals([plain.stages, plain.context], [null, 700]);
  const rows = [];
  for (const strategy of [full!, sketch!]) {
    const point = await decodeTogether(model.engine, [context.id], strategy, { tellsStages: true });
    const { matmul, attention, output, choosing, total } = point.stages!;
    assert(matmul > 0 && attention > 0 && output > 0 && total > 0);
    assertEquals(choosing > 0, onGpu && strategy === sketch);
    assertEquals(model.engine.contextLength(context.id), 700);
    const how = { hostLayers: settings.hostLayers, hostAttention: "gpu" as const };
    const shape = { ...point, ...how, index: INDEX };
    const stages = stageTraffic(model.source.config, shape);
    rows.push({
      ...point,
      ...how,
      where: "here",
      table: "vram" as const,
      stageTraffic: stages,
    });
  }
  const page = stageTable(rows, MEASURED_RATES, ({ strategy }) => strategy)!;
  const lines = page.split("\n");
  assertStringIncludes(lines[2]!, "| **full**, batch 1 at 700, ");
  assertEquals(lines.filter((line) => line.includes("| products |")).length, 2);
  assertEquals(lines.filter((line) => line.includes("| choosing rows")).length, onGpu ? 1 : 0);
  const divided = { ...rows[1]!, hostAttention: "split" as const, hostLayers: 1 };
  const cells = stageTable([divided], MEASURED_RATES, () => "")!.split("\n").map((line) =>
    line.split("|")
  );
  const roofOf = (stage: string) => cells.find((line) => line[2]?.trim() === stage)!.at(-2)!.trim();
  assertEquals([roofOf("all"), roofOf("attention")], ["–", "–"]);
  assertStringIncludes(roofOf("products"), "%");
  assertEquals(stageTable([{ ...rows[0]!, stages: null }], MEASURED_RATES, () => ""), null);
});
