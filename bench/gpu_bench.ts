// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task bench:gpu`: decode of models in the paper's three settings, with seeded weights, through the same
 * engine as the server's: full attention with KV in the GPU's memory, sampled attention with KV in the host's,
 * by the GPU and by the CPU. `--help` lists the flags. Kernels alone: `deno task bench:gpu:kernels`.
 */
import { parseArgs } from "node:util";
import { GREEDY, type SamplingParams } from "../src/engine/engine.ts";
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
import { type Setting, SETTINGS, type Trial, trialsOf } from "./gpu/settings.ts";

const OPTIONS = {
  device: { type: "string", default: "cuda" },
  settings: { type: "string", default: SETTINGS.map(({ name }) => name).join(",") },
  shape: { type: "string" },
  context: { type: "string" },
  vram: { type: "string" },
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
  --shape FILE          a config.json instead, with --context TOKENS (default: 98304) and --vram SIZE (24G)
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

export function parse(args: string[]) {
  return parseFlags(() => parseArgs({ args, options: OPTIONS }).values);
}

/** The settings that were asked for. */
export function settingsOf({ settings, shape, ...flags }: Flags): Setting[] {
  if (shape !== undefined) {
    const tokens = wholeNumber("context", flags.context ?? "98304", 4096);
    const vram = flags.vram ?? "24G";
    const name = shape.split("/").at(-1)!.replace(".json", "");
    const title = `${name}, ${tokens} tokens, ${vram}`;
    return [{ name, title, shape, context: tokens, vram: parseSize(vram), more: true }];
  }
  if (flags.context !== undefined || flags.vram !== undefined) {
    throw new Failure(
      "invalid",
      "--context and --vram are for --shape; --settings have their own.",
    );
  }
  return settings.split(",").map((name) => {
    const found = SETTINGS.find((setting) => setting.name === name);
    if (found !== undefined) return found;
    throw new Failure(
      "invalid",
      `--settings has "${name}"; there are ${SETTINGS.map((s) => s.name).join(", ")}.`,
    );
  });
}

function ratesOf(text: string | undefined): Rates {
  if (text === undefined) return MEASURED_RATES;
  const [vram, wire] = text.split(",").map(Number);
  if (vram! > 0 && wire! > 0) return { vram: 1e9 * vram!, wire: 1e9 * wire! };
  throw new Failure("invalid", `--rates is "${text}"; write GB/s as 3200,54.9.`);
}

function numberOf(flag: string, text: string, least: number, most: number): number {
  const value = text.trim() === "" ? NaN : Number(text);
  if (value >= least && value <= most) return value;
  throw new Failure(
    "invalid",
    `--${flag} is "${text}"; it must be a number from ${least} to ${most}.`,
  );
}

/** How tokens are chosen. */
export function samplingOf(flags: Pick<Flags, "temperature" | "top-p">): SamplingParams {
  const temperature = numberOf("temperature", flags.temperature, 0, 100);
  return { ...GREEDY, temperature, topP: numberOf("top-p", flags["top-p"], 0, 1), seed: 1n };
}

function bitsOf(text: string): 1 | 2 | 4 {
  const bits = wholeNumber("bits", text, 1);
  if (bits === 1 || bits === 2 || bits === 4) return bits;
  throw new Failure("invalid", `--bits is "${bits}"; sketches have 1, 2 or 4.`);
}

/** A setting, and what of it was asked for. */
interface Plan {
  setting: Setting;
  source: ModelSource;
  denseLayers: readonly number[];
  trials: Trial[];
}

/** What the flags ask for. @throws {Failure} `invalid` */
export async function plansOf(flags: Flags): Promise<Plan[]> {
  const bits = bitsOf(flags.bits), { lsh } = flags;
  const plans: Plan[] = [];
  for (const setting of settingsOf(flags)) { // in turn: a refusal leaves no file half read
    const source = await dummyModel(setting.shape);
    const denseLayers = layerList(flags["dense-layers"], source.config.layers);
    const trials = trialsOf(setting, source.config, { denseLayers, bits, lsh });
    plans.push({ setting, source, denseLayers, trials });
  }
  const named = ({ where }: Trial) => where.includes(flags.only ?? "");
  const asked = plans.map((plan) => ({ ...plan, trials: plan.trials.filter(named) }))
    .filter(({ trials }) => trials.length > 0);
  if (asked.length > 0) return asked;
  const names = [...new Set(plans.flatMap(({ trials }) => trials.map(({ where }) => where)))];
  throw new Failure(
    "invalid",
    `--only "${flags.only}" names no engine; there are: ${names.join("; ")}.`,
  );
}

function machineText(device: number, { vram, host }: Memory): string {
  const gpu = device === CPU ? "no GPU" : `${formatBytes(vram)} of the GPU's memory usable`;
  return `${gpu}, ${formatBytes(host)} of the host's`;
}

/** As a shell takes it. */
function commandText(args: readonly string[]): string {
  return ["deno task bench:gpu", ...args.map((arg) => arg.includes(" ") ? `'${arg}'` : arg)]
    .join(" ");
}

async function main(flags: Flags): Promise<string> {
  const device = deviceOf(flags.device);
  const plans = await plansOf(flags), start = performance.now();
  const free = () => freeMemory(device, undefined, flags.memory);
  const machine: Omit<RunOptions, "common"> = {
    device,
    threads: wholeNumber("threads", flags.threads, 0),
    sampling: samplingOf(flags),
    free,
    deadline: start + 60_000 * numberOf("minutes", flags.minutes, 0, 10_000),
    show: (text) => console.error(`[${((performance.now() - start) / 1000).toFixed(0)} s] ${text}`),
  };
  const facts: GpuFacts = {
    command: commandText(Deno.args),
    here: ratesOf(flags.rates),
    machine: machineText(device, free()),
    engine: "",
    there: PROJECTED_RATES,
  };
  const results: SettingResult[] = [];
  for (const { setting, source, denseLayers, trials } of plans) {
    const result: SettingResult = { setting, points: [], prefill: [], notes: [] };
    results.push(result);
    for (const trial of trials) {
      const options = { ...machine, common: { denseLayers } };
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
