// SPDX-License-Identifier: Apache-2.0
//
// What is particular to a device: it is refused with a sentence where it is not there; where it is, it has
// the CPU's KV and attends as the CPU does. All other tests of the forward run on one with
// SOUNDER_DEVICE=cuda.
#include <cstring>

#include "check.h"
#include "test_engine.h"

namespace {

using tiny::Config;
using tiny::Engine;
using tiny::has_gpu;

// A config whose contexts are long, filled with noise: attention is all there is to look at.
Config long_config(int head_dim, int heads, int kv_heads, bool f32) {
  Config config;
  config.layers = 2;
  config.head_dim = head_dim;
  config.rope_dims = std::min(head_dim, 64);
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.f32 = f32;
  config.context = 8192;
  config.kv_blocks = 64;
  return config;
}

std::vector<float> attend(Engine &engine, int32_t context, int layer, const std::vector<float> &q) {
  std::vector<int32_t> ints(SOUNDER_STEP_INT_COUNT);
  std::vector<float> floats(SOUNDER_STEP_FLOAT_COUNT), output(q.size()), statistics(SOUNDER_STATISTIC_COUNT);
  CHECK(sounder_attend(engine.handle(), context, layer, ints.data(), floats.data(), q.data(), output.data(),
                       statistics.data(), nullptr) == SOUNDER_OK);
  return output;
}

double relative_error(const std::vector<float> &values, const std::vector<float> &expected) {
  double squares = 0, size = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    squares += std::pow(double(values[i]) - expected[i], 2);
    size += double(expected[i]) * expected[i];
  }
  return std::sqrt(squares / size);
}

void expect_same_attention(Config config, int tokens) {
  Engine cpu, gpu;
  config.device = SOUNDER_DEVICE_CPU;
  const tiny::Model model = tiny::make_model(config);
  CHECK(cpu.load(model) == SOUNDER_OK);
  tiny::Model same = model;
  same.config.device = 0;
  CHECK(gpu.load(same) == SOUNDER_OK);
  std::vector<float> q(size_t(config.heads * config.head_dim));
  for (size_t i = 0; i < q.size(); ++i) q[i] = tiny::to_bf16_and_back(2 * tiny::noise(9, 1, i));
  const int32_t here = cpu.create(), there = gpu.create();
  CHECK(sounder_context_fill(cpu.handle(), here, tokens, 5) == SOUNDER_OK);
  CHECK(sounder_context_fill(gpu.handle(), there, tokens, 5) == SOUNDER_OK);
  // A fork inside a block copies its rows; the fork of the fork sees the copy.
  const int32_t fork = sounder_context_fork(gpu.handle(), there, tokens - 1);
  CHECK(sounder_context_fill(gpu.handle(), fork, 1, 5) == SOUNDER_OK);
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::vector<float> expected = attend(cpu, here, layer, q);
    // K and V are the same bits; what is left is the rounding of sums, of P and of the output.
    const double tolerance = config.f32 ? 1e-5 : 8e-3;
    CHECK_NEAR(relative_error(attend(gpu, there, layer, q), expected), 0, tolerance);
    CHECK_NEAR(relative_error(attend(gpu, fork, layer, q), expected), 0, tolerance);
  }
}

}  // namespace

TEST("a GPU that is not there is refused with a sentence, and the engine stays usable") {
  Config config;
  config.device = 1000;
  Engine engine;
  int64_t figures[SOUNDER_DEVICE_COUNT];
  CHECK(sounder_device_figures(engine.handle(), 1000, figures, SOUNDER_DEVICE_COUNT) == SOUNDER_INVALID);
  CHECK(engine.error().rfind("Cannot use ", 0) == 0);
  CHECK(engine.load(tiny::make_model(config)) == SOUNDER_INVALID);
  CHECK(engine.error().rfind("Cannot use ", 0) == 0);
  CHECK(sounder_device_figures(engine.handle(), -1, figures, SOUNDER_DEVICE_COUNT) == SOUNDER_INVALID);
  config.device = SOUNDER_DEVICE_CPU;
  CHECK(engine.load(tiny::make_model(config)) == SOUNDER_OK);
}

TEST("what a GPU does not do is refused before anything is loaded") {
  Engine engine;
  Config config;
  config.device = 0;
  config.deterministic = true;
  CHECK(engine.configure(config) == SOUNDER_INVALID);
  CHECK(engine.error().find("deterministic") != std::string::npos);
  config.deterministic = false;
  config.lsh_bits = 4;
  config.lsh_tables = 30;
  config.host_attention = SOUNDER_HOST_ATTENTION_SPLIT;
  CHECK(engine.configure(config) == SOUNDER_INVALID);
  CHECK(engine.error().find("With lsh either a GPU attends") == 0);
  config.host_attention = SOUNDER_HOST_ATTENTION_GPU;
  CHECK(engine.configure(config) == SOUNDER_INVALID);
  CHECK(engine.error().find("float32") != std::string::npos);
  config.lsh_bits = config.lsh_tables = 0;
  config.sketch_bits = 2;
  config.head_dim = config.rope_dims = 64;
  CHECK(engine.configure(config) == SOUNDER_INVALID);
  CHECK(engine.error().find("float32") != std::string::npos);
  config.f32 = false;
  CHECK(engine.configure(config) == SOUNDER_OK);
  config.sketch_bits = 4;
  config.head_dim = 80;
  CHECK(engine.configure(config) == SOUNDER_OK);
  config.head_dim = 100;
  CHECK(engine.configure(config) == SOUNDER_INVALID);
  CHECK(engine.error().find("head dim of 100") != std::string::npos);
}

TEST("layers lie in host memory only where a GPU computes, and no more than there are") {
  Engine engine;
  Config config;
  std::vector<int32_t> ints = config.ints();
  const std::vector<float> floats = config.floats(), frequencies = config.frequencies();
  auto configure = [&](int32_t device, int32_t host_layers) {
    ints[SOUNDER_CONFIG_DEVICE] = device;
    ints[SOUNDER_CONFIG_HOST_LAYERS] = host_layers;
    return sounder_configure(engine.handle(), ints.data(), int32_t(ints.size()), floats.data(),
                             int32_t(floats.size()), frequencies.data(), int32_t(frequencies.size()));
  };
  CHECK(configure(SOUNDER_DEVICE_CPU, 1) == SOUNDER_INVALID);
  CHECK(engine.error().find("On the CPU") == 0);
  CHECK(configure(0, config.layers + 1) == SOUNDER_INVALID);
  CHECK(engine.error().find("the model has 2") != std::string::npos);
  CHECK(configure(0, config.layers) == SOUNDER_OK);
}

TEST("a GPU attends long contexts as the CPU does, and so do forks") {
  if (!has_gpu()) return;
  const std::vector<int> lengths =
      tiny::is_emulated() ? std::vector{1, 130, 600} : std::vector{1, 130, 1000, 7777};
  for (int tokens : lengths) {
    expect_same_attention(long_config(128, 8, 2, false), tokens);
    expect_same_attention(long_config(64, 9, 9, false), tokens);
    expect_same_attention(long_config(256, 4, 1, false), tokens);
    expect_same_attention(long_config(18, 34, 1, false), tokens);
    expect_same_attention(long_config(96, 8, 2, true), tokens);
    Config windowed = long_config(128, 8, 2, false);
    windowed.sliding_window = tokens > 1000 ? 1000 : 100;
    expect_same_attention(windowed, tokens);
    for (int host_layers : {1, 2}) {
      Config placed = long_config(128, 8, 2, false);
      placed.host_layers = host_layers;
      expect_same_attention(placed, tokens);
    }
  }
}

// The attention of a layer for all new tokens of a step.
std::vector<float> attention_of_step(Engine &engine, int32_t context, const std::vector<int32_t> &tokens) {
  sounder_capture_enable(engine.handle(), 1);
  tiny::StepResult result = engine.step({tiny::Sequence{context, tokens}});
  CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_OK);
  return engine.captured(SOUNDER_CAPTURE_ATTENTION, 0);
}

// One step over all tokens and steps of few are different kernels, cut into different tiles. Every fourth
// step is a longer one: thousands of steps in which the host waits for each layer take minutes where others
// have the GPU too.
void expect_same_in_pieces(Config config, int filled) {
  config.device = 0;
  config.max_step_tokens = 512;
  Engine engine;
  CHECK(engine.load(tiny::make_model(config)) == SOUNDER_OK);
  const std::vector<int32_t> tokens =
      tiny::random_tokens(tiny::is_emulated() ? 100 : 500, config.vocabulary, 8);
  const int32_t whole = engine.create(), pieces = engine.create();
  for (int32_t context : {whole, pieces})
    if (filled > 0) CHECK(sounder_context_fill(engine.handle(), context, filled, 3) == SOUNDER_OK);
  const std::vector<float> expected = attention_of_step(engine, whole, tokens);
  std::vector<float> made;
  for (size_t done = 0, step = 1, count; done < tokens.size(); done += count, ++step) {
    count = std::min(step % 4 == 0 ? tokens.size() / 6 : 4, tokens.size() - done);
    const std::vector<float> part =
        attention_of_step(engine, pieces, {tokens.begin() + done, tokens.begin() + done + count});
    made.insert(made.end(), part.begin(), part.end());
  }
  CHECK(made.size() == expected.size());
  CHECK_NEAR(relative_error(made, expected), 0, config.f32 ? 1e-5 : 8e-3);
}

TEST("a long step attends as many short ones do") {
  if (!has_gpu()) return;
  const std::vector<int> lengths = tiny::is_emulated() ? std::vector{0, 270} : std::vector{0, 77, 3000};
  for (int filled : lengths) {
    expect_same_in_pieces(long_config(128, 8, 2, false), filled);
    expect_same_in_pieces(long_config(128, 7, 1, false), filled);
    expect_same_in_pieces(long_config(64, 4, 4, false), filled);
    expect_same_in_pieces(long_config(256, 4, 1, false), filled);
    expect_same_in_pieces(long_config(128, 4, 1, true), filled);
    Config windowed = long_config(128, 8, 2, false);
    windowed.sliding_window = tiny::is_emulated() ? 33 : 333;
    expect_same_in_pieces(windowed, filled);
    for (bool f32 : {false, true}) {
      Config placed = long_config(128, 8, 2, f32);
      placed.host_layers = 2;
      expect_same_in_pieces(placed, filled);
    }
  }
}

TEST("more than a GPU's memory is refused with the figures") {
  if (!has_gpu()) return;
  Config config = long_config(256, 32, 32, false);
  config.device = 0;
  config.kv_blocks = 1 << 20;
  Engine engine;
  CHECK(engine.load(tiny::make_model(config)) == SOUNDER_OUT_OF_MEMORY);
  CHECK(engine.error().find("GiB") != std::string::npos);
}
