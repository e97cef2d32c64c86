// SPDX-License-Identifier: Apache-2.0
//
// A GPU tells the stages of a step apart where that is asked for, and the step is the same otherwise. Without
// a GPU, real or emulated, nothing is tested here. On the emulated one a stage takes a millisecond each time.
#include <numeric>

#include "check.h"
#include "sampled_engine.h"

namespace {

using tiny::Config;
using tiny::Engine;
using tiny::has_gpu;
using tiny::is_emulated;
using tiny::Sequence;
using tiny::StepResult;

constexpr int kLayers = 3, kSampling = 2, kTokens = 1100;

Config config_of(int host_layers, int host_attention) {
  Config config;
  config.layers = kLayers;
  config.dense_layers = 1;
  config.head_dim = config.rope_dims = 64;
  config.f32 = false;
  config.device = 0;
  config.host_layers = host_layers;
  config.host_attention = host_attention;
  config.context = 2048;
  config.kv_blocks = 40;
  config.max_step_tokens = 64;
  config.sketch_bits = 2;
  config.least_rows = 64;
  return config;
}

struct World {
  explicit World(int host_layers, int host_attention = SOUNDER_HOST_ATTENTION_GPU) {
    CHECK(engine.load(tiny::make_model(config_of(host_layers, host_attention))) == SOUNDER_OK);
    for (int seed : {1, 2}) {
      contexts.push_back(engine.create());
      CHECK(sounder_context_fill(engine.handle(), contexts.back(), kTokens, seed) == SOUNDER_OK);
    }
  }
  // A step of one token of both contexts, which are as long as before then.
  StepResult step(bool samples, bool tells) {
    std::vector<Sequence> both;
    for (const int32_t context : contexts) {
      Sequence own{context, {17}};
      if (samples) own = tiny::asking(own, {.budget = 0.3f, .beta = 1, .from = 0});
      both.push_back(own.with(SOUNDER_STEP_STAGES, tells && context == contexts[0]));
    }
    const StepResult made = engine.step(both);
    CHECK(made.status == SOUNDER_OK && made.statuses == std::vector<int32_t>(2, SOUNDER_OK));
    for (const int32_t context : contexts)
      CHECK(sounder_context_truncate(engine.handle(), context, kTokens) == SOUNDER_OK);
    return made;
  }

  Engine engine;
  std::vector<int32_t> contexts;
};

// So many times a millisecond on the emulated GPU.
void expect_told(float ms, int times) { CHECK(is_emulated() ? ms == static_cast<float>(times) : ms > 0); }

void expect_gpu_stages(const StepResult &made, int layers, int sampling) {
  expect_told(made.stage_ms[SOUNDER_STAGE_MATMUL], 2 * layers);
  expect_told(made.stage_ms[SOUNDER_STAGE_OUTPUT], 1);
  CHECK(made.stage_ms[SOUNDER_STAGE_ATTENTION] > 0 && made.stage_ms[SOUNDER_STAGE_OTHER] > 0);
  if (sampling > 0)
    expect_told(made.stage_ms[SOUNDER_STAGE_CHOOSING], sampling);
  else
    CHECK(made.stage_ms[SOUNDER_STAGE_CHOOSING] == 0);
  const float sum = std::accumulate(made.stage_ms.begin() + 1, made.stage_ms.end(), 0.0f);
  CHECK(is_emulated() || sum < 1.05f * made.stage_ms[SOUNDER_STAGE_TOTAL]);
}

}  // namespace

TEST("a GPU tells the stages of a step apart where one of its contexts asks, and chooses the same tokens") {
  if (!has_gpu()) return;
  for (const int host_layers : {0, kSampling}) {
    World world(host_layers);
    for (const bool samples : {false, true}) {
      const StepResult plain = world.step(samples, false), told = world.step(samples, true);
      expect_gpu_stages(told, kLayers, samples ? kSampling : 0);
      for (const int stage : {SOUNDER_STAGE_MATMUL, SOUNDER_STAGE_ATTENTION, SOUNDER_STAGE_CHOOSING})
        CHECK(plain.stage_ms[size_t(stage)] == 0);
      const StepResult again = world.step(samples, false);
      for (const StepResult &other : {told, again}) {
        CHECK(other.sampled == plain.sampled);
        for (size_t i = 0; i < plain.logprobs.size(); ++i)
          CHECK_NEAR(other.logprobs[i], plain.logprobs[i], 1e-4);
      }
      CHECK(again.stage_ms[SOUNDER_STAGE_MATMUL] == 0);
    }
  }
}

TEST("where the CPU attends, its time is attention, and the GPU's products are told apart from it") {
  if (!has_gpu()) return;
  for (const int who : {SOUNDER_HOST_ATTENTION_CPU, SOUNDER_HOST_ATTENTION_SPLIT}) {
    World world(kSampling, who);
    for (int turn = 0; turn < 3; ++turn) {  // split: until both have some of the heads
      const StepResult plain = world.step(true, false), told = world.step(true, true);
      expect_told(told.stage_ms[SOUNDER_STAGE_MATMUL], 2 * kLayers);
      CHECK(told.stage_ms[SOUNDER_STAGE_ATTENTION] > 0 && told.stage_ms[SOUNDER_STAGE_CHOOSING] == 0);
      CHECK(told.sampled == plain.sampled);
    }
  }
}

TEST("a prompt's step tells its stages too") {
  if (!has_gpu()) return;
  World world(kSampling);
  const StepResult made = world.engine.step(
      {Sequence{world.contexts[0], std::vector<int32_t>(40, 7)}.with(SOUNDER_STEP_STAGES, 1)});
  CHECK(made.status == SOUNDER_OK);
  expect_gpu_stages(made, kLayers, 0);
}

TEST("a flag for stages that is neither 0 nor 1 is refused") {
  Engine engine;
  CHECK(engine.load(tiny::make_model({})) == SOUNDER_OK);
  const StepResult made = engine.step({Sequence{engine.create(), {5}}.with(SOUNDER_STEP_STAGES, 2)});
  CHECK(made.statuses[0] == SOUNDER_INVALID);
}
