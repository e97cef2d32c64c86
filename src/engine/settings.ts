// SPDX-License-Identifier: Apache-2.0
/** How an engine is set up, and on what machine. */

/** What this process may use of the machine, in bytes and cores. */
export interface Machine {
  memoryTotal: number;
  memoryAvailable: number;
  cores: number;
}

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
};
