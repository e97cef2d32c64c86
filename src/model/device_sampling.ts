// SPDX-License-Identifier: Apache-2.0
/** What sampled attention takes of a GPU, and which shapes it has kernels for there. */
import { BLOCK_TOKENS } from "../engine/engine.ts";
import { CPU, type HostAttention, type IndexSettings } from "../engine/settings.ts";
import { canSample, samplingLayers, signaturePlanes } from "./index_memory.ts";
import type { ModelConfig } from "./model.ts";

/** Of native/src/cuda/sampled/sampled_cuda.h. */
const MOST_GROUP = 128, MOST_SLICE = 8, MOST_SLICES = 32, CHUNK_KEYS = 2048;
const MOST_SEGMENTS = 32;
const HISTOGRAM_BINS = 1024, MOST_ATTEND_BLOCKS = 512, NEAR_PARTS = 8;
/** Of native/src/device_workspace.cpp. */
const MOST_SAMPLED_BYTES = 256 * 2 ** 20, MOST_SAMPLED_QUERIES = 16, CONSTANT_BYTES = 6400;
const QUERY_BYTES = 80, MOST_NEAR_BLOCKS = 16;
/** Where P is looked up by angle, for each number of tables that must agree: of gather.h beside it. */
const COLLISION_BYTES = 4 * 3 * 2049;

/** Whether a GPU chooses keys somewhere; not where the CPU attends whatever samples. */
export function gpuSamples(
  config: ModelConfig,
  { device, index, hostLayers, hostAttention }: {
    device: number;
    index: IndexSettings;
    hostLayers: number;
    hostAttention: HostAttention;
  },
): boolean {
  const allCpu = hostAttention === "cpu" && hostLayers >= samplingLayers(config, index);
  return device !== CPU && canSample(config, index) && !allCpu;
}

/** Why a GPU can't sample with this model, or not where each head chooses; null when it can. */
export function lackingKernels(
  { heads, kvHeads, headDim }: ModelConfig,
  byHead: boolean,
): string | null {
  if (headDim % 8 !== 0) return `a head dim of ${headDim}; it takes multiples of 8`;
  const group = heads / kvHeads, most = byHead ? MOST_SLICE : MOST_GROUP;
  return group > most ? `${group} heads a KV head; it has up to ${most}` : null;
}

/** place_sampled of native/src/sampled/device_memory.cpp. */
function workBytes(config: ModelConfig, bits: number, queries: number, keys: number): number {
  const { heads, kvHeads, headDim } = config;
  const group = heads / kvHeads, views = queries * kvHeads;
  const state = 4 * group * (headDim + 5);
  const slices = Math.ceil(group / (headDim > 128 ? MOST_SLICE / 2 : MOST_SLICE));
  const pairs = bits === 4 ? 2 : 1, slots = (bits === 1 ? 1 : 2) * headDim / 8;
  const rounds = slots > 16 ? 2 * Math.ceil(slots / 32) : 1;
  return [
    views * slices * pairs * rounds * 8 * 32 * 4,
    views * group * headDim * 2,
    views * group * 4 * 4,
    views * group * keys * 2,
    views * keys * 2,
    views * group * MOST_SEGMENTS * 4,
    views * group * MOST_SEGMENTS * 8,
    views * HISTOGRAM_BINS * 4,
    views * (MOST_GROUP + 2) * 4,
    views * (keys / CHUNK_KEYS) * 4,
    views * keys * 8,
    views * NEAR_PARTS * state,
    (Math.max(views, MOST_ATTEND_BLOCKS) + views * NEAR_PARTS) * state,
    views * (MOST_SLICES + 1) * 4,
    queries * heads * headDim * 4,
    views * group * 4,
  ].reduce(padded, 0);
}

/** place_words of the same file. */
function wordBytes(
  { heads, kvHeads }: ModelConfig,
  planes: number,
  queries: number,
  keys: number,
): number {
  const views = queries * kvHeads, group = heads / kvHeads;
  return [
    views * group * keys * 4,
    views * group * (keys / CHUNK_KEYS) * 8,
    views * group * 8,
    views * group * 4,
    views * group * 4,
    views * group * planes * 4,
  ].reduce(padded, 0);
}

function padded(sum: number, bytes: number): number {
  return sum + Math.ceil(bytes / 256) * 256;
}

/** What sampled_bytes of native/src/device_workspace.cpp gives. */
function sampledBytes(
  config: ModelConfig,
  settings: { maxStepSequences: number; context: number; index: IndexSettings },
): number {
  const { heads, kvHeads } = config, { sketchBits, questPage, yardsticks, lsh } = settings.index;
  const keys = Math.ceil(settings.context / CHUNK_KEYS) * CHUNK_KEYS;
  const most = Math.min(settings.maxStepSequences, MOST_SAMPLED_QUERIES);
  const queries = (factor: number) => {
    const bytes = kvHeads * keys * (factor * heads / kvHeads + 10);
    return Math.min(Math.max(Math.floor(MOST_SAMPLED_BYTES / bytes), 1), most);
  };
  const plain = workBytes(config, sketchBits, queries(2), keys);
  if (questPage === 0 && !yardsticks && lsh === null) return plain;
  const words = queries(6), planes = lsh === null ? 0 : signaturePlanes(lsh);
  return Math.max(
    plain,
    workBytes(config, sketchBits, words, keys) + wordBytes(config, planes, words, keys),
  );
}

/** Copies of sinks and tails that lie in host memory. blockBytes: of a KV block at one layer. */
export function nearBytes(
  config: ModelConfig,
  settings: {
    maxStepSequences: number;
    context: number;
    hostLayers: number;
    hostAttention: HostAttention;
    index: IndexSettings;
  },
  blockBytes: number,
): number {
  const { index, hostLayers, hostAttention, maxStepSequences, context } = settings;
  const layers = Math.min(samplingLayers(config, index), hostLayers);
  const blocks = Math.ceil(index.sink / BLOCK_TOKENS) +
    Math.floor((index.window + 2 * BLOCK_TOKENS - 2) / BLOCK_TOKENS);
  if (!canSample(config, index) || blocks > MOST_NEAR_BLOCKS || hostAttention !== "gpu") return 0;
  if (layers === 0) return 0;
  const rows = Math.min(maxStepSequences, MOST_SAMPLED_QUERIES);
  return rows * (blocks * layers * blockBytes + 4 * Math.ceil(context / BLOCK_TOKENS));
}

/** What comes to the workspace of a GPU where some layer samples, as native/src/device_workspace.h has it. */
export function deviceSamplingBytes(
  config: ModelConfig,
  settings: {
    device: number;
    maxStepTokens: number;
    maxStepSequences: number;
    context: number;
    index: IndexSettings;
    hostLayers: number;
    hostAttention: HostAttention;
  },
  { tiles, spare }: { tiles: number; spare: number },
): number {
  const { index, maxStepTokens: rows, maxStepSequences: sequences } = settings;
  if (!canSample(config, index)) return 0;
  const { heads, headDim, hidden } = config;
  const planned = 2 * tiles + rows * (4 * Math.max(hidden, heads * headDim) - spare);
  if (!gpuSamples(config, settings)) return planned;
  const lsh = index.lsh === null ? 0 : 128 * headDim * signaturePlanes(index.lsh) +
    COLLISION_BYTES + 4 * sequences * Math.ceil(settings.context / BLOCK_TOKENS);
  return planned + lsh +
    sampledBytes(config, settings) + QUERY_BYTES * rows + 20 * sequences * heads + CONSTANT_BYTES;
}
