// SPDX-License-Identifier: Apache-2.0
/** What the command lines of the evaluations and figures share. */
import { CPU, type EngineSettings, HOST_ATTENTION, NO_INDEX } from "../../src/engine/settings.ts";
import { Failure } from "../../src/errors.ts";
import type { ModelConfig, ModelSource } from "../../src/model/model.ts";
import { loadTextProcessor } from "../../src/tokenizer/load.ts";
import type { TextProcessor } from "../../src/tokenizer/tokenizer.ts";
import { deviceOf } from "../device.ts";

/** The folder of the repository, with a slash at its end. */
export const ROOT = decodeURIComponent(new URL("../..", import.meta.url).pathname);

/** Flags of what all strategies of a run share. */
export const COMMON_OPTIONS = {
  "dense-layers": { type: "string", default: "0" },
  sink: { type: "string", default: String(NO_INDEX.sink) },
  window: { type: "string", default: String(NO_INDEX.window) },
  "least-rows": { type: "string" },
  seed: { type: "string", default: "1" },
  threads: { type: "string", default: "0" },
  help: { type: "boolean", default: false },
} as const;

/** Flags of what computes. */
export const DEVICE_OPTIONS = {
  device: { type: "string", default: "cpu" },
  vram: { type: "string" },
  memory: { type: "string" },
  "host-attention": { type: "string", default: "gpu" },
} as const;

/** The help on {@linkcode DEVICE_OPTIONS}. */
export const DEVICE_HELP =
  `  --device NAME           what computes: cpu, cuda or cuda:N (default: cpu)
  --vram SIZE             with cuda: memory of the GPU; layers that don't fit have their KV on the host
  --memory SIZE           with cuda: memory of the host (default: 85% of what is available)
  --host-attention WHO    with cuda: gpu, cpu or split; no lsh with split (default: gpu)`;

/** Values of {@linkcode DEVICE_OPTIONS}. */
export interface DeviceFlags {
  device: string;
  vram?: string | undefined;
  memory?: string | undefined;
  "host-attention": string;
}

/** Device and attention over the host's KV that flags ask for. @throws {Failure} `invalid` */
export function readDeviceFlags(
  flags: DeviceFlags,
): Pick<EngineSettings, "device" | "hostAttention"> {
  const device = deviceOf(flags.device);
  const wanted = flags["host-attention"];
  const hostAttention = HOST_ATTENTION.find((one) => one === wanted);
  if (hostAttention === undefined) {
    throw new Failure("invalid", `--host-attention takes ${HOST_ATTENTION}, not "${wanted}".`);
  }
  const given = flags.vram ?? flags.memory;
  if (device === CPU && (given !== undefined || hostAttention !== "gpu")) {
    throw new Failure("invalid", "--vram, --memory and --host-attention want --device cuda.");
  }
  return { device, hostAttention };
}

/** The help on them; `leastRows` is what `--least-rows` is without the flag. */
export function commonHelp(leastRows: number): string {
  const { sink, window } = NO_INDEX;
  return `  --dense-layers LIST     layers that are always exact, or none (default: 0)
  --sink N, --window N    first and last tokens that are always read (default: ${sink} and ${window})
  --least-rows N          rows that a KV head reads at least, whatever the budget (default: ${leastRows})
  --seed N                of the index and of all draws (default: 1)
  --threads N             default: one for each physical core`;
}

/** Values of {@linkcode COMMON_OPTIONS}. */
export type CommonFlags =
  & Record<"dense-layers" | "sink" | "window" | "seed" | "threads", string>
  & { "least-rows"?: string | undefined };

/** What all strategies of a run share. */
export interface Common {
  denseLayers: readonly number[];
  sink: number;
  window: number;
  leastRows: number;
  seed: number;
}

/** How pages put it. */
export function commonText({ denseLayers, sink, window, leastRows, seed }: Common): string {
  return `Exact layers: ${
    denseLayers.join(", ") || "none"
  }; the first ${sink} and at least the last ` +
    `${window} tokens are always read, and at least ${leastRows} rows of a KV head; seed ${seed}.`;
}

/** Reads them; `leastRows` is what `--least-rows` is without the flag. */
export function commonOf(flags: CommonFlags, { layers }: ModelConfig, leastRows: number): Common {
  return {
    denseLayers: layerList(flags["dense-layers"], layers),
    sink: wholeNumber("sink", flags.sink, 0),
    window: wholeNumber("window", flags.window, 1),
    leastRows: wholeNumber("least-rows", flags["least-rows"] ?? String(leastRows), 1),
    seed: wholeNumber("seed", flags.seed, 0),
  };
}

/** Tokenizer and template of a model, closed when `use` ends. */
export async function withText<T>(
  { tokenizer, endTokens, chatTemplate, config: { vocabulary } }: ModelSource,
  use: (text: TextProcessor) => Promise<T>,
): Promise<T> {
  const text = await loadTextProcessor(tokenizer, { endTokens, chatTemplate, vocabulary });
  try {
    return await use(text);
  } finally {
    text.close();
  }
}

/** Runs a parser of flags; what it throws becomes a sentence that points to the help. */
export function parseFlags<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new Failure("invalid", `${(error as Error).message} (--help lists the flags)`);
  }
}

/** A whole number of the command line. */
export function wholeNumber(flag: string, text: string, least: number): number {
  if (/^\d+$/.test(text) && Number(text) >= least) return Number(text);
  throw new Failure(
    "invalid",
    `--${flag} is "${text}"; it must be a whole number from ${least} up.`,
  );
}

/** The layers of a list, none for "none". */
export function layerList(text: string, layers: number): number[] {
  if (text === "none") return [];
  const list = text.split(",").map((layer) => wholeNumber("dense-layers", layer, 0));
  const over = list.find((layer) => layer >= layers);
  if (over === undefined) return [...new Set(list)].toSorted((a, b) => a - b);
  throw new Failure("invalid", `There is no layer ${over}: there are 0 to ${layers - 1}.`);
}

/** Makes the folder of --out, before the work whose results go there. @throws {Failure} `invalid` */
export async function makeOut(folder: string): Promise<void> {
  try {
    await Deno.mkdir(folder, { recursive: true });
  } catch (error) {
    throw new Failure(
      "invalid",
      `Cannot make the folder --out ${folder}: ${
        (error as Error).message
      }. Name one that you may write to.`,
    );
  }
}

/** Prints what a tool returns, or the sentence of its failure. */
export async function runTool(run: () => Promise<string>): Promise<void> {
  try {
    console.log(await run());
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    console.error(error.message);
    Deno.exit(error.kind === "invalid" ? 2 : 1);
  }
}
