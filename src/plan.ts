// SPDX-License-Identifier: Apache-2.0
/** What the command line, the model and the machine make of each other, before anything is loaded. */
import type { Options } from "./cli.ts";
import type { AttentionPolicy } from "./engine/attention.ts";
import { BLOCK_TOKENS } from "./engine/engine.ts";
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
import { lshBytes, publishedLshBytes } from "./model/index_memory.ts";
import { formatBytes } from "./model/memory.ts";
import type { ModelConfig } from "./model/model.ts";
import { hostMemory, ownMemory, usableMemory } from "./usable_memory.ts";

/** Tokens of the largest step: long enough for full speed of the matrix products. */
const MAX_STEP_TOKENS = 2048;
/** On a GPU: beyond it nothing gets faster, and activations take memory. */
const MAX_DEVICE_STEP_TOKENS = 4096;
/** Contexts in a step: beyond 16 rows decode leaves the kernels that stream the weights once. */
const MAX_STEP_SEQUENCES = 32;
/** Contexts at once: those in steps, and those that pause with their KV kept. */
const MAX_CONTEXTS = 256;
/** Answer tokens that one request reserves, for the number of requests that `plan` prints. */
const ANSWER_TOKENS = 1024;

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

/** Why a GPU doesn't sample with this model's sketches; null when it does, or when there are none. */
function deviceLack(config: ModelConfig, { attention, device }: Options): string | null {
  const { sketchBits } = attention.index;
  if (device === CPU || sketchBits === 0 || config.slidingWindow > 0) return null;
  return lackingKernels(config, sketchBits);
}

/** Refuses what a GPU doesn't do; what nobody asked for is left out silently. */
function checkDeviceIndex(config: ModelConfig, options: Options): void {
  if (options.device === CPU) return;
  const { asked, index: { lsh, questPage, yardsticks } } = options.attention;
  if (lsh !== null || questPage > 0 || yardsticks) {
    throw new Failure(
      "invalid",
      "A GPU samples by sketches alone: leave out --preset, --experimental and all of --index but " +
        "sketch, or use --device cpu.",
    );
  }
  const lack = deviceLack(config, options);
  if (lack !== null && asked) {
    throw new Failure("invalid", `A GPU cannot sample with ${lack}. --device cpu can.`);
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
    hostAttention: "gpu" as const,
  };
  const wanted = indexFor(config, options);
  const flag = options.device === CPU ? "--memory" : "--vram";
  const { context } = options;
  const host = hostMemory(options, machine);
  const processBytes = ownMemory(options, memory);
  const engine = { memory: memory - processBytes, host, flag, context, index: wanted } as const;
  const fit = fitMemory(config, { ...limits, ...engine });
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

function thousands(count: number): string {
  return Math.floor(count).toLocaleString("en-US");
}

/** Some prompt lengths up to the longest context, and how many such requests fit at once. */
function requestLines({ fit }: ServerPlan): string[] {
  const lengths = [1024, 4096, 16384, 65536, 262144, 1048576].filter((n) => n < fit.context);
  return [...lengths, fit.context].map((tokens) => {
    const blocks = Math.ceil(Math.min(tokens + ANSWER_TOKENS, fit.context) / BLOCK_TOKENS);
    const requests = Math.min(MAX_CONTEXTS, Math.max(1, Math.floor(fit.kvBlocks / blocks)));
    return `  ${thousands(tokens).padStart(11)} tokens of prompt: ${thousands(requests)} at once`;
  });
}

function kvSummary({ fit, settings }: ServerPlan): string {
  const { kvBytes, hostKvBytes } = fit;
  if (settings.device === CPU) return `${formatBytes(kvBytes)} KV cache (grows as it is used)`;
  const own = `${formatBytes(kvBytes - hostKvBytes)} KV cache on the GPU`;
  return hostKvBytes === 0 ? own : `${own} and ${formatBytes(hostKvBytes)} in host memory`;
}

/** Where the KV of the layers lies, when some lies in host memory. */
function placementLines(config: ModelConfig, { fit, hostMemory }: ServerPlan): string[] {
  const { hostLayers, kvBytes, hostKvBytes } = fit;
  if (hostLayers === 0) return [];
  const layers = (count: number) => `${count} ${count === 1 ? "layer" : "layers"}`;
  return [
    `  placement  ${layers(config.layers - hostLayers)}${
      fit.indexBytes > 0 ? " and the index" : ""
    }` +
    ` on the GPU: ${formatBytes(kvBytes - hostKvBytes)}; ${layers(hostLayers)} in pinned host ` +
    `memory: ${formatBytes(hostKvBytes)} of ${formatBytes(hostMemory)}`,
  ];
}

/** The two lines about memory in the start message. */
export function planSummary(plan: ServerPlan): string {
  const { fit } = plan;
  return [
    `  memory   ${formatBytes(fit.weightBytes)} weights, ${kvSummary(plan)}, ${
      fit.lshBytes > 0 ? `${formatBytes(fit.lshBytes)} lsh tables, ` : ""
    }` +
    `${formatBytes(fit.workspaceBytes)} workspace`,
    `  context  ${thousands(fit.context)} tokens, ${
      thousands(fit.kvBlocks * BLOCK_TOKENS)
    } over all requests`,
    `  attends  ${attentionSummary(plan.policy)}`,
    ...plan.notes.map((note) => `  note     ${note}`),
  ].join("\n");
}

/** What requests get that say nothing. */
function attentionSummary({ strategy, autoFrom, budget, index, slidingWindow }: AttentionPolicy) {
  const share = (name: string) =>
    name === "lsh" ? "" : ` with ${Number((100 * budget).toPrecision(4))} % of the rows`;
  if (slidingWindow > 0 || strategy === "full") return "exactly";
  if (strategy !== "auto") return `by ${strategy}${share(strategy)}`;
  const name = index.sketchBits > 0 ? "sketch" : index.lsh !== null ? "lsh" : null;
  if (name === null) return "exactly";
  return `exactly up to ${thousands(autoFrom)} tokens of prompt, beyond them by ${name}${
    share(name)
  }`;
}

/** What the index takes: beside each token's KV, and the lsh tables with what published code takes. */
function indexLines(config: ModelConfig, { fit, settings: { index } }: ServerPlan): string[] {
  const lines: string[] = [];
  if (fit.indexBytes > 0) {
    const names = [
      ...(index.sketchBits > 0 ? [`sketch of ${index.sketchBits} bits`] : []),
      ...(index.questPage > 0 ? [`bounds of ${index.questPage}-token pages`] : []),
    ];
    const kv = fit.blockBytes - fit.indexBytes;
    lines.push(
      `  index      ${names.join(", ")}: ${formatBytes(fit.indexBytes / BLOCK_TOKENS)} of these, ` +
        `${(100 * fit.indexBytes / kv).toFixed(1)} % of K and V`,
    );
  }
  if (index.lsh !== null && fit.lshBytes > 0) {
    const { context } = fit;
    const ours = lshBytes(config, index, context);
    const published = publishedLshBytes(config, index, context);
    const perToken = (bytes: number) => formatBytes(bytes / context);
    lines.push(
      `  lsh        K = ${index.lsh.bits}, L = ${index.lsh.tables}: ${
        perToken(ours)
      } a token of a ` +
        `context of ${thousands(context)}, ${formatBytes(fit.lshBytes)} beside the KV cache in all`,
      `             (the published tables would take ${perToken(published)} a token)`,
    );
  }
  return lines;
}

function machineMemory({ machine, memory }: ServerPlan): string {
  const of = (free: number, total: number) => `${formatBytes(free)} of ${formatBytes(total)} free`;
  const { device } = machine;
  const own = of(machine.memoryAvailable, machine.memoryTotal);
  const gpu = device === undefined ? "" : `, on the GPU ${of(device.free, device.total)}`;
  return `${own}${gpu}; ${formatBytes(memory)}`;
}

/** What `plan` prints: weights, bytes a token, contexts, tokens. */
export function planText(config: ModelConfig, plan: ServerPlan): string {
  const { fit, machine } = plan;
  const perToken = fit.blockBytes / BLOCK_TOKENS;
  return [
    `  shape      ${config.architecture}: ${config.layers} layers, hidden ${config.hidden}, ` +
    `${config.heads} heads over ${config.kvHeads} KV heads of ${config.headDim}, ` +
    `vocabulary ${thousands(config.vocabulary)}`,
    `  machine    ${machine.cores} cores, ${machineMemory(plan)} may be used`,
    `  weights    ${formatBytes(fit.weightBytes)} in bfloat16`,
    `  workspace  ${formatBytes(fit.workspaceBytes)}${
      plan.processBytes > 0 ? `, and ${formatBytes(plan.processBytes)} for the server itself` : ""
    }`,
    `  KV cache   ${formatBytes(perToken)} a token, ${thousands(fit.kvBlocks)} blocks of ` +
    `${BLOCK_TOKENS} tokens = ${formatBytes(fit.kvBytes)}`,
    ...placementLines(config, plan),
    ...indexLines(config, plan),
    `  context    up to ${thousands(fit.context)} tokens (the model was made for ` +
    `${thousands(config.context)}), ${
      thousands(fit.kvBlocks * BLOCK_TOKENS)
    } tokens over all requests`,
    `  attention  ${attentionSummary(plan.policy)}`,
    ...plan.notes.map((note) => `  note       ${note}`),
    "",
    `Requests that fit at once, each with up to ${thousands(ANSWER_TOKENS)} tokens of answer:`,
    ...requestLines(plan),
  ].join("\n");
}
