// SPDX-License-Identifier: Apache-2.0
//
// What the engine computes, as plain data. In comments: T tokens of a step, C hidden, I intermediate,
// H query heads, G KV heads, D head dim, V vocabulary, P pairs rotated by RoPE.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "attention/attention.h"
#include "matmul.h"
#include "sampled/index.h"
#include "sampled/lsh_signature.h"
#include "sounder.h"

namespace sounder {

// The figures of sounder_configure, checked.
struct ModelConfig {
  int layers;
  int hidden;
  int intermediate;
  int heads;
  int kv_heads;
  int head_dim;
  int vocabulary;
  int context;
  int sliding_window;
  bool tied_output;
  bool qkv_bias;
  bool qk_norm;
  int rope_dims;
  bool f32;  // weights and KV in float32, otherwise bfloat16
  int threads;
  int kv_blocks;
  int max_contexts;
  int max_step_tokens;
  int max_step_sequences;
  uint32_t dummy_seed;
  bool deterministic;
  int sink;
  int window;
  uint32_t index_seed;
  int sketch_bits;      // 0: no sketches
  int sketch_centring;  // enum sounder_centring
  int lsh_bits;         // 0: no tables
  int lsh_tables;
  int lsh_centring;
  int lsh_tokens;
  int quest_page;  // 0: no bounds
  bool yardsticks;
  int device;                      // index of a GPU, -1: the CPU computes
  int host_layers;                 // on a GPU: layers whose KV lies in pinned host memory
  int host_attention;              // enum sounder_host_attention
  int least_rows;                  // that a KV head reads; a context with no more to choose from is exact
  std::vector<bool> dense_layers;  // [layers] true: never samples

  float norm_epsilon;
  float rope_scale;
  std::vector<float> rope_frequencies;  // [P]

  int q_width() const { return heads * head_dim; }
  int kv_width() const { return kv_heads * head_dim; }
  int qkv_width() const { return q_width() + 2 * kv_width(); }
  int rope_pairs() const { return rope_dims / 2; }
  int value_bytes() const { return f32 ? 4 : 2; }

  // Models with a sliding window attend exactly.
  bool layer_samples(int layer) const { return sliding_window == 0 && !dense_layers[layer]; }
  int dense_layer_count() const {
    return static_cast<int>(std::count(dense_layers.begin(), dense_layers.end(), true));
  }
  int sampling_layers() const { return sliding_window == 0 ? layers - dense_layer_count() : 0; }
  // Whether a GPU finds the KV of this layer in host memory. Sampling layers go there first, since they read
  // little of it: the last ones, then the dense ones, again from the last down.
  bool layer_on_host(int layer) const {
    const bool samples = layer_samples(layer);
    int before = samples ? 0 : sampling_layers();  // layers that go there before this one
    for (int later = layer + 1; later < layers; ++later) before += layer_samples(later) == samples ? 1 : 0;
    return before < host_layers;
  }
  // Whether the CPU attends rows that sample at this layer, or some of their heads, for a GPU.
  bool cpu_attends(int layer) const {
    return host_attention != SOUNDER_HOST_ATTENTION_GPU && layer_samples(layer) && layer_on_host(layer);
  }
  // Whether the CPU attends for a GPU somewhere.
  bool cpu_samples() const {
    return can_sample() && host_layers > 0 && host_attention != SOUNDER_HOST_ATTENTION_GPU;
  }
  // Whether a GPU samples at some layer.
  bool device_samples() const {
    const bool all_cpu = host_attention == SOUNDER_HOST_ATTENTION_CPU && host_layers >= sampling_layers();
    return can_sample() && !all_cpu;
  }
  // Whether a GPU has signatures in place of tables: always, where it samples (config.cpp).
  bool lsh_on_device() const { return device >= 0 && lsh_bits > 0 && device_samples(); }
  LshSignature signature() const {
    return lsh_on_device() ? LshSignature{head_dim, lsh_bits, lsh_tables} : LshSignature{head_dim, 0, 0};
  }
  // Those of a layer, for lsh_tokens tokens.
  int64_t layer_signature_bytes(int layer) const {
    const int64_t places = (int64_t{lsh_tokens} + kBlockTokens - 1) / kBlockTokens;
    return lsh_on_device() && layer_samples(layer) ? places * kv_heads * signature().bytes() : 0;
  }
  // The rows of a KV block at one layer, and the records beside them of a sealed one (sampled/index.h).
  int64_t layer_block_bytes() const {
    return int64_t{kv_heads} * kBlockTokens * 2 * head_dim * value_bytes();
  }
  int64_t layer_record_bytes(int layer) const {
    return layer_samples(layer) ? kv_heads * record_bytes(index_shape()) : 0;
  }
  // The records of a layer that a GPU keeps.
  int64_t device_record_bytes(int layer) const {
    const bool elsewhere = host_attention == SOUNDER_HOST_ATTENTION_CPU && cpu_attends(layer);
    return elsewhere ? 0 : layer_record_bytes(layer);
  }
  IndexShape index_shape() const { return {head_dim, sketch_bits, sketch_centring, quest_page, f32}; }
  bool can_sample() const {
    return sampling_layers() > 0 && (sketch_bits > 0 || lsh_bits > 0 || quest_page > 0 || yardsticks);
  }

  AttentionShape attention_shape() const { return {heads, kv_heads, head_dim, sliding_window, f32}; }
};

struct LayerWeights {
  const float *attention_norm;     // [C]
  WeightMatrix qkv;                // [H D + 2 G D, C]: q, k, v below each other
  const float *qkv_bias;           // [H D + 2 G D] or nullptr
  const float *q_norm;             // [D] or nullptr
  const float *k_norm;             // [D] or nullptr
  WeightMatrix attention_output;   // [C, H D]
  const float *feed_forward_norm;  // [C]
  WeightMatrix gate_up;            // [2 I, C]: gate, up below each other
  WeightMatrix down;               // [C, I]
};

struct ModelWeights {
  WeightMatrix embedding;   // [V, C]
  WeightMatrix output;      // [V, C], the embedding when tied
  const float *final_norm;  // [C]
  std::vector<LayerWeights> layers;
};

}  // namespace sounder
