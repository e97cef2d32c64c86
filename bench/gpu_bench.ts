// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task bench:gpu`: decode of models in the paper's three settings, with seeded weights, through the same
 * engine as the server's: full attention with KV in the GPU's memory, sampled attention with KV in the host's,
 * by the GPU and by the CPU. `--help` lists the flags. Kernels alone: `deno task bench:gpu:kernels`.
 */
import { parseArgs } from "node:util";
import { GREEDY } from "../src/engine/engine.ts";
import { CPU } from "../src/engine/settings.ts";
import { Failure } from "../src/errors.ts";
import { formatBytes, parseSize } from "../src/model/memory.ts";
import type { ModelSource } from "../src/model/model.ts";
import { dummyModel } from "../src/model/source.ts";
import { deviceOf, freeMemory, type Memory } from "./device.ts";
import { layerList, parseFlags, ROOT, runTool, wholeNumber } from "./eval/flags.ts";
import { MEASURED_RATES, PROJECTED_RATES, type Rates } from "./gpu/arithmetic.ts";
import { type GpuFacts, gpuMarkdown, writeGpuReport } from "./gpu/report.ts";
import { type RunOptions, runTrial, type SettingResult } from "./gpu/run.ts";
import { type Setting, SETTINGS, trialsOf } from "./gpu/settings.ts";

const OPTIONS = {
  device: { type: "string", default: "cuda" },
  settings: { type: "string", default: SETTINGS.map(({ name }) => name).join(",") },
  shape: { type: "string" },
  context: { type: "string", default: "98304" },
  vram: { type: "string", default: "24G" },
  memory: { type: "string" },
  only: { type: "string" },
  "dense-layers": { type: "string", default: "0" },
  bits: { type: "string", default: "2" },
  lsh: { type: "string", default: "10x150" },
  rates: { type: "string" },
  temperature: { type: "string", default: "0" },
  "top-p": { type: "string", default: "1" },
  threads: { type: "string", default: "0" },
  minutes: { type: "string", default: "8" },
  out: { type: "string", default: `${ROOT}bench/results/gpu` },
  help: { type: "boolean", default: false },
} as const;

const HELP = `deno task bench:gpu [flags]

  --settings LIST       of ${SETTINGS.map(({ name, title }) => `${name} (${title})`).join(", ")}
  --shape FILE          a config.json instead, with --context TOKENS and --vram SIZE
  --only WORDS          only engines whose description holds these words, as "by the CPU"
  --device NAME         cuda (default), cuda:N; cpu tries the bench itself out
  --memory SIZE         host memory for KV and tables (default: 85% of what is available)
  --dense-layers LIST   layers that are always exact, or none (default: 0)
  --bits 1|2|4          of sketches (default: 2)
  --lsh KxL             (default: 10x150)
  --rates VRAM,WIRE     GB/s of this GPU's memory and from pinned host memory, for the roofs
                        (default: ${MEASURED_RATES.vram / 1e9},${MEASURED_RATES.wire / 1e9})
  --temperature T       draw tokens, with --top-p P (default: greedy, 1)
  --threads N           default: one for each physical core
  --minutes N           after so many no further engine is opened (default: 8)
  --out DIR             where gpu.md, .json and .svg go (default: bench/results/gpu)`;

type Flags = ReturnType<typeof parse>;

function parse(args: string[]) {
  return parseFlags(() => parseArgs({ args, options: OPTIONS }).values);
}

/** The settings that were asked for. */
export function settingsOf({ settings, shape, context, vram }: Flags): Setting[] {
  if (shape !== undefined) {
    const tokens = wholeNumber("context", context, 4096);
    const name = shape.split("/").at(-1)!.replace(".json", "");
    const title = `${name}, ${tokens} tokens, ${vram}`;
    return [{ name, title, shape, context: tokens, vram: parseSize(vram), more: true }];
  }
  return settings.split(",").map((name) => {
    const found = SETTINGS.find((setting) => setting.name === name);
    if (found !== undefined) return found;
    throw new Failure(
      "invalid",
      `--settings has "${name}"; there are ${SETTINGS.map((s) => s.name)}.`,
    );
  });
}

function ratesOf(text: string | undefined): Rates {
  if (text === undefined) return MEASURED_RATES;
  const [vram, wire] = text.split(",").map(Number);
  if (vram! > 0 && wire! > 0) return { vram: 1e9 * vram!, wire: 1e9 * wire! };
  throw new Failure("invalid", `--rates is "${text}"; write GB/s as 3200,54.9.`);
}

function machineText(device: number, { vram, host }: Memory): string {
  const gpu = device === CPU ? "no GPU" : `${formatBytes(vram)} of the GPU's memory usable`;
  return `${gpu}, ${formatBytes(host)} of the host's`;
}

async function main(flags: Flags): Promise<string> {
  const device = deviceOf(flags.device);
  const bits = wholeNumber("bits", flags.bits, 1);
  if (bits !== 1 && bits !== 2 && bits !== 4) {
    throw new Failure("invalid", `--bits is "${bits}"; sketches have 1, 2 or 4.`);
  }
  const start = performance.now();
  const show = (text: string) =>
    console.error(`[${((performance.now() - start) / 1000).toFixed(0)} s] ${text}`);
  const facts: GpuFacts = {
    command: ["deno task bench:gpu", ...Deno.args].join(" "),
    machine: machineText(device, freeMemory(device, undefined, flags.memory)),
    engine: "",
    here: ratesOf(flags.rates),
    there: PROJECTED_RATES,
  };
  const results: SettingResult[] = [];
  for (const setting of settingsOf(flags)) {
    const source: ModelSource = await dummyModel(setting.shape);
    const denseLayers = layerList(flags["dense-layers"], source.config.layers);
    const options: RunOptions = {
      device,
      threads: wholeNumber("threads", flags.threads, 0),
      common: { denseLayers },
      sampling: {
        ...GREEDY,
        temperature: Number(flags.temperature),
        topP: Number(flags["top-p"]),
        seed: 1n,
      },
      free: () => freeMemory(device, undefined, flags.memory),
      deadline: start + 60_000 * Number(flags.minutes),
      show,
    };
    const result: SettingResult = { setting, points: [], prefill: [], notes: [] };
    results.push(result);
    const trials = trialsOf(setting, source.config, { denseLayers, bits, lsh: flags.lsh });
    for (const trial of trials.filter(({ where }) => where.includes(flags.only ?? ""))) {
      facts.engine = await runTrial(trial, source, result, options) ?? facts.engine;
      await writeGpuReport(flags.out, results, facts);
    }
  }
  return gpuMarkdown(results, facts);
}

if (import.meta.main) {
  await runTool(async () => {
    const flags = parse(Deno.args);
    return flags.help ? HELP : await main(flags);
  });
}
