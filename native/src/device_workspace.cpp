// SPDX-License-Identifier: Apache-2.0
#include "device_workspace.h"

#include <algorithm>

#include "cuda/sampled/sampled_cuda.h"
#include "plan.h"
#include "sampled/gather.h"

namespace sounder {

namespace {

constexpr int64_t kMostSampledBytes = int64_t{256} << 20;
constexpr int kMostSampledQueries = 16;

int64_t sampled_bytes(const ModelConfig &c) {
  cuda::SampledMemory places{};
  const cuda::SketchShape shape{c.heads, c.kv_heads, c.head_dim, c.sketch_bits, c.signature()};
  const int64_t plain =
      cuda::place_sampled(shape, device_sampled_queries(c, false), c.context, 1, nullptr, &places);
  if (c.quest_page == 0 && !c.yardsticks && !c.lsh_on_device()) return plain;
  const int queries = device_sampled_queries(c, true);
  return std::max(plain, cuda::place_sampled(shape, queries, c.context, 1, nullptr, &places) +
                             cuda::place_words(shape, queries, nullptr, &places));
}

}  // namespace

int device_sampled_queries(const ModelConfig &c, bool with_words) {
  const int64_t chunk = cuda::kChunkKeys, keys = (int64_t{c.context} + chunk - 1) / chunk * chunk;
  const int64_t group = c.heads / c.kv_heads, bytes = c.kv_heads * keys * ((with_words ? 6 : 2) * group + 10);
  const int64_t most = std::min(c.max_step_sequences, kMostSampledQueries);
  return static_cast<int>(std::clamp<int64_t>(kMostSampledBytes / bytes, 1, most));
}

namespace {

constexpr int kMostNearBlocks = 16;  // of a row

int near_blocks(const ModelConfig &c) {
  return (c.sink + kBlockTokens - 1) / kBlockTokens + (c.window + 2 * kBlockTokens - 2) / kBlockTokens;
}

int near_layers(const ModelConfig &c) { return std::min(c.sampling_layers(), c.host_layers); }

}  // namespace

int device_near_rows(const ModelConfig &c) {
  const bool any = c.can_sample() && near_layers(c) > 0 && near_blocks(c) <= kMostNearBlocks &&
                   c.host_attention == SOUNDER_HOST_ATTENTION_GPU;
  return any ? std::min(c.max_step_sequences, kMostSampledQueries) : 0;
}

int device_near_slots(const ModelConfig &c) { return device_near_rows(c) * near_blocks(c); }

DeviceWorkspace device_workspace(const ModelConfig &c) {
  const int64_t rows = c.max_step_tokens, sequences = c.max_step_sequences, value = c.value_bytes();
  const int64_t hidden = c.hidden, q = c.q_width(), group = c.heads / c.kv_heads;
  DeviceWorkspace bytes{};
  bytes.x = 4 * rows * hidden;
  bytes.normed = value * rows * hidden;
  bytes.qkv = 4 * rows * c.qkv_width();
  bytes.q = bytes.attended = value * rows * q;
  bytes.gate_up = 2 * value * rows * c.intermediate;
  bytes.activated = value * rows * c.intermediate;
  bytes.spare = rows * std::max(4 * hidden, value * q);
  bytes.logits = int64_t{4} * std::min(c.max_step_tokens, kLogitsRows) * c.vocabulary;
  bytes.angles = 8 * rows * c.rope_pairs();
  bytes.partials = int64_t{4} * kDevicePartials * (c.head_dim + 2);
  bytes.products = kDeviceProductBytes;
  bytes.rows = 16 * rows;
  bytes.kept = 4 * rows;
  bytes.tables = 4 * sequences * device_table_width(c);
  bytes.tiles = 32 * (sequences * (group / 16 + 5) + rows * group / 64 + 1);
  if (c.can_sample()) {
    bytes.tiles *= 3;  // of all rows, of those that attend exactly, of those that are verified
    bytes.spare = 4 * rows * std::max(hidden, q);
  }
  if (c.device_samples()) {
    bytes.sampled = sampled_bytes(c);
    bytes.queries = int64_t{sizeof(cuda::SampledQuery)} * rows;
    bytes.statistics = int64_t{4} * cuda::kStatistics * sequences * c.heads;
    bytes.constants = 6400;
  }
  if (c.lsh_on_device()) {
    bytes.projections = int64_t{4} * c.signature().projection_floats();
    bytes.collisions = int64_t{4} * cuda::kMostCollisions * (kCollisionPoints + 1);
    bytes.signatures = bytes.tables;
  }
  if (c.host_layers > 0) {
    bytes.copied_in = 2 * c.layer_block_bytes() * device_table_width(c);
    bytes.appended = c.layer_block_bytes() * (rows / kBlockTokens + 2 * sequences);
    bytes.identity = int64_t{4} * device_table_width(c);
  }
  bytes.near_slots = int64_t{device_near_slots(c)} * near_layers(c) * c.layer_block_bytes();
  bytes.near_tables = int64_t{4} * device_near_rows(c) * device_table_width(c);
  return bytes;
}

}  // namespace sounder
