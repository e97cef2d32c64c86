// SPDX-License-Identifier: Apache-2.0
#include "scores.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "sketch_kernels.h"

namespace sounder {

namespace {

// Value i of a row's key.
float key_value(const char *row, int i, bool is_f32) {
  float value;
  if (is_f32) {
    std::memcpy(&value, row + 4 * i, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, row + 2 * i, 2);
  const uint32_t bits = uint32_t{half} << 16;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace

void KeyScores::write(int layer, const float *q, const int32_t *blocks, int length, bool estimated,
                      float beta, float *scores) const {
  if (estimated)
    write_estimates(layer, q, blocks, length, beta, scores);
  else
    write_true(layer, q, blocks, length, scores);
}

void KeyScores::write_true(int layer, const float *q, const int32_t *blocks, int length,
                           float *scores) const {
  const int d = config_.head_dim, group = config_.heads / config_.kv_heads;
  for (int head = 0; head < config_.heads; ++head) {
    for (int i = 0; i < length; ++i) {
      const char *row = blocks_.row(layer, blocks[i / kBlockTokens], head / group, i % kBlockTokens);
      double sum = 0;
      for (int j = 0; j < d; ++j) sum += double{q[head * d + j]} * key_value(row, j, config_.f32);
      scores[int64_t{head} * length + i] = static_cast<float>(sum / std::sqrt(double(d)));
    }
  }
}

void KeyScores::write_estimates(int layer, const float *q, const int32_t *blocks, int length, float beta,
                                float *scores) const {
  const int d = config_.head_dim, group = config_.heads / config_.kv_heads;
  const int64_t all = int64_t{config_.heads} * length;
  for (int64_t i = 0; i < all; ++i) scores[i] = std::numeric_limits<float>::quiet_NaN();
  const int sealed = length / kBlockTokens;
  if (!blocks_.has_records(layer) || sealed == 0) return;
  const SketchKernels &kernels = *sketch_kernels(level_);
  const std::vector<float> signs = rotation_signs(d, config_.index_seed);
  const int64_t stride = int64_t{sealed} * kBlockTokens;
  std::vector<int16_t> estimates(static_cast<size_t>(stride) + 64);
  std::vector<char> memory(static_cast<size_t>(sketch_query_bytes(d)) + 64);
  char *query = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  const LayerRecords records = blocks_.records(layer);
  for (int head = 0; head < config_.heads; ++head) {
    kernels.prepare(q + int64_t{head} * d, signs.data(), d, config_.sketch_bits, beta, query);
    ScanTask task;
    task.records = records.data + head / group * records.head_stride;
    task.record_stride = records.block_stride;
    task.blocks = blocks;
    task.first_block = 0;
    task.end_block = sealed;
    task.head_dim = d;
    task.bits = config_.sketch_bits;
    task.queries = query;
    task.heads = 1;
    task.scores = estimates.data();
    task.score_stride = stride;
    kernels.scan(task);
    // A mean of what the key may weigh, variance included: what keys are drawn by.
    const float unit = std::log(2.0f) / (kScoreUnits * beta);
    for (int64_t i = 0; i < stride; ++i) scores[int64_t{head} * length + i] = unit * estimates[size_t(i)];
  }
}

}  // namespace sounder
