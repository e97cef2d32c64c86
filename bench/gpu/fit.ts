// SPDX-License-Identifier: Apache-2.0
/** How many contexts an engine of a trial can hold, each with blocks of its own. */
import { BLOCK_TOKENS } from "../../src/engine/engine.ts";
import {
  CPU,
  DEFAULT_SETTINGS,
  type EngineSettings,
  type IndexSettings,
  NO_INDEX,
} from "../../src/engine/settings.ts";
import { formatBytes } from "../../src/model/memory.ts";
import { samplingLayers } from "../../src/model/index_memory.ts";
import type { ModelConfig } from "../../src/model/model.ts";
import { type Memory, memoryOf } from "../device.ts";
import { groupByEngine } from "../eval/strategies.ts";
import type { Setting, Trial } from "./settings.ts";

/** Tokens that a context grows by while it is measured. */
export const GROWTH = BLOCK_TOKENS;
const PREFILL_STEP_TOKENS = 4096, DECODE_STEP_TOKENS = 512;

/** A trial that fits. */
export interface Fit {
  contexts: number;
  /** Layers whose KV lies in host memory. */
  hostLayers: number;
  settings: EngineSettings;
  /** Bytes taken. */
  memory: Memory;
}

/** The index of a trial's engine; its strategies need one engine. */
export function indexOf({ strategies }: Trial, common: Partial<IndexSettings>): IndexSettings {
  const groups = groupByEngine(strategies, common);
  if (groups.length > 1) throw new Error("the strategies of a trial share one engine");
  return groups[0]?.index ?? { ...NO_INDEX, ...common };
}

/** Longest context of a trial, with room to decode. */
function longestOf({ contexts, prefill }: Trial): number {
  return Math.max(...contexts, ...prefill) + GROWTH;
}

/** Tokens of tables that hold a context: where its segments' buckets begin takes as much as so many tokens. */
function lshTokensOf(context: number, bits: number): number {
  return context + BLOCK_TOKENS + Math.ceil(context / 32768) * (2 ** bits + 1);
}

function settingsOf(
  trial: Trial,
  contexts: number,
  hostLayers: number,
  { index, device, threads }: { index: IndexSettings; device: number; threads: number },
): EngineSettings {
  const context = longestOf(trial);
  const blocks = Math.ceil(context / BLOCK_TOKENS);
  return {
    ...DEFAULT_SETTINGS,
    threads,
    device,
    // On the CPU the bench itself is tried out: all KV lies with it.
    hostLayers: device === CPU ? 0 : hostLayers,
    hostAttention: device === CPU ? "gpu" : trial.hostAttention,
    context,
    kvBlocks: contexts * blocks,
    maxContexts: 64,
    maxStepTokens: trial.prefill.length > 0 ? PREFILL_STEP_TOKENS : DECODE_STEP_TOKENS,
    maxStepSequences: Math.max(contexts, trial.most),
    index: {
      ...index,
      lshTokens: index.lsh === null ? 0 : contexts * lshTokensOf(context, index.lsh.bits),
    },
  };
}

/** The cap of a trial on a machine. */
function capOf(trial: Trial, setting: Setting, free: Memory): Memory {
  return { vram: trial.capped ? Math.min(setting.vram, free.vram) : free.vram, host: free.host };
}

/**
 * The most contexts of a trial that fit, or the sentence why not even one does. With the longest ones; of
 * shorter ones more fit into the same blocks.
 */
export function fitTrial(
  trial: Trial,
  setting: Setting,
  config: ModelConfig,
  machine: { free: Memory; device: number; threads: number; common: Partial<IndexSettings> },
): Fit | string {
  const index = indexOf(trial, machine.common);
  const cap = capOf(trial, setting, machine.free);
  const hostLayers = trial.hostLayers === "least"
    ? Array.from({ length: config.layers + 1 }, (_, i) => i)
    : [Math.min(trial.hostLayers, samplingLayers(config, index))];
  const parts = { index, device: machine.device, threads: machine.threads };
  let last: Memory = { vram: 0, host: 0 };
  for (const layers of hostLayers) {
    const fits = (contexts: number) => {
      last = memoryOf(config, settingsOf(trial, contexts, layers, parts));
      return last.vram <= cap.vram && last.host <= cap.host;
    };
    let contexts = 0;
    while (contexts < trial.most && fits(contexts + 1)) ++contexts;
    if (contexts === 0) continue;
    const settings = settingsOf(trial, contexts, layers, parts);
    return { contexts, hostLayers: layers, settings, memory: memoryOf(config, settings) };
  }
  const { vram, host } = last;
  return `One context of ${longestOf(trial) - GROWTH} tokens takes ${
    formatBytes(vram)
  } of the GPU's memory and ` +
    `${formatBytes(host)} of the host's; ${formatBytes(cap.vram)} and ${
      formatBytes(cap.host)
    } may be used.`;
}
