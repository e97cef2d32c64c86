// SPDX-License-Identifier: Apache-2.0
/** How an engine is set up, and on what machine. */

/** What this process may use of the machine, in bytes and cores. */
export interface Machine {
  memoryTotal: number;
  memoryAvailable: number;
  cores: number;
  /** The GPU that was asked for. */
  device?: DeviceMemory;
}

/** Memory of a GPU in bytes. */
export interface DeviceMemory {
  total: number;
  free: number;
}

/** As a device: no GPU. */
export const CPU = -1;

/** What "cpu", "cuda" or "cuda:1" names; null when it names none. */
export function parseDevice(text: string): number | null {
  if (text === "cpu") return CPU;
  const match = /^cuda(?::(\d{1,3}))?$/.exec(text);
  return match === null ? null : Number(match[1] ?? 0);
}

/** Who attends the rows that sample where KV lies in host memory: `enum sounder_host_attention`, in its order. */
export const HOST_ATTENTION = ["gpu", "cpu", "split"] as const;
export type HostAttention = typeof HOST_ATTENTION[number];

/** What keys are centred on before they are sketched or hashed. */
export type Centring = "block" | "context" | "off";

/** What is kept beside the KV for sampled attention. It is built at prefill and costs memory. */
export interface IndexSettings {
  /** Bits a dimension of the sketches in each block: 0 (none), 1, 2 or 4. */
  sketchBits: 0 | 1 | 2 | 4;
  sketchCentring: Centring;
  /** `lsh` tables of each context: codes of K bits in L tables; null: none. */
  lsh: { bits: number; tables: number } | null;
  lshCentring: "context" | "off";
  /** Tokens that all contexts' `lsh` tables may cover together. */
  lshTokens: number;
  /** Tokens of a page with bounds: 0 (none), 16, 32 or 64. */
  questPage: 0 | 16 | 32 | 64;
  /** `topk` and `oracle` may be asked for; they read every key. */
  yardsticks: boolean;
  /** First and last tokens that sampled attention always reads. */
  sink: number;
  window: number;
  /** Rows that a sampling KV head reads at least; a context with no more to choose from is exact. */
  leastRows: number;
  /** Layers that never sample. */
  denseLayers: readonly number[];
  /** Seeds the rotation and the hash functions. */
  seed: number;
}

/** No index: every request attends exactly. */
export const NO_INDEX: IndexSettings = {
  sketchBits: 0,
  sketchCentring: "block",
  lsh: null,
  lshCentring: "context",
  lshTokens: 0,
  questPage: 0,
  yardsticks: false,
  sink: 4,
  window: 64,
  leastRows: 256,
  denseLayers: [0],
  seed: 1,
};

/** How an engine is to hold and run a model. */
export interface EngineSettings {
  /** "bf16" is the product; "f32" keeps weights and KV in float32, for tests. */
  precision: "bf16" | "f32";
  /** 0: one for each physical core that the process may use. */
  threads: number;
  /** Capacity of the KV pool, in blocks of 128 tokens. */
  kvBlocks: number;
  /** Longest context in tokens. */
  context: number;
  maxContexts: number;
  maxStepTokens: number;
  maxStepSequences: number;
  /** Results are bitwise equal whatever else is in the batch. */
  deterministic: boolean;
  /** Seeds tensors that come from no file. */
  dummySeed: number;
  /** {@linkcode CPU}, or the index of a GPU that holds weights and KV. */
  device: number;
  /** With a GPU: layers whose KV lies in host memory, the sampling ones first, each kind from the end. */
  hostLayers: number;
  hostAttention: HostAttention;
  index: IndexSettings;
}

/** Settings that suit tests and tools; the server decides its own. */
export const DEFAULT_SETTINGS: EngineSettings = {
  precision: "bf16",
  threads: 0,
  kvBlocks: 64,
  context: 8192,
  maxContexts: 32,
  maxStepTokens: 512,
  maxStepSequences: 16,
  deterministic: false,
  dummySeed: 0,
  device: CPU,
  hostLayers: 0,
  hostAttention: "gpu",
  index: NO_INDEX,
};
