// SPDX-License-Identifier: Apache-2.0
/**
 * The memory formula of the engine, and what of the machine's memory becomes KV blocks. `native/src/plan.cpp`
 * states the same formula; a test compares the two.
 */
import { BLOCK_TOKENS } from "../engine/engine.ts";
import { Failure } from "../errors.ts";
import type { ModelConfig } from "./model.ts";

/** What the formula wants to know besides the model. */
export interface MemorySettings {
  precision: "bf16" | "f32";
  /** At least 1. */
  threads: number;
  kvBlocks: number;
  maxStepTokens: number;
  maxStepSequences: number;
}

/** Bytes by what they are for; the figures of `enum sounder_plan`. */
export interface MemoryPlan {
  weightBytes: number;
  /** One KV block over all layers. */
  blockBytes: number;
  /** All KV blocks. */
  kvBytes: number;
  /** Activations of the largest step. */
  workspaceBytes: number;
}

/** Rows of logits that are computed at a time. */
const LOGITS_ROWS = 64;
/** Of native/src/matmul.cpp: rows of a weight panel, columns it may be padded by, tokens of a block. */
const PANEL_ROWS = 64, PANEL_SLACK = 1024, TOKEN_BLOCK = 512, TOKEN_QUANTUM = 32;
/** Of native/src/attention: partial results of a sequence, and bytes of its bookkeeping. */
const MOST_PARTIALS = 128, SEQUENCE_BYTES = 256;
/** Most blocks that an engine takes. */
const MOST_BLOCKS = 1 << 23;
/** Longest context that an engine takes: positions stay exact in float32. */
const MOST_CONTEXT = 1 << 24;
/** Tokens of a context that is worth serving. */
const USEFUL_CONTEXT = 1024;

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

/** One KV block: rows [K | V] of its tokens, for each layer and KV head. */
export function blockBytes(config: ModelConfig, precision: MemorySettings["precision"]): number {
  const row = 2 * config.headDim;
  return valueBytes(precision) * config.layers * config.kvHeads * BLOCK_TOKENS * row;
}

function matmulBytes(config: ModelConfig, { threads, maxStepTokens }: MemorySettings): number {
  const columns = Math.max(config.hidden, widths(config).q, config.intermediate);
  const thread = 4 * PANEL_ROWS * (columns + PANEL_SLACK + TOKEN_BLOCK);
  return threads * thread + 2 * roundUp(maxStepTokens, TOKEN_QUANTUM) * columns;
}

function attentionBytes(config: ModelConfig, settings: MemorySettings): number {
  const { heads, kvHeads, headDim } = config;
  const thread = 4 * (512 * roundUp(headDim, 32) + 17408);
  const sequence = 4 * MOST_PARTIALS * heads * (headDim + 2) + 4 * kvHeads + SEQUENCE_BYTES;
  return settings.threads * thread + settings.maxStepSequences * sequence;
}

/** Activations, logits and scratch of the largest step. */
export function workspaceBytes(config: ModelConfig, settings: MemorySettings): number {
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
  const block = blockBytes(config, settings.precision);
  return {
    weightBytes: weightBytes(config, settings.precision),
    blockBytes: block,
    kvBytes: block * settings.kvBlocks,
    workspaceBytes: workspaceBytes(config, settings),
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

const UNIT = new Map([["", 0], ["k", 1], ["m", 2], ["g", 3], ["t", 4]]);

/**
 * Bytes that a size like "12GiB", "800M", "1.5 GB" or "50%" means. KB, MB, GB are powers of 1000, K, M, G
 * and KiB, MiB, GiB of 1024; a share is one of the available memory, and without a text it is 80 %.
 * @throws {Failure} kind `invalid` when it is no size, `memory` when the machine has not so much
 */
export function parseMemory(text: string | null, machine: MachineMemory): number {
  if (text === null) return Math.floor(0.8 * machine.available);
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

/** What is to fit into memory. */
export interface FitRequest extends Omit<MemorySettings, "kvBlocks"> {
  /** Bytes that weights, KV blocks and workspace may take together. */
  memory: number;
  /** Longest context in tokens; null: as long as the model's, as far as memory goes. */
  context: number | null;
  /** Contexts that may exist at once. */
  maxContexts: number;
}

/** How memory is used. */
export interface MemoryFit extends MemoryPlan {
  kvBlocks: number;
  /** Longest context in tokens. */
  context: number;
}

/**
 * Decides how many KV blocks there are and how long a context may be.
 * @throws {Failure} kind `memory` with figures when weights or one context of useful length don't fit
 */
export function fitMemory(config: ModelConfig, request: FitRequest): MemoryFit {
  const fixed = planMemory(config, { ...request, kvBlocks: 0 });
  const left = request.memory - fixed.weightBytes - fixed.workspaceBytes;
  if (left < fixed.blockBytes) {
    throw new Failure(
      "memory",
      `The model takes ${formatBytes(fixed.weightBytes)} for weights and ` +
        `${formatBytes(fixed.workspaceBytes)} for a step, but ${
          formatBytes(request.memory)
        } may be ` +
        "used. Give it more with --memory, or take a smaller model.",
    );
  }
  const fitting = Math.floor(left / fixed.blockBytes);
  const wanted = Math.min(request.context ?? config.context, MOST_CONTEXT);
  const least = Math.ceil(
    (request.context === null ? Math.min(wanted, USEFUL_CONTEXT) : wanted) / BLOCK_TOKENS,
  );
  if (fitting < least) {
    throw new Failure(
      "memory",
      `A context of ${Math.min(wanted, least * BLOCK_TOKENS)} tokens takes ` +
        `${formatBytes(least * fixed.blockBytes)} of KV cache, but beside the weights ` +
        `${formatBytes(left)} are left, enough for ${fitting * BLOCK_TOKENS} tokens. Ask for a ` +
        "shorter one with --context, or give more with --memory.",
    );
  }
  const context = Math.min(wanted, fitting * BLOCK_TOKENS);
  // More blocks than all contexts at full length could never be used.
  const most = Math.min(MOST_BLOCKS, request.maxContexts * Math.ceil(context / BLOCK_TOKENS));
  const kvBlocks = Math.min(fitting, most);
  return { ...fixed, kvBlocks, context, kvBytes: kvBlocks * fixed.blockBytes };
}
