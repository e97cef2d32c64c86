// SPDX-License-Identifier: Apache-2.0
//
// A small model on a GPU, whose contexts begin with noise and go on token by token.
#pragma once

#include <utility>

#include "check.h"
#include "sampled_engine.h"

namespace device_small {

using tiny::Config;
using tiny::Engine;
using tiny::Sequence;
using tiny::StepResult;

// Few steps from here on fill a block and open the next.
constexpr int kPromptTokens = 375;

inline Config config_of(int host_layers, bool sampled = true) {
  Config config;
  config.layers = 2;
  config.head_dim = config.rope_dims = 64;
  config.f32 = false;
  config.device = 0;
  config.host_layers = host_layers;
  config.context = 1024;
  config.kv_blocks = 24;
  config.max_step_tokens = 64;
  config.sketch_bits = sampled ? 2 : 0;
  config.least_rows = 64;
  return config;
}

inline int32_t prompt(Engine &engine, int seed = 1) {
  const int32_t context = engine.create();
  CHECK(sounder_context_fill(engine.handle(), context, kPromptTokens, seed) == SOUNDER_OK);
  return context;
}

// Tokens after the prompt that sample.
inline Sequence sampling(int32_t context, std::vector<int32_t> tokens) {
  return tiny::asking({context, std::move(tokens)}, {.budget = 0.3f, .beta = 1, .from = kPromptTokens});
}

}  // namespace device_small
