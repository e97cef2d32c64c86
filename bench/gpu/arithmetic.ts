// SPDX-License-Identifier: Apache-2.0
/** Bytes that a decode step must move, and what they would take on another card. */
import { BLOCK_TOKENS } from "../../src/engine/engine.ts";
import type { HostAttention, IndexSettings } from "../../src/engine/settings.ts";
import { indexBytes, lshBytes, samplingLayers } from "../../src/model/index_memory.ts";
import { weightBytes } from "../../src/model/memory.ts";
import type { ModelConfig } from "../../src/model/model.ts";

/** Bytes by the wire that they cross: the GPU's memory, and that from the host to the GPU. */
export interface Traffic {
  vram: number;
  wire: number;
}

/** Bytes a second of both. */
export interface Rates {
  vram: number;
  wire: number;
}

/** One H100 (`bench:gpu:token`): reading its memory, copying from pinned memory. */
export const MEASURED_RATES: Rates = { vram: 3.2e12, wire: 54.9e9 };
/** The card of the paper's smallest setting on PCIe 4. */
export const PROJECTED_RATES: Rates = { vram: 1e12, wire: 25e9 };

/** What a step of `batch` sequences reads. */
export interface StepShape {
  context: number;
  batch: number;
  hostLayers: number;
  /** Where heads are divided: what it would be if the GPU had all of them. */
  hostAttention: HostAttention;
  /** Rows that a KV head reads at a layer that samples; null: all. */
  rows: number | null;
  index: IndexSettings;
  /** "lsh:10x150": its signatures are read, else sketches. */
  strategy?: string;
}

/** Matrices that every step reads whole; the embedding gives a row a token. */
function streamedWeights(config: ModelConfig): number {
  const embedding = config.tiedOutput ? 0 : 2 * config.vocabulary * config.hidden;
  return weightBytes(config, "bf16") - embedding;
}

/** In bf16. What the CPU reads of host memory is in neither figure. */
export function trafficOf(config: ModelConfig, step: StepShape): Traffic {
  const { context, batch, hostLayers, hostAttention, rows, index, strategy } = step;
  const row = 2 * config.headDim * 2;
  const sampling = rows === null ? 0 : samplingLayers(config, index);
  const exact = config.layers - sampling;
  // Layers that sample go to the host first (ModelConfig::layer_on_host).
  const sampledHost = Math.min(sampling, hostLayers), exactHost = hostLayers - sampledHost;
  const layer = (read: number) => batch * config.kvHeads * read * row;
  const scans = sampling - (hostAttention === "cpu" ? sampledHost : 0);
  const all = strategy?.startsWith("lsh")
    ? lshBytes(config, index, BLOCK_TOKENS, true)
    : indexBytes(config, 2, index);
  const record = sampling === 0 ? 0 : all / samplingLayers(config, index);
  const near = index.sink + index.window + BLOCK_TOKENS / 2;
  return {
    vram: streamedWeights(config) +
      (exact - exactHost) * layer(context) +
      (sampling - sampledHost) * layer(rows ?? 0) +
      scans * (batch * record * context / BLOCK_TOKENS + layer(near)),
    wire: exactHost * layer(context) +
      (hostAttention === "cpu" ? 0 : sampledHost * layer(rows ?? 0)),
  };
}

/** Milliseconds that the bytes take at these rates, one after the other. */
export function msAt({ vram, wire }: Traffic, rates: Rates): number {
  return 1000 * (vram / rates.vram + wire / rates.wire);
}

/**
 * A measured time at other rates: what the bytes take longer is added, and all that is no transfer stays. It
 * is arithmetic, not a measurement.
 */
export function projectMs(ms: number, traffic: Traffic, here: Rates, there: Rates): number {
  return ms - msAt(traffic, here) + msAt(traffic, there);
}
