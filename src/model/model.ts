// SPDX-License-Identifier: Apache-2.0
/**
 * What a model is, whatever files it came from: `source.ts` reads a folder with safetensors, a GGUF file,
 * or a bare config.json (seeded random weights) into a {@linkcode ModelSource}.
 */

/** Rotary position embedding, ready to use. */
export interface Rope {
  /** Angle of pair i at position p is p * frequencies[i]; rotated dimensions are twice its length. */
  frequencies: Float32Array;
  /** Factor on cosine and sine (YaRN's attention factor), otherwise 1. */
  scale: number;
}

/** The figures of a Llama-style transformer. */
export interface ModelConfig {
  /** "llama", "qwen2", …: for people; nothing depends on it. */
  architecture: string;
  layers: number;
  hidden: number;
  intermediate: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocabulary: number;
  /** Longest context the model was made for, in tokens. */
  context: number;
  /** 0: none. */
  slidingWindow: number;
  tiedOutput: boolean;
  qkvBias: boolean;
  qkNorm: boolean;
  normEpsilon: number;
  rope: Rope;
}

/** The tensors of a model; the numbers are `enum sounder_role` of the ABI. */
export const TENSOR_ROLES = {
  embedding: 0,
  output: 1,
  final_norm: 2,
  attention_norm: 3,
  q: 4,
  k: 5,
  v: 6,
  q_bias: 7,
  k_bias: 8,
  v_bias: 9,
  q_norm: 10,
  k_norm: 11,
  attention_output: 12,
  feed_forward_norm: 13,
  gate: 14,
  up: 15,
  down: 16,
} as const;
export type TensorRole = keyof typeof TENSOR_ROLES;

/** How values lie in a file; the numbers are `enum sounder_type` of the ABI. */
export const TENSOR_TYPES = {
  F32: 0,
  F16: 1,
  BF16: 2,
  Q8_0: 3,
  Q4_0: 4,
  Q4_1: 5,
  Q4_K: 6,
  Q5_K: 7,
  Q6_K: 8,
} as const;
export type TensorType = keyof typeof TENSOR_TYPES;

/** Where one tensor lies. */
export interface TensorPlace {
  role: TensorRole;
  /** 0 for tensors that belong to no layer. */
  layer: number;
  /** Index into {@linkcode ModelSource.files}; -1 for seeded random values. */
  file: number;
  type: TensorType;
  rows: number;
  columns: number;
  /** 0, or the number of heads whose rows lie pairwise interleaved (GGUF's llama). */
  interleavedHeads: number;
  /** Bytes from the start of the file. */
  offset: number;
}

/** The texts that tokenizer and template are made of, as `src/tokenizer/load.ts` wants them. */
export type TokenizerSource =
  | { kind: "huggingface"; tokenizerJson: string; tokenizerConfigJson: string | null }
  | { kind: "gguf"; metadata: ReadonlyMap<string, unknown> }
  /** Dummy weights without a tokenizer: every byte is a token. */
  | { kind: "bytes" };

/** A model that was found, its headers read and checked; its weights still lie in the files. */
export interface ModelSource {
  /** Name for clients: folder or file name, or what the metadata say. */
  name: string;
  config: ModelConfig;
  /** Absolute paths. */
  files: string[];
  tensors: TensorPlace[];
  tokenizer: TokenizerSource;
  /** End tokens from generation_config.json, config.json or metadata. */
  endTokens: number[];
  /** A chat template that lies in a file of its own (chat_template.jinja), or null. */
  chatTemplate: string | null;
}
