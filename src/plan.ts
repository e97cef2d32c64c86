// SPDX-License-Identifier: Apache-2.0
/** What the command line, the model and the machine make of each other, before anything is loaded. */
import type { Options } from "./cli.ts";
import type { AttentionPolicy } from "./engine/attention.ts";
import {
  CPU,
  type EngineSettings,
  type IndexSettings,
  type Machine,
  NO_INDEX,
} from "./engine/settings.ts";
import { Failure } from "./errors.ts";
import { lackingKernels } from "./model/device_sampling.ts";
import { fitMemory, type MemoryFit } from "./model/fit.ts";
import { canSample, samplingLayers } from "./model/index_memory.ts";
import type { ModelConfig } from "./model/model.ts";
import { thousands } from "./plan_text.ts";
import { hostMemory, ownMemory, usableMemory } from "./usable_memory.ts";

/** Tokens of the largest step: long enough for full speed of the matrix products. */
const MAX_STEP_TOKENS = 2048;
/** On a GPU: beyond it nothing gets faster, and activations take memory. */
const MAX_DEVICE_STEP_TOKENS = 4096;
/** Contexts in a step: beyond 16 rows decode leaves the kernels that stream the weights once. */
const MAX_STEP_SEQUENCES = 32;
/** Contexts at once: those in steps, and those that pause with their KV kept. */
const MAX_CONTEXTS = 256;
/** How a server will use the machine. */
export interface ServerPlan {
  settings: EngineSettings;
  fit: MemoryFit;
  /** Bytes that may be used: of the GPU's memory, where one computes. */
  memory: number;
  /** Those of them that are for the process itself. */
  processBytes: number;
  /** Bytes of host memory that KV may take beside the GPU's. */
  hostMemory: number;
  machine: Machine;
  policy: AttentionPolicy;
  /** Sentences for the start message: what the flags ask for and the model cannot do. */
  notes: string[];
}

/** Dense layers of the paper: every sixteenth of its models' 32 and 80 layers, up to the middle. */
function publishedDenseLayers(layers: number): number[] {
  return (layers < 64 ? [0, 16] : [0, 16, 32, 48]).filter((layer) => layer < layers);
}

/** Whether the GPU itself samples; else the CPU attends whatever samples. */
function gpuSamples({ device, hostAttention }: Options): boolean {
  return device !== CPU && hostAttention !== "cpu";
}

/** Why a GPU doesn't sample with this model or its sketches; null when it does, or when there is no index. */
function deviceLack(config: ModelConfig, options: Options): string | null {
  const { sketchBits, yardsticks, lsh } = options.attention.index;
  if (!gpuSamples(options) || config.slidingWindow > 0) return null;
  const byHead = yardsticks || lsh !== null;
  if (sketchBits === 0 && !byHead) return null;
  return lackingKernels(config, byHead);
}

/** Refuses what a GPU doesn't do; what nobody asked for is left out silently. */
function checkDeviceIndex(config: ModelConfig, options: Options): void {
  if (!gpuSamples(options)) return;
  const { asked, index: { lsh, yardsticks } } = options.attention;
  if (lsh !== null && options.hostAttention === "split") {
    throw new Failure(
      "invalid",
      "GPU and CPU don't divide heads with lsh: leave out --preset and --index lsh, or let one of them " +
        "attend with --host-attention gpu or cpu.",
    );
  }
  const lack = deviceLack(config, options);
  if (lack !== null && (asked || yardsticks || lsh !== null)) {
    throw new Failure(
      "invalid",
      `A GPU cannot sample with ${lack}. --host-attention cpu and --device cpu can.`,
    );
  }
}

/** The index for this model, without the tokens of `lsh` tables. */
function indexFor(config: ModelConfig, options: Options): IndexSettings {
  checkDeviceIndex(config, options);
  const { layers, slidingWindow } = config;
  const { attention: asked } = options;
  if (slidingWindow > 0 || deviceLack(config, options) !== null) return NO_INDEX;
  const { denseLayers: dense } = asked;
  const denseLayers = dense === "published" ? publishedDenseLayers(layers) : dense;
  const beyond = denseLayers.find((layer) => layer >= layers);
  if (beyond !== undefined) {
    throw new Failure(
      "invalid",
      `--dense-layers names layer ${beyond}, but this model has layers 0 to ${layers - 1}.`,
    );
  }
  return { ...asked.index, lshTokens: 0, denseLayers };
}

function notesOf(config: ModelConfig, options: Options): string[] {
  const lack = deviceLack(config, options), { slidingWindow } = config;
  if (lack !== null) return [`A GPU cannot sample with ${lack}: every request is exact.`];
  if (slidingWindow === 0 || !options.attention.asked) return [];
  return [
    `This model attends within a window of ${
      thousands(slidingWindow)
    } tokens, which is always read ` +
    "exactly: there is no index, and no request is sampled.",
  ];
}

/**
 * Settings of the engine for a model on a machine.
 * @throws {Failure} kind `memory` or `invalid` with the figures, when it doesn't fit
 */
export function planFor(config: ModelConfig, options: Options, machine: Machine): ServerPlan {
  const memory = usableMemory(options, machine);
  const limits = {
    precision: "bf16" as const,
    threads: options.threads === 0 ? machine.cores : options.threads,
    maxStepTokens: options.device === CPU ? MAX_STEP_TOKENS : MAX_DEVICE_STEP_TOKENS,
    maxStepSequences: MAX_STEP_SEQUENCES,
    maxContexts: MAX_CONTEXTS,
    device: options.device,
    hostAttention: options.hostAttention,
  };
  const wanted = indexFor(config, options);
  const flag = options.device === CPU ? "--memory" : "--vram";
  const { context } = options;
  const host = hostMemory(options, machine);
  const processBytes = ownMemory(options, memory);
  const leastHostLayers = options.hostAttention === "cpu" && canSample(config, wanted)
    ? samplingLayers(config, wanted)
    : 0;
  const request = { ...limits, leastHostLayers, host, flag, context, index: wanted } as const;
  const fit = fitMemory(config, { ...request, memory: memory - processBytes });
  const index = { ...wanted, lshTokens: fit.lshTokens };
  const { strategy, autoFrom, budget, beta, collisions, verify } = options.attention;
  return {
    settings: {
      ...limits,
      index,
      kvBlocks: fit.kvBlocks,
      hostLayers: fit.hostLayers,
      context: fit.context,
      deterministic: options.deterministic,
      dummySeed: 0,
    },
    fit,
    memory,
    processBytes,
    hostMemory: host?.bytes ?? 0,
    machine,
    policy: {
      strategy,
      autoFrom,
      budget,
      beta,
      collisions,
      verify,
      index,
      slidingWindow: config.slidingWindow,
    },
    notes: notesOf(config, options),
  };
}
