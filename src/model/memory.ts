// SPDX-License-Identifier: Apache-2.0
/** The memory formula of the engine. `native/src/plan.cpp` states the same one; a test compares the two. */
import { BLOCK_TOKENS } from "../engine/engine.ts";
import { CPU, type HostAttention, type IndexSettings } from "../engine/settings.ts";
import { Failure } from "../errors.ts";
import { deviceSamplingBytes, gpuSamples, nearBytes } from "./device_sampling.ts";
import { canSample, indexBytes, lshBytes, samplingBytes, samplingLayers } from "./index_memory.ts";
import type { ModelConfig } from "./model.ts";

/** What the formula wants to know besides the model. */
export interface MemorySettings {
  precision: "bf16" | "f32";
  /** At least 1. */
  threads: number;
  kvBlocks: number;
  /** Longest context in tokens. */
  context: number;
  maxStepTokens: number;
  maxStepSequences: number;
  index: IndexSettings;
  /** {@linkcode CPU}, or the index of a GPU. */
  device: number;
  /** Layers whose KV a GPU finds in host memory. */
  hostLayers: number;
  hostAttention: HostAttention;
}

/** Bytes by what they are for; the figures of `enum sounder_plan`. */
export interface MemoryPlan {
  weightBytes: number;
  /** One KV block over all layers, with its index. */
  blockBytes: number;
  /** All KV blocks. */
  kvBytes: number;
  /** Activations of the largest step. */
  workspaceBytes: number;
  /** The part of a block that is index. */
  indexBytes: number;
  /** `lsh` tables, or a GPU's signatures, beside the blocks. */
  lshBytes: number;
  /** The part of `kvBytes` that a GPU finds in host memory. */
  hostKvBytes: number;
  /** What the CPU works with in host memory beside a GPU: pinned memory, and scratch of its attention. */
  hostWorkspaceBytes: number;
}

/** Rows of logits that are computed at a time. */
const LOGITS_ROWS = 64;
/** Of native/src/matmul.cpp: rows of a weight panel, columns it may be padded by, tokens of a block. */
const PANEL_ROWS = 64, PANEL_SLACK = 1024, TOKEN_BLOCK = 512, TOKEN_QUANTUM = 32;
/** Of native/src/attention: partial results of a sequence, and bytes of its bookkeeping. */
const MOST_PARTIALS = 128, SEQUENCE_BYTES = 256;

/** Of native/src/device_workspace.h. */
const DEVICE_PARTIALS = 32768, DEVICE_PRODUCT_BYTES = 32 * 2 ** 20;

function roundUp(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}

/** Widths of rows that several parts of the formula share. */
function widths({ heads, kvHeads, headDim, qkvBias }: ModelConfig) {
  const q = heads * headDim;
  const qkv = q + 2 * kvHeads * headDim;
  return { q, qkv, bias: qkvBias ? qkv : 0 };
}

function valueBytes(precision: MemorySettings["precision"]): number {
  return precision === "f32" ? 4 : 2;
}

/** Weights in memory: matrices in the precision, vectors in float32. */
export function weightBytes(config: ModelConfig, precision: MemorySettings["precision"]): number {
  const { hidden, layers } = config;
  const { q, qkv, bias } = widths(config);
  const embeddings = config.vocabulary * hidden * (config.tiedOutput ? 1 : 2);
  const matrices = hidden * qkv + q * hidden + 3 * hidden * config.intermediate;
  const vectors = 2 * hidden + bias + (config.qkNorm ? 2 * config.headDim : 0);
  return valueBytes(precision) * (embeddings + layers * matrices) + 4 * (hidden + layers * vectors);
}

/** The rows of one KV block at one layer. */
export function layerBlockBytes(
  { kvHeads, headDim }: ModelConfig,
  precision: MemorySettings["precision"],
): number {
  return kvHeads * BLOCK_TOKENS * 2 * headDim * valueBytes(precision);
}

/** The index of one block, and the part of it that a GPU has in host memory, where the CPU attends. */
function blockIndex(
  config: ModelConfig,
  { precision, index, hostLayers, hostAttention }: BlockSettings,
): { all: number; host: number } {
  const one = indexBytes(config, valueBytes(precision), index);
  const layers = samplingLayers(config, index);
  if (hostAttention === "gpu" || one === 0) return { all: one, host: 0 };
  const host = one / layers * Math.min(layers, hostLayers);
  return { all: hostAttention === "split" ? one + host : one, host };
}

type BlockSettings = Pick<MemorySettings, "precision" | "index" | "hostLayers" | "hostAttention">;

/** One KV block: rows [K | V] of its tokens, for each layer and KV head, and its index. */
export function blockBytes(config: ModelConfig, settings: BlockSettings): number {
  return config.layers * layerBlockBytes(config, settings.precision) +
    blockIndex(config, settings).all;
}

function matmulBytes(config: ModelConfig, { threads, maxStepTokens }: MemorySettings): number {
  const columns = Math.max(config.hidden, widths(config).q, config.intermediate);
  const thread = 4 * PANEL_ROWS * (columns + PANEL_SLACK + TOKEN_BLOCK);
  return threads * thread + 2 * roundUp(maxStepTokens, TOKEN_QUANTUM) * columns;
}

/** Exact attention of so many sequences at once, and choosing and attending. */
function attentionBytes(
  config: ModelConfig,
  settings: MemorySettings,
  sequences = settings.maxStepSequences,
): number {
  const { heads, kvHeads, headDim } = config;
  const floats = 512 * roundUp(headDim, 32) + 17408;
  const sequence = 4 * MOST_PARTIALS * heads * (headDim + 2) + 4 * kvHeads + SEQUENCE_BYTES;
  return settings.threads * 4 * floats + sequences * sequence +
    samplingBytes(config, settings, floats);
}

/** Tiles of a step's exact attention on a GPU. */
function tileBytes(
  { heads, kvHeads }: ModelConfig,
  { maxStepTokens: rows, maxStepSequences: sequences }: MemorySettings,
): number {
  const group = heads / kvHeads;
  return 32 * (sequences * (Math.floor(group / 16) + 5) + Math.floor(rows * group / 64) + 1);
}

/** Host memory beside a GPU that is no KV, as native/src/plan.cpp states it. */
function hostWorkspaceBytes(config: ModelConfig, settings: MemorySettings): number {
  const { maxStepTokens: rows, hostAttention, hostLayers, index } = settings;
  if (settings.device === CPU) return 0;
  const samples = canSample(config, index), { q } = widths(config);
  const pinned = 4 * Math.min(rows, LOGITS_ROWS) * config.vocabulary + 20 * rows +
    4 * settings.maxStepSequences * Math.ceil(settings.context / BLOCK_TOKENS) +
    (samples ? 3 : 1) * tileBytes(config, settings);
  const own = pinned + 24 * settings.threads * config.vocabulary;
  if (!samples || hostLayers === 0 || hostAttention === "gpu") return own;
  const handover = rows * q * (4 + valueBytes(settings.precision));
  return own + handover + attentionBytes(config, settings, 1) + 4 * q;
}

/** The workspace on a GPU, as native/src/device_workspace.h states it. */
function deviceWorkspaceBytes(config: ModelConfig, settings: MemorySettings): number {
  const { hidden, intermediate, vocabulary } = config;
  const { maxStepTokens: rows, maxStepSequences: sequences } = settings;
  const { q, qkv } = widths(config);
  const value = valueBytes(settings.precision);
  const spare = Math.max(4 * hidden, value * q);
  const row = 4 * hidden + value * hidden + 4 * qkv + 2 * value * q + 3 * value * intermediate +
    spare + 8 * config.rope.frequencies.length + 20;
  const tiles = tileBytes(config, settings);
  return rows * row + 4 * Math.min(rows, LOGITS_ROWS) * vocabulary +
    4 * DEVICE_PARTIALS * (config.headDim + 2) + DEVICE_PRODUCT_BYTES +
    4 * sequences * Math.ceil(settings.context / BLOCK_TOKENS) + tiles +
    deviceSamplingBytes(config, settings, { tiles, spare }) + stagingBytes(config, settings) +
    nearBytes(config, settings, layerBlockBytes(config, settings.precision));
}

/** Where the context of a layer in host memory comes in, twice, and its new rows go out. */
function stagingBytes(config: ModelConfig, settings: MemorySettings): number {
  const { context, hostLayers, maxStepTokens, maxStepSequences, precision } = settings;
  if (hostLayers === 0) return 0;
  const width = Math.ceil(context / BLOCK_TOKENS);
  const blocks = 2 * width + Math.floor(maxStepTokens / BLOCK_TOKENS) + 2 * maxStepSequences;
  return blocks * layerBlockBytes(config, precision) + 4 * width;
}

/** Activations, logits and scratch of the largest step. */
export function workspaceBytes(config: ModelConfig, settings: MemorySettings): number {
  if (settings.device !== CPU) return deviceWorkspaceBytes(config, settings);
  const { hidden, intermediate, vocabulary } = config;
  const { q, qkv } = widths(config);
  const rope = 2 * config.rope.frequencies.length;
  const activations = 2 * hidden + rope + Math.max(qkv + q, 2 * intermediate);
  return 4 * settings.maxStepTokens * activations +
    4 * Math.min(settings.maxStepTokens, LOGITS_ROWS) * vocabulary +
    24 * settings.threads * vocabulary +
    matmulBytes(config, settings) + attentionBytes(config, settings);
}

/** The whole formula. */
export function planMemory(config: ModelConfig, settings: MemorySettings): MemoryPlan {
  const { precision, kvBlocks, hostLayers, index } = settings;
  const block = blockBytes(config, settings), ofIndex = blockIndex(config, settings);
  return {
    weightBytes: weightBytes(config, precision),
    blockBytes: block,
    kvBytes: block * kvBlocks,
    workspaceBytes: workspaceBytes(config, settings),
    indexBytes: ofIndex.all,
    lshBytes: lshBytes(config, index, index.lshTokens, gpuSamples(config, settings)),
    hostKvBytes: kvBlocks * (hostLayers * layerBlockBytes(config, precision) + ofIndex.host),
    hostWorkspaceBytes: hostWorkspaceBytes(config, settings),
  };
}

/** Bytes for people: "1.5 GiB". */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[unit]}`;
}

/** Memory of the machine in bytes. */
export interface MachineMemory {
  total: number;
  /** What the process may still take. */
  available: number;
}

/** Bytes that a size like "12GiB" means. @throws {Failure} kind `invalid` */
export function parseSize(text: string): number {
  const machine = { total: Infinity, available: NaN };
  const bytes = parseMemory(text, machine);
  if (bytes > 0) return bytes;
  throw new Failure("invalid", `"${text}" is no size: write it as 12GiB or 800M.`);
}

const UNIT = new Map([["", 0], ["k", 1], ["m", 2], ["g", 3], ["t", 4]]);

/**
 * Bytes that a size like "12GiB", "800M", "1.5 GB" or "50%" means. KB, MB, GB are powers of 1000, K, M, G
 * and KiB, MiB, GiB of 1024; a share is one of the available memory.
 * @param share of it without a text
 * @throws {Failure} kind `invalid` when it is no size, `memory` when the machine has not so much
 */
export function parseMemory(text: string | null, machine: MachineMemory, share = 0.8): number {
  if (text === null) return Math.floor(share * machine.available);
  const match = /^(\d+(?:\.\d+)?)\s*(?:(%)|([kmgt]?)(i?b)?)$/i.exec(text.trim());
  const value = Number(match?.[1]);
  if (match === null || !(value > 0) || (match[2] !== undefined && value > 100)) {
    throw new Failure("invalid", `"${text}" is no memory size: write it as 12GiB, 800M or 50%.`);
  }
  if (match[2] !== undefined) return Math.floor(value / 100 * machine.available);
  const base = match[4]?.toLowerCase() === "b" ? 1000 : 1024;
  const bytes = Math.floor(value * base ** UNIT.get(match[3]!.toLowerCase())!);
  if (bytes <= machine.total) return bytes;
  throw new Failure(
    "memory",
    `${text} is more memory than there is: ${formatBytes(machine.total)}.`,
  );
}
