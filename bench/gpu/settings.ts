// SPDX-License-Identifier: Apache-2.0
/** What `deno task bench:gpu` measures: the paper's settings, and the engines that each of them takes. */
import { BLOCK_TOKENS } from "../../src/engine/engine.ts";
import { type HostAttention, NO_INDEX } from "../../src/engine/settings.ts";
import type { ModelConfig } from "../../src/model/model.ts";
import { parseStrategies, type StrategySpec } from "../eval/strategies.ts";
import { samplingLayers } from "../../src/model/index_memory.ts";

/** A model, a length of context and a card. */
export interface Setting {
  name: string;
  title: string;
  /** A config.json. */
  shape: string;
  /** Tokens of each context. */
  context: number;
  /** Bytes of the GPU's memory that may be used. */
  vram: number;
  /** Long contexts, sampling in the GPU's memory and prefill are measured too. */
  more: boolean;
}

const GIB = 2 ** 30;
const SHAPES = decodeURIComponent(new URL("../shapes/", import.meta.url).pathname);

/** Those of MagicPIG's throughput figure. */
export const SETTINGS: readonly Setting[] = [
  {
    name: "8b",
    title: "Llama-3.1-8B, 96K, 24 GB",
    shape: `${SHAPES}llama-3.1-8b.json`,
    context: 98304,
    vram: 24 * GIB,
    more: true,
  },
  {
    name: "13b",
    title: "Code-Llama-13B, 16K, 48 GB",
    shape: `${SHAPES}code-llama-13b.json`,
    context: 16384,
    vram: 48 * GIB,
    more: false,
  },
  {
    name: "34b",
    title: "Code-Llama-34B, 16K, 80 GB",
    shape: `${SHAPES}code-llama-34b.json`,
    context: 16384,
    vram: 80 * GIB,
    more: false,
  },
];

/** Most contexts that decode together: the paper's most. */
export const MOST_BATCH = 18;
export const BATCHES = [1, 2, 3, 4, 6, 8, 12, 16, MOST_BATCH, 24, 32];

/** One engine and what it is asked. */
export interface Trial {
  /** Where the KV lies and who attends: what tables and plots call it after the strategy. */
  where: string;
  strategies: StrategySpec[];
  /** Tokens of the contexts that decode, shortest first. */
  contexts: number[];
  /** Layers whose KV lies in host memory; "least": as few as fit. */
  hostLayers: number | "least";
  hostAttention: HostAttention;
  /** Whether the setting's cap on the GPU's memory holds; without it all that is free may be used. */
  capped: boolean;
  /** Most contexts. */
  most: number;
  /** Lengths at which prefill is timed. */
  prefill: number[];
  /** Which table the figures belong to. */
  table: "throughput" | "long" | "vram" | "prefill";
}

const BASE: Omit<Trial, "where" | "strategies" | "contexts"> = {
  hostLayers: 0,
  hostAttention: "gpu",
  capped: true,
  most: MOST_BATCH,
  prefill: [],
  table: "throughput",
};

/** What decides about a setting's trials besides itself. */
export interface TrialOptions {
  denseLayers: readonly number[];
  /** Of sketches. */
  bits: 1 | 2 | 4;
  /** "10x150" */
  lsh: string;
}

/** The trials of a setting, those that matter most first. */
export function trialsOf(
  setting: Setting,
  config: ModelConfig,
  { denseLayers, bits, lsh }: TrialOptions,
): Trial[] {
  const hostLayers = samplingLayers(config, { ...NO_INDEX, denseLayers: [...denseLayers] });
  const sketch = bits === 2 ? "sketch" : `sketch${bits}`;
  const contexts = [setting.context];
  const two = parseStrategies(`${sketch}@0.02,${sketch}@0.01`);
  const trials: Trial[] = [
    { ...BASE, where: "KV on the host, by the GPU", strategies: two, contexts, hostLayers },
    { ...BASE, where: "KV in VRAM", strategies: parseStrategies("full"), contexts },
    {
      ...BASE,
      where: "KV on the host, by the CPU",
      strategies: parseStrategies(`lsh:${lsh},${sketch}@0.02`),
      contexts,
      hostLayers,
      hostAttention: "cpu",
    },
    {
      ...BASE,
      where: "KV on the host, by both",
      strategies: parseStrategies(`${sketch}@0.02`),
      contexts,
      hostLayers,
      hostAttention: "split",
    },
    {
      ...BASE,
      where: "KV in VRAM as far as it fits",
      strategies: parseStrategies("full"),
      contexts,
      hostLayers: "least",
      most: 1,
    },
  ];
  return setting.more
    ? [
      ...trials,
      ...longTrials(setting, two, hostLayers),
      lshInVram(setting, parseStrategies(`lsh:${lsh},${sketch}@0.02`)),
      ...prefillTrials(setting, `lsh:${lsh}`, two, hostLayers),
    ]
    : trials;
}

/** What an index costs a prompt where KV lies on the host. */
function prefillTrials(
  { context }: Setting,
  lsh: string,
  [sketch]: StrategySpec[],
  hostLayers: number,
): Trial[] {
  const third = Math.floor(context / 3 / BLOCK_TOKENS) * BLOCK_TOKENS;
  const one: Omit<Trial, "where" | "strategies" | "hostAttention"> = {
    ...BASE,
    contexts: [],
    hostLayers,
    capped: false,
    most: 1,
    prefill: [third, context],
    table: "prefill",
  };
  const where = (who: string) => `KV on the host, by the ${who}, prompts`;
  return [
    { ...one, where: where("GPU"), strategies: [sketch!], hostAttention: "gpu" },
    { ...one, where: where("CPU"), strategies: [sketch!], hostAttention: "cpu" },
    { ...one, where: where("CPU"), strategies: parseStrategies(lsh), hostAttention: "cpu" },
  ];
}

/** `lsh` by the GPU beside sketches, decode and prompts. */
function lshInVram({ context }: Setting, strategies: StrategySpec[]): Trial {
  return {
    ...BASE,
    where: "KV in VRAM, no cap, lsh",
    strategies,
    contexts: [context],
    capped: false,
    most: 4,
    prefill: [Math.floor(context / 3 / BLOCK_TOKENS) * BLOCK_TOKENS, context],
    table: "vram",
  };
}

function longTrials({ context }: Setting, sketches: StrategySpec[], hostLayers: number): Trial[] {
  const full = parseStrategies("full");
  const [sketch] = sketches as [StrategySpec];
  const third = Math.floor(context / 3 / BLOCK_TOKENS) * BLOCK_TOKENS;
  const sixth = Math.floor(third / 2 / BLOCK_TOKENS) * BLOCK_TOKENS;
  const long: Omit<Trial, "contexts"> = {
    ...BASE,
    where: "KV on the host, by the GPU",
    strategies: sketches,
    hostLayers,
    most: 1,
    table: "long",
  };
  return [
    { ...long, contexts: [4 * context] },
    {
      ...BASE,
      where: "KV in VRAM, no cap",
      strategies: [...full, sketch],
      contexts: [sixth, third, context],
      capped: false,
      most: 32,
      prefill: [third, context],
      table: "vram",
    },
    {
      ...BASE,
      where: "KV in VRAM, no cap, no index",
      strategies: full,
      contexts: [],
      capped: false,
      most: 1,
      prefill: [third, context],
      table: "prefill",
    },
    {
      ...long,
      where: "KV in VRAM as far as it fits, no cap",
      contexts: [Math.floor(context * 32 / 3 / BLOCK_TOKENS) * BLOCK_TOKENS],
      hostLayers: "least",
      capped: false,
    },
  ];
}
