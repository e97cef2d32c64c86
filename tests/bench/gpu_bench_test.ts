// SPDX-License-Identifier: Apache-2.0
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  MEASURED_RATES,
  msAt,
  PROJECTED_RATES,
  projectMs,
  stageTraffic,
  totalOf,
} from "../../bench/gpu/arithmetic.ts";
import { parse, plansOf, samplingOf } from "../../bench/gpu_bench.ts";
import { Failure } from "../../src/errors.ts";
import { fitTrial, GROWTH } from "../../bench/gpu/fit.ts";
import { batchesUpTo } from "../../bench/gpu/measure.ts";
import { breakEven, gainSentence, gpuMarkdown, gpuSvg } from "../../bench/gpu/report.ts";
import { type Point, runTrial, type SettingResult } from "../../bench/gpu/run.ts";
import { type Setting, SETTINGS, type Trial, trialsOf } from "../../bench/gpu/settings.ts";
import { CPU, NO_INDEX } from "../../src/engine/settings.ts";
import { dummyModel } from "../../src/model/source.ts";

const GIB = 2 ** 30;
const OPTIONS = { denseLayers: [0], bits: 2, lsh: "10x150" } as const;
const TINY: Setting = {
  name: "tiny",
  title: "8 layers, 4K",
  shape: new URL("../../bench/shapes/8-layers.json", import.meta.url).pathname,
  context: 4096,
  vram: 24 * GIB,
  more: false,
};
const EIGHT_B = SETTINGS[0]!;
const GPU = {
  free: { vram: 78 * GIB, host: 108 * GIB },
  device: 0,
  threads: 16,
  common: { denseLayers: [0] },
};

async function trialFor(setting: Setting, where: string) {
  const { config } = await dummyModel(setting.shape);
  const trial = trialsOf(setting, config, OPTIONS).find((one) => one.where === where);
  assert(trial !== undefined, where);
  return { config, trial };
}

Deno.test("a context of 96K of the 8B shape is too large for 24 GB, unless its KV lies on the host", async () => {
  const { config, trial } = await trialFor(EIGHT_B, "KV in VRAM");
  const refused = fitTrial(trial, EIGHT_B, config, GPU);
  assert(typeof refused === "string");
  assertStringIncludes(refused, "One context of 98304 tokens takes ");
  const host = await trialFor(EIGHT_B, "KV on the host, by the GPU");
  const fit = fitTrial(host.trial, EIGHT_B, config, GPU);
  assert(typeof fit !== "string", String(fit));
  assertEquals(fit.hostLayers, 31);
  assert(fit.contexts >= 2 && fit.contexts <= 9, `${fit.contexts}`);
  assert(fit.memory.vram <= EIGHT_B.vram && fit.memory.host <= GPU.free.host);
  const next = fitTrial({ ...host.trial, most: 64 }, EIGHT_B, config, GPU);
  assertEquals(typeof next === "string" ? 0 : next.contexts, fit.contexts);
});

Deno.test("as few layers as must be lie on the host where full attention fits in part", async () => {
  const { config, trial } = await trialFor(EIGHT_B, "KV in VRAM as far as it fits");
  const fit = fitTrial(trial, EIGHT_B, config, GPU);
  assert(typeof fit !== "string", String(fit));
  assert(fit.hostLayers > 0 && fit.hostLayers < 32, `${fit.hostLayers}`);
  const layer = 2 * 8 * 128 * 2 * (98304 + GROWTH);
  assert(fit.memory.vram + layer > EIGHT_B.vram, "one layer more would have fitted");
});

Deno.test("every setting's trials are planned, and those of the paper's cards fit", async () => {
  for (const setting of SETTINGS) {
    const { config } = await dummyModel(setting.shape);
    for (const trial of trialsOf(setting, config, OPTIONS)) {
      const fit = fitTrial(trial, setting, config, GPU);
      const alone = trial.where === "KV in VRAM" && setting.name === "8b";
      assertEquals(typeof fit === "string", alone, `${setting.name}, ${trial.where}: ${fit}`);
    }
  }
});

function trafficOf(...args: Parameters<typeof stageTraffic>) {
  return totalOf(stageTraffic(...args));
}

Deno.test("the bytes of a token are weights, sketches and rows, each over its wire", async () => {
  const { config } = await dummyModel(EIGHT_B.shape);
  const index = { ...NO_INDEX, sketchBits: 2 as const };
  const step = { context: 98304, batch: 1, hostLayers: 31, hostAttention: "gpu" as const, index };
  const sampled = trafficOf(config, { ...step, rows: 1944 });
  assertEquals(sampled.wire, 31 * 8 * 1944 * 512);
  // bench/gpu_token.md: products 15,009 MB, scan 1,084 MB with scores, layer 0 403 MB.
  assertAlmostEquals(sampled.vram / 1e6, 15009 + 880 + 403, 60);
  const byCpu = trafficOf(config, { ...step, rows: 1944, hostAttention: "cpu" });
  assertEquals(byCpu.wire, 0);
  assert(byCpu.vram < sampled.vram);
  const full = trafficOf(config, { ...step, rows: null, hostLayers: 0 });
  assertEquals(
    full.vram - trafficOf(config, { ...step, rows: null, batch: 0 }).vram,
    98304 * 32 * 4096,
  );
  assertEquals(trafficOf(config, { ...step, rows: null }).wire, 98304 * 31 * 4096);
  assertEquals(sampled.host, 0);
  const near = 4 + 64 + 64, record = 4096 + 320 + 256; // planes, mean, scales of a block's keys
  assertEquals(byCpu.host, 31 * 8 * ((1944 + near) * 512 + 768 * record));
  assertAlmostEquals(msAt(full, MEASURED_RATES), 8.7, 0.3);
});

Deno.test("a stage's bytes are those that it reads, and together they are the token's", async () => {
  const { config } = await dummyModel(EIGHT_B.shape);
  const index = { ...NO_INDEX, sketchBits: 2 as const };
  const step = { context: 98304, batch: 3, hostLayers: 31, rows: 1944, index };
  for (const hostAttention of ["gpu", "cpu", "split"] as const) {
    const stages = stageTraffic(config, { ...step, hostAttention });
    const all = trafficOf(config, { ...step, hostAttention });
    for (const way of ["vram", "wire", "host"] as const) {
      assertEquals(Object.values(stages).reduce((sum, part) => sum + part[way], 0), all[way]);
    }
    assertEquals(stages.output, { vram: 2 * 128256 * 4096, wire: 0, host: 0 });
    assertEquals(stages.choosing.vram > 0, hostAttention === "gpu");
    assertEquals(stages.attention.wire > 0, hostAttention !== "cpu");
    assertEquals(stages.attention.host > 0, hostAttention === "cpu");
    assertEquals(stages.attention.vram > 3 * 98304 * 4096, hostAttention === "split");
  }
});

Deno.test("a projection adds what the bytes take longer and nothing else", () => {
  const traffic = { vram: 3.2e9, wire: 54.9e6 };
  assertAlmostEquals(msAt(traffic, MEASURED_RATES), 2, 1e-9);
  const there = projectMs(5, traffic, MEASURED_RATES, PROJECTED_RATES);
  assertAlmostEquals(there, 3 + 3.2 + 54.9 / 25, 1e-9);
  assertEquals(projectMs(5, traffic, MEASURED_RATES, MEASURED_RATES), 5);
});

Deno.test("how tokens are chosen and which engines run is said by flags, and what they can't mean is refused", async () => {
  const drawn = samplingOf({ temperature: "0.8", "top-p": "0.95" });
  assertEquals([drawn.temperature, drawn.topP], [0.8, 0.95]);
  const refusals = [
    [{ temperature: "warm", "top-p": "1" }, '--temperature is "warm"'],
    [{ temperature: "", "top-p": "1" }, '--temperature is ""'],
    [{ temperature: "1", "top-p": "1.5" }, '--top-p is "1.5"; it must be a number from 0 to 1.'],
  ] as const;
  for (const [flags, sentence] of refusals) {
    assertThrows(() => samplingOf(flags), Failure, sentence);
  }
  const named = async (...args: string[]) =>
    (await plansOf(parse(args))).map(({ setting, trials }) => [setting.name, trials.length]);
  assertEquals(await named("--only", "by the CPU"), [["8b", 3], ["13b", 1], ["34b", 1]]);
  assertEquals(await named("--only", "no cap", "--settings", "8b,13b"), [["8b", 4]]);
  const sentences = [
    [["--only", "by the TPU"], '--only "by the TPU" names no engine; there are: KV on the host'],
    [["--vram", "8G"], "--context and --vram are for --shape"],
    [["--settings", "9b"], '--settings has "9b"; there are 8b, 13b, 34b.'],
    [["--bits", "3"], "sketches have 1, 2 or 4."],
    [["--dense-layers", "40"], "There is no layer 40"],
  ] as const;
  for (const [args, sentence] of sentences) {
    await assertRejects(() => named(...args), Failure, sentence);
  }
});

Deno.test("batches end with the most contexts that fit", () => {
  assertEquals(batchesUpTo(5, [1, 2, 4, 8]), [1, 2, 4, 5]);
  assertEquals(batchesUpTo(4, [1, 2, 4, 8]), [1, 2, 4]);
});

const NOTHING = { vram: 0, wire: 0, host: 0 };

function point(strategy: string, batch: number, ms: number): Point {
  return {
    strategy,
    batch,
    context: 4096,
    ms: { median: ms, least: ms, most: ms },
    tokensPerSecond: 1000 * batch / ms,
    rows: strategy === "full" ? null : 256,
    where: "KV in VRAM",
    table: "vram",
    hostLayers: 0,
    hostAttention: "gpu",
    stageTraffic: { matmul: NOTHING, output: NOTHING, choosing: NOTHING, attention: NOTHING },
    stages: null,
  };
}

Deno.test("sampling pays from the batch on after which it is always faster", () => {
  const points = [
    ...[10, 20, 40].map((ms, i) => point("full", 2 ** i, ms)),
    ...[9, 21, 30].map((ms, i) => point("sketch@0.02", 2 ** i, ms)),
  ];
  assertEquals(breakEven(points), [
    "At 4,096 tokens sampling pays from batch 4 on; at batch 4 it is 1.33 × as fast as full attention.",
  ]);
  const elsewhere = { ...point("sketch@0.02", 1, 11), where: "another engine" };
  assertEquals(breakEven([...points, elsewhere]), breakEven(points));
  assertStringIncludes(breakEven(points.slice(0, 5))[0]!, "does not pay up to here");
  assertStringIncludes(gainSentence(points)!, "133 tokens/s at batch 4 (sketch@0.02");
  assertStringIncludes(gainSentence(points)!, "1.33 ×.");
  assertEquals(gainSentence(points.slice(3)), null);
});

Deno.test("a trial runs on an engine, and what does not fit leaves a sentence", async () => {
  const source = await dummyModel(TINY.shape);
  const [byGpu, inVram] = trialsOf(TINY, source.config, OPTIONS) as [Trial, Trial];
  const result: SettingResult = { setting: TINY, points: [], prefill: [], notes: [] };
  const machine = { device: CPU, threads: 2, common: { denseLayers: [0] }, show: () => {} };
  const run = { ...machine, free: () => ({ vram: 0, host: 8 * GIB }), deadline: Infinity };
  await runTrial({ ...byGpu, most: 2, prefill: [256, 512] }, source, result, run);
  assertEquals(result.points.map(({ strategy, batch }) => `${strategy} ${batch}`), [
    "sketch@0.02 1",
    "sketch@0.01 1",
    "sketch@0.02 2",
    "sketch@0.01 2",
  ]);
  for (const { rows, ms } of result.points) assert(rows! > 128 && rows! < 512 && ms.median > 0);
  assertEquals(result.prefill.map(({ tokens, index }) => [tokens, index]), [
    [256, "sketch"],
    [512, "sketch"],
  ]);
  await runTrial(inVram, source, result, { ...run, free: () => ({ vram: 0, host: 1 }) });
  await runTrial(inVram, source, result, { ...run, deadline: 0 });
  assertStringIncludes(
    result.notes.at(-2)!,
    "Not run: KV in VRAM. One context of 4096 tokens takes",
  );
  assertStringIncludes(result.notes.at(-1)!, "--minutes");
  const facts = {
    command: "deno task bench:gpu",
    engine: "e",
    machine: "m",
    here: MEASURED_RATES,
    there: PROJECTED_RATES,
  };
  const page = gpuMarkdown([result], facts);
  assertStringIncludes(page, "| sketch@0.02, KV on the host, by the GPU | 4,096 |");
  assertStringIncludes(page, "projected, ms (arithmetic)");
  const told = result.points.filter(({ stages }) => stages !== null).map(({ batch }) => batch);
  assertEquals(told, [1, 1, 2, 2]);
  assertStringIncludes(page, "| **sketch@0.02, KV on the host, by the GPU**, batch 1 at 4,096, ");
  assertStringIncludes(gpuSvg([result]), "8 layers, 4K");
});
