// SPDX-License-Identifier: Apache-2.0
//
// Engines on a GPU that sample, for tests of what their steps and queries find.
#pragma once

#include <algorithm>

#include "sampled_engine.h"

namespace device_sampled {

using tiny::Asked;
using tiny::Attended;
using tiny::Config;
using tiny::has_gpu;
using tiny::SampledEngine;
using tiny::Sequence;
using tiny::StepResult;

inline Config sketched(int device, int heads = 8, int kv_heads = 2, int head_dim = 64) {
  Config config;
  config.layers = 3;
  config.hidden = 64;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = config.rope_dims = head_dim;
  config.f32 = false;
  config.context = 9000;
  config.kv_blocks = 160;
  config.max_step_tokens = 256;
  config.sketch_bits = 2;
  config.dense_layers = 1;
  config.least_rows = 64;
  config.device = device;
  return config;
}

// With what strategies but sketches take, too.
inline Config with_yardsticks(Config config) {
  config.quest_page = 32;
  config.yardsticks = true;
  return config;
}

inline std::vector<Asked> yardsticks() {
  return {{.attention = SOUNDER_ATTENTION_TOPK, .budget = 0.1f},
          {.attention = SOUNDER_ATTENTION_ORACLE, .budget = 0.1f},
          {.attention = SOUNDER_ATTENTION_ORACLE, .budget = 0.1f, .draws = 3000},
          {.attention = SOUNDER_ATTENTION_QUEST, .budget = 0.1f}};
}

inline int32_t filled(SampledEngine &engine, int tokens, int seed = 5) {
  const int32_t context = engine.create();
  CHECK(sounder_context_fill(engine.handle(), context, tokens, seed) == SOUNDER_OK);
  return context;
}

inline float rows_of(const std::vector<float> &statistics) {
  return statistics[SOUNDER_STATISTIC_CHOSEN_ROWS];
}

inline double mean_difference(const std::vector<float> &a, const std::vector<float> &b) {
  double sum = a.size() == b.size() ? 0 : 1e9;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) sum += std::fabs(double{a[i]} - b[i]);
  return sum / double(a.size());
}

inline double largest_difference(const std::vector<float> &a, const std::vector<float> &b) {
  double most = a.size() == b.size() ? 0 : 1e9;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    most = std::max(most, std::fabs(double{a[i]} - b[i]));
  return most;
}

}  // namespace device_sampled
