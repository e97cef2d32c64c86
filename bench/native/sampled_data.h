// SPDX-License-Identifier: Apache-2.0
//
// Keys, values and queries like those of a language model's layer: keys = a mean offset of twice their own
// norm + one of 256 topics + noise of a decaying spectrum; queries lie against the mean (cosine to raw keys
// about -0.27), the heads of a group have much in common, and each looks at a topic. Cosines of queries to
// centred keys spread by about 0.113, as keys of real models do. The heads of a group differ in how sharply
// they attend: their logits spread by 1 to 3 nats.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "attention/attention.h"
#include "memory.h"
#include "threads.h"

namespace bench {

using sounder::kBlockTokens;

struct DataShape {
  int length;  // keys, a multiple of kBlockTokens
  int kv_heads, group, head_dim;
  int queries;  // tokens whose queries there are
};

// Normal numbers from a table: quick, and random enough.
class Normal {
 public:
  Normal() : table_(1 << 16) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (float &x : table_) x = normal(random);
  }
  float operator()(uint64_t &state) const {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return table_[state >> 48];
  }

 private:
  std::vector<float> table_;
};

class Data {
 public:
  Data(sounder::ThreadTeam &team, const DataShape &shape)
      : shape_(shape),
        slab_(int64_t{shape.length} * shape.kv_heads * 4 * shape.head_dim, "keys and values"),
        blocks_(static_cast<size_t>(shape.length / kBlockTokens)),
        spectrum_(static_cast<size_t>(shape.head_dim)) {
    for (size_t i = 0; i < blocks_.size(); ++i) blocks_[i] = static_cast<int32_t>(i);
    std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(2));
    double square = 0;
    for (int i = 0; i < shape.head_dim; ++i) square += std::exp(-kDecay * i / shape.head_dim);
    for (int i = 0; i < shape.head_dim; ++i)
      spectrum_[i] =
          static_cast<float>(std::sqrt(std::exp(-kDecay * i / shape.head_dim) * shape.head_dim / square));
    for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head) make_head(kv_head);
    auto body = [&](int chunk, int) { fill(chunk / shape_.kv_heads, chunk % shape_.kv_heads); };
    team.run(static_cast<int>(blocks_.size()) * shape.kv_heads, body);
    q_.resize(size_t(shape.queries) * shape.kv_heads * shape.group * shape.head_dim);
    for (int query = 0; query < shape.queries; ++query)
      for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head) make_queries(query, kv_head);
  }

  const DataShape &shape() const { return shape_; }
  const void *slab() const { return slab_.data(); }
  int64_t bytes() const { return slab_.bytes(); }
  const int32_t *blocks() const { return blocks_.data(); }
  int block_count() const { return static_cast<int>(blocks_.size()); }
  const float *q(int query) const {
    return &q_[size_t(query) * shape_.kv_heads * shape_.group * shape_.head_dim];
  }
  // The rows of a block, by its id.
  const uint16_t *rows(int block, int kv_head) const {
    return static_cast<const uint16_t *>(slab_.data()) +
           (int64_t{block} * shape_.kv_heads + kv_head) * kBlockTokens * 2 * shape_.head_dim;
  }

 private:
  static constexpr int kTopics = 256, kTopicTokens = 96;
  static constexpr double kDecay = 3.36;
  static constexpr float kTopicShare = 0.5f;  // of a key's norm
  static constexpr float kSpreads[] = {1.0f, 1.5f, 2.0f, 3.0f}, kCosineSpread = 0.113f;

  struct Head {
    std::vector<float> mean, value_mean, topics, value_topics;
  };

  void make_head(int kv_head) {
    const int d = shape_.head_dim;
    uint64_t state = 1000 + static_cast<uint64_t>(kv_head);
    Head head;
    double square = 0;
    for (int i = 0; i < d; ++i) {
      head.mean.push_back(normal_(state));
      head.value_mean.push_back(normal_(state));
      square += double{head.mean[i]} * head.mean[i];
    }
    for (float &x : head.mean) x *= static_cast<float>(2 * std::sqrt(d / square));
    for (int i = 0; i < kTopics * d; ++i) {
      head.topics.push_back(kTopicShare * spectrum_[i % d] * normal_(state));
      head.value_topics.push_back(0.5f * normal_(state));
    }
    heads_.push_back(std::move(head));
  }

  static uint16_t as_bf16(float x) {
    const uint32_t u = __builtin_bit_cast(uint32_t, x);
    return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }

  // block: of the context.
  void fill(int block, int kv_head) {
    const int d = shape_.head_dim;
    const Head &head = heads_[kv_head];
    const float noise = std::sqrt(1 - kTopicShare * kTopicShare);
    uint64_t state = (uint64_t(block) * 64 + kv_head) * 0x9e3779b97f4a7c15u;
    uint16_t *row = const_cast<uint16_t *>(rows(blocks_[block], kv_head));
    for (int i = 0; i < kBlockTokens; ++i) {
      const int run = (block * kBlockTokens + i) / kTopicTokens;
      const int topic = static_cast<int>((uint64_t(run) * 0x9e3779b97f4a7c15u) >> 56);
      for (int j = 0; j < d; ++j)
        *row++ = as_bf16(head.mean[j] + head.topics[topic * d + j] + noise * spectrum_[j] * normal_(state));
      for (int j = 0; j < d; ++j)
        *row++ = as_bf16(head.value_mean[j] + head.value_topics[topic * d + j] + normal_(state));
    }
  }

  void make_queries(int query, int kv_head) {
    const int d = shape_.head_dim;
    const Head &head = heads_[kv_head];
    uint64_t state = 77 + uint64_t(query) * 64 + kv_head;
    std::vector<float> common(d), direction(d);
    for (int j = 0; j < d; ++j) common[j] = spectrum_[j] * normal_(state);
    for (int h = 0; h < shape_.group; ++h) {
      const int topic = static_cast<int>(state >> 56);
      double square = 0, mean_square = 0;
      for (int j = 0; j < d; ++j) {
        direction[j] = std::sqrt(0.6f) * common[j] + std::sqrt(0.4f) * spectrum_[j] * normal_(state) +
                       0.5f * head.topics[topic * d + j];
        square += double{direction[j]} * direction[j];
        mean_square += double{head.mean[j]} * head.mean[j];
      }
      const double norm = kSpreads[h * 4 / shape_.group] / kCosineSpread;
      const double along = 0.953 * norm / std::sqrt(square), against = -0.302 * norm / std::sqrt(mean_square);
      float *to = &q_[((size_t(query) * shape_.kv_heads + kv_head) * shape_.group + h) * d];
      for (int j = 0; j < d; ++j) to[j] = static_cast<float>(along * direction[j] + against * head.mean[j]);
    }
  }

  DataShape shape_;
  Normal normal_;
  sounder::Mapping slab_;
  std::vector<int32_t> blocks_;
  std::vector<float> spectrum_;
  std::vector<Head> heads_;
  std::vector<float> q_;
};

}  // namespace bench
