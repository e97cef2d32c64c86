// SPDX-License-Identifier: Apache-2.0
#include "transformer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "batch_rows.h"
#include "plan.h"
#include "row_work.h"

namespace sounder {

namespace {
// Rows up to which gate and up are one product: then the barrier counts, later the memory does.
constexpr int kFewRows = 16;

// The two matrices that gate_up is made of.
std::pair<WeightMatrix, WeightMatrix> halves(const WeightMatrix &stacked) {
  WeightMatrix gate = stacked;
  gate.rows = stacked.rows / 2;
  WeightMatrix up = gate;
  up.data =
      static_cast<const char *>(stacked.data) + int64_t{gate.rows} * gate.columns * (stacked.is_f32 ? 4 : 2);
  return {gate, up};
}

}  // namespace

Transformer::Transformer(const ModelConfig &config, const ModelWeights &weights, KvBlocks &blocks,
                         ThreadTeam &team, const Kernels &kernels)
    : config_(config),
      weights_(weights),
      blocks_(blocks),
      team_(team),
      kernels_(kernels),
      matmul_(team, kernels, config.max_step_tokens, max_matrix_rows(config), max_matrix_columns(config),
              config.deterministic),
      attention_(team, kernels, config.attention_shape(), config.max_step_tokens, config.max_step_sequences,
                 config.context),
      shape_(sampled_shape(config)) {
  if (config.can_sample()) {
    sampled_ =
        std::make_unique<SampledAttention>(team, kernels, shape_, config.max_step_sequences, config.context);
    sealer_ = std::make_unique<Sealer>(team, kernels.name, config.index_shape(), config.kv_heads,
                                       config.index_seed);
    exact_.resize(static_cast<size_t>(config.max_step_sequences) * config.q_width());
  }
  int64_t tokens = config.max_step_tokens, logits_rows = std::min(config.max_step_tokens, kLogitsRows);
  memory_ = Mapping(4 * (tokens * activation_floats(config) + logits_rows * config.vocabulary),
                    "the activations of a step");
  float *next = static_cast<float *>(memory_.data());
  auto take = [&](int64_t width) {
    float *start = next;
    next += tokens * width;
    return start;
  };
  x_ = take(config.hidden);
  normed_ = take(config.hidden);
  cosine_ = take(config.rope_pairs());
  sine_ = take(config.rope_pairs());
  gate_up_ = qkv_ = next;
  attended_ = qkv_ + tokens * config.qkv_width();
  logits_ = static_cast<float *>(memory_.data()) + tokens * activation_floats(config);
}

std::string Transformer::description() const {
  return std::string(kernels_.name) + ", " + matmul_.description();
}

void Transformer::run(Batch &batch, const UseLogits &use_logits) {
  place_rows(batch);
  embed(batch);
  rotate_table(batch);
  batch.clock.lap(SOUNDER_STAGE_OTHER);
  for (int index = 0; index < config_.layers; ++index) {
    if (!drop_cancelled(batch)) return;
    layer(batch, index);
    batch.thousandths->store((index + 1) * 1000 / (config_.layers + 1));
  }
  if (drop_cancelled(batch)) output(batch, use_logits);
}

void Transformer::capture(Batch &batch, int what, int layer, const float *rows, int64_t stride) {
  if (batch.capture == nullptr) return;
  batch.capture->keep(what, layer, rows, stride, batch.row_token, 0,
                      static_cast<int>(batch.row_token.size()));
}

void Transformer::embed(Batch &batch) {
  const WeightMatrix &table = weights_.embedding;
  int64_t width = config_.hidden;
  for_rows(team_, static_cast<int>(batch.row_token.size()), width, [&](int row) {
    int64_t token = batch.tokens[batch.row_token[row]];
    float *x = x_ + row * width;
    if (table.is_f32) {
      std::memcpy(x, static_cast<const float *>(table.data) + token * width, size_t(width) * 4);
    } else {
      kernels_.bf16_to_f32(static_cast<const uint16_t *>(table.data) + token * width, x, width);
    }
  });
  capture(batch, SOUNDER_CAPTURE_EMBEDDING, 0, x_, width);
}

// The angle is a product in float32, as in Hugging Face's code; cosine and sine are those of that angle,
// rounded once.
void Transformer::rotate_table(const Batch &batch) {
  int64_t pairs = config_.rope_pairs();
  for_rows(team_, static_cast<int>(batch.row_token.size()), 64 * pairs, [&](int row) {
    const BatchSequence &sequence = batch.sequences[batch.row_sequence[row]];
    float position = static_cast<float>(sequence.position + batch.row_token[row] - sequence.first_token);
    for (int64_t i = 0; i < pairs; ++i) {
      double angle = position * config_.rope_frequencies[i];
      cosine_[row * pairs + i] = static_cast<float>(std::cos(angle)) * config_.rope_scale;
      sine_[row * pairs + i] = static_cast<float>(std::sin(angle)) * config_.rope_scale;
    }
  });
}

void Transformer::layer(Batch &batch, int index) {
  const LayerWeights &weights = weights_.layers[index];
  int64_t width = config_.hidden;
  int rows = static_cast<int>(batch.row_token.size());
  for_rows(team_, rows, width, [&](int row) {
    kernels_.rms_norm(x_ + row * width, weights.attention_norm, config_.norm_epsilon, config_.hidden,
                      normed_ + row * width);
  });
  capture(batch, SOUNDER_CAPTURE_ATTENTION_NORM, index, normed_, width);
  batch.clock.lap(SOUNDER_STAGE_OTHER);
  matmul_.multiply(weights.qkv, normed_, rows, weights.qkv_bias, qkv_, config_.qkv_width());
  batch.clock.lap(SOUNDER_STAGE_MATMUL);
  rotate_and_append(batch, index);
  if (index == config_.layers - 1) keep_needed(batch);
  batch.clock.lap(SOUNDER_STAGE_OTHER);
  rows = static_cast<int>(batch.row_token.size());
  if (rows == 0) return;

  attend(batch, index);
  batch.clock.lap(SOUNDER_STAGE_ATTENTION);
  matmul_.multiply(weights.attention_output, attended_, rows, nullptr, normed_, config_.hidden);
  batch.clock.lap(SOUNDER_STAGE_MATMUL);
  for_rows(team_, rows, 2 * width, [&](int row) {
    float *x = x_ + row * width, *y = normed_ + row * width;
    kernels_.add(x, y, config_.hidden);
    kernels_.rms_norm(x, weights.feed_forward_norm, config_.norm_epsilon, config_.hidden, y);
  });
  batch.clock.lap(SOUNDER_STAGE_OTHER);
  feed_forward(batch, weights);
  for_rows(team_, rows, width,
           [&](int row) { kernels_.add(x_ + row * width, normed_ + row * width, config_.hidden); });
  capture(batch, SOUNDER_CAPTURE_LAYER, index, x_, width);
  batch.clock.lap(SOUNDER_STAGE_OTHER);
}

void Transformer::rotate_row(float *row, const LayerWeights &weights, int64_t table_row) {
  int dim = config_.head_dim, pairs = config_.rope_pairs();
  const float *cosine = cosine_ + table_row * pairs, *sine = sine_ + table_row * pairs;
  for (int head = 0; head < config_.heads + config_.kv_heads; ++head) {
    float *values = row + int64_t{head} * dim;
    const float *norm = head < config_.heads ? weights.q_norm : weights.k_norm;
    if (norm != nullptr) kernels_.rms_norm(values, norm, config_.norm_epsilon, dim, values);
    kernels_.rope(values, cosine, sine, pairs);
  }
}

// A token's K and V of one head as its row [K | V].
void Transformer::store_row(const float *k, const float *v, char *to) const {
  const size_t dim = size_t(config_.head_dim);
  if (config_.f32) {
    std::memcpy(to, k, dim * 4);
    std::memcpy(to + dim * 4, v, dim * 4);
  } else {
    kernels_.f32_to_bf16(k, reinterpret_cast<uint16_t *>(to), config_.head_dim);
    kernels_.f32_to_bf16(v, reinterpret_cast<uint16_t *>(to) + dim, config_.head_dim);
  }
}

void Transformer::rotate_and_append(Batch &batch, int index) {
  const LayerWeights &weights = weights_.layers[index];
  int dim = config_.head_dim;
  int64_t stride = config_.qkv_width();
  for_rows(team_, static_cast<int>(batch.row_token.size()), 2 * stride, [&](int row) {
    float *values = qkv_ + row * stride;
    rotate_row(values, weights, row);
    const BatchSequence &sequence = batch.sequences[batch.row_sequence[row]];
    int position = sequence.position + batch.row_token[row] - sequence.first_token;
    const float *k = values + config_.q_width(), *v = k + config_.kv_width();
    for (int head = 0; head < config_.kv_heads; ++head, k += dim, v += dim) {
      char *to = blocks_.row(index, sequence.blocks[position / kBlockTokens], head, position % kBlockTokens);
      store_row(k, v, to);
    }
  });
  seal_blocks(batch, index);
  extend_lsh(batch, index);
  capture(batch, SOUNDER_CAPTURE_Q, index, qkv_, stride);
  capture(batch, SOUNDER_CAPTURE_K, index, qkv_ + config_.q_width(), stride);
  capture(batch, SOUNDER_CAPTURE_V, index, qkv_ + config_.q_width() + config_.kv_width(), stride);
}

// From the norm in normed_ to what the feed-forward block adds, in normed_.
void Transformer::feed_forward(Batch &batch, const LayerWeights &weights) {
  int rows = static_cast<int>(batch.row_token.size()), width = config_.intermediate;
  float *gate = gate_up_;
  if (rows <= kFewRows) {
    matmul_.multiply(weights.gate_up, normed_, rows, nullptr, gate, 2 * width);
    batch.clock.lap(SOUNDER_STAGE_MATMUL);
    for_rows(team_, rows, int64_t{4} * width, [&](int row) {
      float *values = gate + int64_t{2} * row * width;
      kernels_.silu_multiply(values, values + width, width);
    });
    // The rows move together; none reaches one that has not moved yet.
    for (int64_t row = 1; row < rows; ++row) {
      std::memmove(gate + row * width, gate + 2 * row * width, size_t(width) * 4);
    }
  } else {
    float *up = gate + int64_t{rows} * width;
    auto [gate_half, up_half] = halves(weights.gate_up);
    matmul_.multiply(gate_half, normed_, rows, nullptr, gate, width);
    matmul_.multiply(up_half, normed_, rows, nullptr, up, width);
    batch.clock.lap(SOUNDER_STAGE_MATMUL);
    for_rows(team_, rows, int64_t{4} * width, [&](int row) {
      kernels_.silu_multiply(gate + int64_t{row} * width, up + int64_t{row} * width, width);
    });
  }
  batch.clock.lap(SOUNDER_STAGE_OTHER);
  matmul_.multiply(weights.down, gate, rows, nullptr, normed_, config_.hidden);
  batch.clock.lap(SOUNDER_STAGE_MATMUL);
}

// From the norm in normed_.
void Transformer::add_hidden(Batch &batch) {
  for (BatchSequence &sequence : batch.sequences) {
    if (sequence.hidden == nullptr) continue;
    for (int row = sequence.first_row; row < sequence.first_row + sequence.rows; ++row) {
      kernels_.add(sequence.hidden, normed_ + int64_t{row} * config_.hidden, config_.hidden);
    }
    sequence.hidden_tokens = sequence.rows;
  }
}

void Transformer::output(Batch &batch, const UseLogits &use_logits) {
  int64_t width = config_.hidden;
  int rows = static_cast<int>(batch.row_token.size());
  for_rows(team_, rows, width, [&](int row) {
    kernels_.rms_norm(x_ + row * width, weights_.final_norm, config_.norm_epsilon, config_.hidden,
                      normed_ + row * width);
  });
  capture(batch, SOUNDER_CAPTURE_FINAL_NORM, 0, normed_, width);
  add_hidden(batch);
  batch.clock.lap(SOUNDER_STAGE_OTHER);
  int step = std::min(config_.max_step_tokens, kLogitsRows);
  for (int first = 0, count = 0; first < rows; first += std::max(count, 1)) {
    count = std::min(step, logits_rows(batch, first));
    if (count == 0) continue;
    mark_cancelled(batch);
    matmul_.multiply(weights_.output, normed_ + first * width, count, nullptr, logits_, config_.vocabulary);
    if (batch.capture != nullptr) {
      batch.capture->keep(SOUNDER_CAPTURE_LOGITS, 0, logits_, config_.vocabulary, batch.row_token, first,
                          count);
    }
    batch.clock.lap(SOUNDER_STAGE_OUTPUT);
    use_logits(logits_, first, count);
    batch.clock.lap(SOUNDER_STAGE_SAMPLING);
  }
}

}  // namespace sounder
