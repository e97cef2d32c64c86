// SPDX-License-Identifier: Apache-2.0
/** Bytes that a decode step must move, and what they would take on another card. */
import { BLOCK_TOKENS } from "../../src/engine/engine.ts";
import type { HostAttention, IndexSettings } from "../../src/engine/settings.ts";
import { indexBytes, lshBytes, samplingLayers } from "../../src/model/index_memory.ts";
import { weightBytes } from "../../src/model/memory.ts";
import type { ModelConfig } from "../../src/model/model.ts";

/** Bytes by the wire that they cross: the GPU's memory, from the host to the GPU, the host's memory to its CPU. */
export interface Traffic {
  vram: number;
  wire: number;
  host: number;
}

/** What a decode step's bytes are read for. */
export type StageTraffic = Record<"matmul" | "output" | "choosing" | "attention", Traffic>;

/** Bytes a second of the GPU's memory and of the way from the host to it. */
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

/** In bf16. Of what the CPU reads, the rows and sketches: how much of `lsh` tables it reads, depends. */
export function stageTraffic(config: ModelConfig, step: StepShape): StageTraffic {
  const { context, batch, hostLayers, hostAttention, rows, index, strategy } = step;
  const row = 2 * config.headDim * 2;
  const sampling = rows === null ? 0 : samplingLayers(config, index);
  const exact = config.layers - sampling;
  // Layers that sample go to the host first (ModelConfig::layer_on_host).
  const sampledHost = Math.min(sampling, hostLayers), exactHost = hostLayers - sampledHost;
  const layer = (read: number) => batch * config.kvHeads * read * row;
  const byCpu = hostAttention === "cpu" ? sampledHost : 0;
  const isLsh = strategy?.startsWith("lsh") === true;
  const all = isLsh ? lshBytes(config, index, BLOCK_TOKENS, true) : indexBytes(config, 2, index);
  const record = sampling === 0 ? 0 : all / samplingLayers(config, index);
  const near = index.sink + index.window + BLOCK_TOKENS / 2;
  const output = 2 * config.vocabulary * config.hidden;
  const scan = batch * record * context / BLOCK_TOKENS;
  const attention = {
    vram: (exact - exactHost) * layer(context) + (sampling - sampledHost) * layer(rows ?? 0),
    wire: exactHost * layer(context) + (sampledHost - byCpu) * layer(rows ?? 0),
    host: byCpu * (layer(near + (rows ?? 0)) + (isLsh ? 0 : scan)),
  };
  const choosing = { vram: (sampling - byCpu) * (scan + layer(near)), wire: 0, host: 0 };
  const isTold = !isDivided(step); // otherwise choosing is told as a part of attention
  return {
    matmul: { vram: streamedWeights(config) - output, wire: 0, host: 0 },
    output: { vram: output, wire: 0, host: 0 },
    choosing: isTold ? choosing : sumOf([]),
    attention: isTold ? attention : sumOf([attention, choosing]),
  };
}

function sumOf(parts: readonly Traffic[]): Traffic {
  const sum = (of: (part: Traffic) => number) => parts.reduce((all, part) => all + of(part), 0);
  return { vram: sum((p) => p.vram), wire: sum((p) => p.wire), host: sum((p) => p.host) };
}

/** All that a step reads. */
export function totalOf(stages: StageTraffic): Traffic {
  return sumOf(Object.values(stages));
}

/** Whether GPU and CPU share the heads by measured rates, so that nobody can say who reads how much. */
export function isDivided(
  { hostAttention, hostLayers, rows }: Pick<StepShape, "hostAttention" | "hostLayers" | "rows">,
): boolean {
  return hostAttention === "split" && hostLayers > 0 && rows !== null;
}

/** Milliseconds that the GPU's bytes take at these rates, one after the other. */
export function msAt({ vram, wire }: Omit<Traffic, "host">, rates: Rates): number {
  return 1000 * (vram / rates.vram + wire / rates.wire);
}

/**
 * A measured time at other rates: what the bytes take longer is added, and all that is no transfer stays. It
 * is arithmetic, not a measurement.
 */
export function projectMs(
  ms: number,
  traffic: Omit<Traffic, "host">,
  here: Rates,
  there: Rates,
): number {
  return ms - msAt(traffic, here) + msAt(traffic, there);
}
