// SPDX-License-Identifier: Apache-2.0
//
// An engine with every index, and what its strategies make of random queries: for tests of sampled attention
// from the ABI down.
#pragma once

#include <cmath>
#include <vector>

#include "check.h"
#include "test_engine.h"

namespace tiny {

constexpr int kPrompt = 2300;

inline Config sampling_config() {
  Config config;
  config.context = 3000;
  config.kv_blocks = 96;
  config.max_step_tokens = 512;
  config.sketch_bits = 2;
  config.lsh_bits = 4;
  config.lsh_tables = 30;
  config.lsh_tokens = 1 << 14;
  config.quest_page = 16;
  config.yardsticks = true;
  config.deterministic = true;
  return config;
}

struct Asked {
  int attention = SOUNDER_ATTENTION_SKETCH;
  float budget = 0.3f, beta = 0.9f;
  int seed = 1, collisions = 2, draws = 0, verify = 0, from = 0;
};

inline Sequence asking(Sequence sequence, const Asked &asked) {
  sequence.with(SOUNDER_STEP_ATTENTION, asked.attention).with(SOUNDER_STEP_SAMPLED_FROM, asked.from);
  sequence.with(SOUNDER_STEP_ATTENTION_SEED_LOW, asked.seed).with(SOUNDER_STEP_COLLISIONS, asked.collisions);
  sequence.with(SOUNDER_STEP_DRAWS, asked.draws).with(SOUNDER_STEP_VERIFY, asked.verify);
  return sequence.with_float(SOUNDER_STEP_BUDGET, asked.budget).with_float(SOUNDER_STEP_BETA, asked.beta);
}

struct Attended {
  int32_t status;
  std::vector<float> output, statistics;
};

struct SampledEngine : Engine {
  explicit SampledEngine(const Config &given = sampling_config()) : config(given) {
    CHECK(load(make_model(config)) == SOUNDER_OK);
  }
  // A context with these tokens, fed in pieces.
  int32_t filled(const std::vector<int32_t> &tokens, size_t piece = 400) {
    int32_t context = create();
    for (size_t at = 0; at < tokens.size(); at += piece) {
      const size_t end = std::min(tokens.size(), at + piece);
      StepResult result = step({Sequence{context, {tokens.begin() + long(at), tokens.begin() + long(end)}}});
      CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_OK);
    }
    return context;
  }
  int32_t filled(int count = kPrompt) { return filled(random_tokens(count, config.vocabulary, 3)); }

  std::vector<float> query(uint64_t seed, float size = 2) const {
    std::vector<float> q(size_t(config.heads) * config.head_dim);
    for (size_t i = 0; i < q.size(); ++i) q[i] = size * noise(seed, 77, i);
    return q;
  }
  Attended attend(int32_t context, const Asked &asked, const std::vector<float> &q, int layer = 1) {
    Sequence sequence = asking(Sequence{context, {}}, asked);
    Attended result{0, std::vector<float>(q.size()), std::vector<float>(SOUNDER_STATISTIC_COUNT)};
    result.status = sounder_attend(handle(), context, layer, sequence.ints.data(), sequence.floats.data(),
                                   q.data(), result.output.data(), result.statistics.data(), nullptr);
    return result;
  }
  std::vector<float> exact(int32_t context, const std::vector<float> &q, int layer = 1) {
    return attend(context, {.attention = SOUNDER_ATTENTION_FULL}, q, layer).output;
  }

  Config config;
};

// |a - b| / |b| of one head's output.
inline double head_error(const std::vector<float> &a, const std::vector<float> &b, int head, int head_dim) {
  double difference = 0, size = 0;
  for (int i = head * head_dim; i < (head + 1) * head_dim; ++i) {
    difference += (double{a[size_t(i)]} - b[size_t(i)]) * (double{a[size_t(i)]} - b[size_t(i)]);
    size += double{b[size_t(i)]} * b[size_t(i)];
  }
  return std::sqrt(difference / size);
}
inline double mean_error(const std::vector<float> &a, const std::vector<float> &b, const Config &config) {
  double sum = 0;
  for (int head = 0; head < config.heads; ++head) sum += head_error(a, b, head, config.head_dim);
  return sum / config.heads;
}

}  // namespace tiny
