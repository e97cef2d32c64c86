// SPDX-License-Identifier: Apache-2.0
/** Shapes and settings that tests of the memory formula share. */
import { CPU, NO_INDEX } from "../../../src/engine/settings.ts";
import { parseConfig } from "../../../src/model/config.ts";
import type { MemorySettings } from "../../../src/model/memory.ts";
import type { ModelConfig } from "../../../src/model/model.ts";

function configOf(extra: object): ModelConfig {
  const base = { model_type: "llama", max_position_embeddings: 32768 };
  return parseConfig(JSON.stringify({ ...base, ...extra }), "config.json").config;
}

export const LLAMA_8B = configOf({
  vocab_size: 128256,
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 131072,
});

export const TINY = configOf({
  vocab_size: 10,
  hidden_size: 8,
  intermediate_size: 6,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
});

export const SETTINGS: MemorySettings = {
  precision: "bf16",
  threads: 2,
  kvBlocks: 10,
  context: 32768,
  maxStepTokens: 512,
  maxStepSequences: 16,
  index: NO_INDEX,
  hostLayers: 0,
  hostAttention: "gpu",
  device: CPU,
};
