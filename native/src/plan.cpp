// SPDX-License-Identifier: Apache-2.0
//
// The memory formula, closed: every figure follows from the integers of sounder_configure. With
//   L layers, C hidden, I intermediate, H heads, G kv_heads, D head_dim, V vocabulary, P = rope_dims / 2,
//   R = max_step_tokens, S = max_step_sequences, W threads (0: the usable cores), N kv_blocks,
//   b = 2 (bf16) or 4 (f32) bytes a value:
//
//   weights   = b * (V C * (tied_output ? 1 : 2) + L * (C (H + 2 G) D + H D C + 3 C I))
//             + 4 * (C + L * (2 C + (qkv_bias ? (H + 2 G) D : 0) + (qk_norm ? 2 D : 0)))
//   block     = b * L * G * 128 * 2 D + index
//   index     = (s + t) * G * record_bytes                             sampled/index.h
//               s = L - dense_layers; 0 with a sliding window
//               t = min(s, host_layers) where the index lies in both memories (host_attention split), else 0
//   lsh       = lsh_bytes(lsh_tokens)                                  sampled/lsh.h, beside the blocks: of
//   who
//               attends by it, CPU or GPU
//   KV        = N * block
//   host KV   = N * (b * host_layers * G * 128 * 2 D + r * G * record_bytes)   on a GPU, of it in host memory
//               r = min(s, host_layers) where the CPU attends there, or some of the heads, else 0
//   workspace = 4 * R * (2 C + 2 P + max((2 H + 2 G) D, 2 I))   activations of a step and RoPE's cos and sin
//             + 4 * min(R, 64) * V                              logits
//             + 24 * W * V                                      the sampler's scratch
//             + Matmul::workspace_bytes(W, R, max(V, (H + 2 G) D, 2 I, C), max(C, H D, I))
//             + Attention::workspace_bytes(W, R, S, context)
//             + SampledAttention::workspace_bytes(W, S, context) + Sealer::workspace_bytes(W)
//             + 4 * S * H D                             these two when some layer can sample
//
// and on a GPU, where these lie in its memory,
//   workspace = that of device_workspace.h
//   host workspace = its logits, rows, kept, tables and tiles, pinned + 24 * W * V
//             + R * H D * (4 + b) + Attention::workspace_bytes(W, 1, 1, context)
//             + SampledAttention::workspace_bytes(W, S, context) + Sealer::workspace_bytes(W)
//             + 4 * (S + 1) * H D                       these four where the CPU attends sampled rows
//
// Those of classes are stated beside their code (matmul.cpp, attention/attention.cpp, sampled/). Padding of
// tensors to cache lines, page tables and the lists of tokens (4 bytes a token of a context) are left out:
// together they stay below a thousandth.
#include "plan.h"

#include <algorithm>
#include <new>

#include "config.h"
#include "device_workspace.h"
#include "failure.h"
#include "sampled/sampled_attention.h"
#include "sampled/sealer.h"
#include "sampler.h"
#include "sounder.h"

namespace sounder {

int64_t weight_bytes(const ModelConfig &c) {
  int64_t hidden = c.hidden, q = c.q_width(), qkv = c.qkv_width();
  int64_t embeddings = c.vocabulary * hidden * (c.tied_output ? 1 : 2);
  int64_t layer_matrices = hidden * qkv + q * hidden + 3 * hidden * c.intermediate;
  int64_t layer_vectors = 2 * hidden + (c.qkv_bias ? qkv : 0) + (c.qk_norm ? 2 * c.head_dim : 0);
  return c.value_bytes() * (embeddings + c.layers * layer_matrices) + 4 * (hidden + c.layers * layer_vectors);
}

int64_t block_bytes(const ModelConfig &c) { return c.layers * c.layer_block_bytes() + index_bytes(c); }

namespace {

// Layers whose index the CPU needs in host memory beside a GPU.
int cpu_index_layers(const ModelConfig &c) {
  return c.host_attention == SOUNDER_HOST_ATTENTION_GPU ? 0 : std::min(c.sampling_layers(), c.host_layers);
}

}  // namespace

int64_t host_kv_bytes(const ModelConfig &c) {
  return c.kv_blocks * (c.host_layers * c.layer_block_bytes() +
                        cpu_index_layers(c) * c.kv_heads * record_bytes(c.index_shape()));
}

int64_t index_bytes(const ModelConfig &c) {
  const int twice = c.host_attention == SOUNDER_HOST_ATTENTION_SPLIT ? cpu_index_layers(c) : 0;
  return int64_t{c.sampling_layers() + twice} * c.kv_heads * record_bytes(c.index_shape());
}

LshShape lsh_shape(const ModelConfig &c) {
  LshShape shape{c.layers,
                 c.kv_heads,
                 c.head_dim,
                 c.lsh_bits,
                 c.lsh_tables,
                 c.lsh_centring != SOUNDER_CENTRING_OFF,
                 c.f32,
                 std::vector<bool>(static_cast<size_t>(c.layers)),
                 c.lsh_on_device()};
  for (int layer = 0; layer < c.layers; ++layer) shape.layer_has_tables[layer] = c.layer_samples(layer);
  return shape;
}

int64_t planned_lsh_bytes(const ModelConfig &c) {
  return c.lsh_bits == 0 || c.sampling_layers() == 0 ? 0 : lsh_bytes(lsh_shape(c), c.lsh_tokens);
}

int64_t activation_floats(const ModelConfig &c) {
  int64_t attention = int64_t{c.qkv_width()} + c.q_width(), feed_forward = int64_t{2} * c.intermediate;
  return int64_t{2} * c.hidden + 2 * c.rope_pairs() + std::max(attention, feed_forward);
}

int max_matrix_rows(const ModelConfig &c) {
  return std::max({c.vocabulary, c.qkv_width(), 2 * c.intermediate, c.hidden});
}

int max_matrix_columns(const ModelConfig &c) { return std::max({c.hidden, c.q_width(), c.intermediate}); }

namespace {

int64_t sampling_bytes(const ModelConfig &c) {
  if (!c.can_sample()) return 0;
  return SampledAttention::workspace_bytes(c.attention_shape(), c.threads, c.max_step_sequences, c.context) +
         Sealer::workspace_bytes(c.head_dim, c.threads) + int64_t{4} * c.max_step_sequences * c.q_width();
}

}  // namespace

int64_t workspace_bytes(const ModelConfig &c) {
  if (c.device >= 0) return device_workspace(c).total();
  int64_t tokens = c.max_step_tokens;
  return 4 * tokens * activation_floats(c) +
         int64_t{4} * std::min(c.max_step_tokens, kLogitsRows) * c.vocabulary +
         Sampler::workspace_bytes(c.vocabulary, c.threads) +
         Matmul::workspace_bytes(c.threads, c.max_step_tokens, max_matrix_rows(c), max_matrix_columns(c)) +
         Attention::workspace_bytes(c.attention_shape(), c.threads, c.max_step_tokens, c.max_step_sequences,
                                    c.context) +
         sampling_bytes(c);
}

int64_t host_workspace_bytes(const ModelConfig &c) {
  if (c.device < 0) return 0;
  const DeviceWorkspace w = device_workspace(c);
  const int64_t own =
      w.logits + w.rows + w.kept + w.tables + w.tiles + Sampler::workspace_bytes(c.vocabulary, c.threads);
  if (!c.cpu_samples()) return own;
  const int64_t handover = int64_t{c.max_step_tokens} * c.q_width() * (4 + c.value_bytes());
  return own + handover + Attention::workspace_bytes(c.attention_shape(), c.threads, 1, 1, c.context) +
         sampling_bytes(c) + int64_t{4} * c.q_width();
}

}  // namespace sounder

extern "C" int32_t sounder_plan_memory(const int32_t *ints, int32_t int_count, int64_t *figures,
                                       int32_t figure_count) {
  if (figures == nullptr || figure_count != SOUNDER_PLAN_COUNT) return SOUNDER_INVALID;
  try {
    sounder::ModelConfig config = sounder::read_config_ints(ints, int_count);
    int64_t block = sounder::block_bytes(config);
    figures[SOUNDER_PLAN_WEIGHT_BYTES] = sounder::weight_bytes(config);
    figures[SOUNDER_PLAN_BLOCK_BYTES] = block;
    figures[SOUNDER_PLAN_KV_BYTES] = block * config.kv_blocks;
    figures[SOUNDER_PLAN_WORKSPACE_BYTES] = sounder::workspace_bytes(config);
    figures[SOUNDER_PLAN_INDEX_BYTES] = sounder::index_bytes(config);
    figures[SOUNDER_PLAN_LSH_BYTES] = sounder::planned_lsh_bytes(config);
    figures[SOUNDER_PLAN_HOST_KV_BYTES] = sounder::host_kv_bytes(config);
    figures[SOUNDER_PLAN_HOST_WORKSPACE_BYTES] = sounder::host_workspace_bytes(config);
    return SOUNDER_OK;
  } catch (const sounder::Failure &failure) {
    return failure.status();
  } catch (...) {
    return SOUNDER_INTERNAL;
  }
}
