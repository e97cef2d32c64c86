// SPDX-License-Identifier: Apache-2.0
/**
 * The part of the memory formula that sampled attention takes: what lies beside K and V in each block
 * (native/src/sampled/index.h), `lsh` tables, and the scratch of choosing and attending
 * (native/src/sampled/sampled_attention.cpp, sealer.cpp).
 */
import { BLOCK_TOKENS } from "../engine/engine.ts";
import type { IndexSettings } from "../engine/settings.ts";
import type { ModelConfig } from "./model.ts";

/** Tokens of a segment of `lsh` tables. */
const LSH_SEGMENT_TOKENS = 32768;
const LISTS_AT_ONCE = 4;
/** Of native/src/sampled/strategy.h and gather.h. */
const MOST_SEGMENTS = 32, FEWEST_EVEN_SEGMENTS = 8, HISTOGRAM_BINS = 1024, MOST_GATHER_QUERIES = 16;
/** Scratch of the query tokens that sample at once, at most. */
const MOST_WAVE_BYTES = 64 << 20;

function aligned(bytes: number): number {
  return Math.ceil(bytes / 64) * 64;
}

/** Layers that may sample: none in a model with a sliding window. */
export function samplingLayers(config: ModelConfig, index: IndexSettings): number {
  return config.slidingWindow > 0 ? 0 : config.layers - index.denseLayers.length;
}

/** Whether any request can sample, so that scratch for it is needed. */
export function canSample(config: ModelConfig, index: IndexSettings): boolean {
  const { sketchBits, lsh, questPage, yardsticks } = index;
  return samplingLayers(config, index) > 0 &&
    (sketchBits > 0 || lsh !== null || questPage > 0 || yardsticks);
}

/** Of one block, layer and KV head: sketches of its keys with their mean, and bounds of its pages. */
function recordBytes(headDim: number, valueBytes: number, index: IndexSettings): number {
  const { sketchBits, questPage } = index;
  const planes = sketchBits * Math.ceil(headDim / 8) * BLOCK_TOKENS;
  const sketch = aligned(2 * headDim + 4) + 2 * BLOCK_TOKENS + planes;
  const bounds = questPage === 0 ? 0 : BLOCK_TOKENS / questPage * 2 * headDim * valueBytes;
  return (sketchBits === 0 ? 0 : sketch) + aligned(bounds);
}

/** Index of one block over all layers. */
export function indexBytes(config: ModelConfig, valueBytes: number, index: IndexSettings): number {
  const record = recordBytes(config.headDim, valueBytes, index);
  return samplingLayers(config, index) * config.kvHeads * record;
}

/** Words of a key's signature: native/src/sampled/lsh_signature.h. */
export function signaturePlanes({ bits, tables }: { bits: number; tables: number }): number {
  return bits * Math.ceil(tables / 32);
}

/**
 * `lsh` tables of one context of so many tokens: 16-bit ids in each table and a 16-bit norm a key, and where
 * each bucket starts in each segment. A GPU has signatures instead: the codes themselves, a norm a key, and
 * room for the mean beside those of each block.
 */
export function lshBytes(
  config: ModelConfig,
  index: IndexSettings,
  tokens: number,
  onGpu: boolean,
): number {
  if (index.lsh === null) return 0;
  const { bits, tables } = index.lsh;
  const heads = samplingLayers(config, index) * config.kvHeads;
  if (onGpu) {
    const place = BLOCK_TOKENS * (4 * signaturePlanes(index.lsh) + 2) + 4 * config.headDim;
    return heads * Math.ceil(tokens / BLOCK_TOKENS) * Math.ceil(place / 256) * 256;
  }
  const segments = Math.ceil(tokens / LSH_SEGMENT_TOKENS);
  return heads * (tokens * 2 * (tables + 1) + segments * 2 * tables * (2 ** bits + 1));
}

/** What the published code takes for it: 32-bit ids, start and end of each bucket, f32 norms, all layers. */
export function publishedLshBytes(
  config: ModelConfig,
  index: IndexSettings,
  tokens: number,
): number {
  if (index.lsh === null) return 0;
  const { bits, tables } = index.lsh;
  return config.layers * config.kvHeads * (tokens * 4 * (tables + 1) + 8 * tables * 2 ** bits);
}

/** Scratch of strategies for one query token and KV head. */
function strategyBytes(group: number, context: number): number {
  const keys = Math.ceil(context / BLOCK_TOKENS) * BLOCK_TOKENS;
  return aligned(4 * group * keys) +
    (group + 1) * (MOST_SEGMENTS + 1) * (4 * HISTOGRAM_BINS + 64) + group * 65536;
}

function threadBytes(headDim: number, context: number, attentionFloats: number): number {
  const padded = Math.ceil(headDim / 32) * 32;
  const gather = (2 * MOST_GATHER_QUERIES + 2) * padded + MOST_GATHER_QUERIES * 256 + 1024;
  const even = (Math.floor(context / FEWEST_EVEN_SEGMENTS / BLOCK_TOKENS) + 1) * BLOCK_TOKENS;
  const keys = Math.max(even, 32768);
  return aligned(4 * Math.max(gather, attentionFloats)) + 2 * aligned(4 * LISTS_AT_ONCE * keys) +
    aligned(Math.floor(keys / 8) + 1);
}

/** Scratch of choosing and attending. `attentionFloats`: of exact attention's kernels for a thread. */
export function samplingBytes(
  config: ModelConfig,
  settings: { threads: number; maxStepSequences: number; context: number; index: IndexSettings },
  attentionFloats: number,
): number {
  const { heads, kvHeads, headDim } = config;
  const { threads, maxStepSequences, context, index } = settings;
  if (!canSample(config, index)) return 0;
  const group = heads / kvHeads;
  const view = aligned(strategyBytes(group, context)) +
    aligned(4 * group * MOST_SEGMENTS * (headDim + 5)) +
    aligned(4 * group * 2 * (headDim + 2)) + aligned(4 * headDim);
  const job = view * kvHeads;
  const fit = Math.max(1, Math.floor(MOST_WAVE_BYTES / job));
  const useful = Math.max(1, Math.floor(8 * threads / kvHeads));
  const jobs = Math.min(fit, useful, maxStepSequences);
  const sealing = 4 * 130 * Math.ceil(headDim / 32) * 32;
  return job * jobs + threads * (threadBytes(headDim, context, attentionFloats) + sealing) +
    4 * maxStepSequences * heads * headDim;
}
