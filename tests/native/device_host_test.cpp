// SPDX-License-Identifier: Apache-2.0
//
// Layers whose KV a GPU finds in host memory: steps of many contexts are those of an engine with all KV in
// the GPU's memory, whatever is staged, shared, unaligned or cancelled on the way.
#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "check.h"
#include "saved_files.h"
#include "test_engine.h"

namespace {

using tiny::Config;
using tiny::Engine;
using tiny::has_gpu;
using tiny::Sequence;
using tiny::StepResult;

Config config_of(int host_layers, bool f32) {
  Config config;
  config.layers = 4;
  config.head_dim = f32 ? 12 : 64;
  config.rope_dims = 12;
  config.f32 = f32;
  config.device = 0;
  config.host_layers = host_layers;
  config.context = 2048;
  config.kv_blocks = 64;
  config.max_step_tokens = 600;
  config.dense_layers = 1;
  return config;
}

// An engine with all KV on the GPU, and one with that of some layers in host memory. What is done to one is
// done to the other.
class Pair {
 public:
  Pair(int host_layers, bool f32) : tolerance_(f32 ? 1e-4 : 0.1) {
    CHECK(near.load(tiny::make_model(config_of(0, f32))) == SOUNDER_OK);
    CHECK(far.load(tiny::make_model(config_of(host_layers, f32))) == SOUNDER_OK);
  }
  int32_t create() {
    const int32_t context = near.create();
    CHECK(far.create() == context);
    return context;
  }
  int32_t fork(int32_t context, int tokens) {
    const int32_t made = sounder_context_fork(near.handle(), context, tokens);
    CHECK(sounder_context_fork(far.handle(), context, tokens) == made);
    return made;
  }
  void truncate(int32_t context, int tokens) {
    for (Engine *engine : {&near, &far})
      CHECK(sounder_context_truncate(engine->handle(), context, tokens) == SOUNDER_OK);
  }
  void free(int32_t context) {
    for (Engine *engine : {&near, &far}) CHECK(sounder_context_free(engine->handle(), context) == SOUNDER_OK);
  }
  void fill(int32_t context, int tokens) {
    for (Engine *engine : {&near, &far})
      CHECK(sounder_context_fill(engine->handle(), context, tokens, context) == SOUNDER_OK);
  }
  // The log-probabilities of all tokens that were given agree.
  void step(const std::vector<Sequence> &sequences) {
    const StepResult expected = near.step(sequences), made = far.step(sequences);
    CHECK(made.statuses == expected.statuses);
    CHECK(std::all_of(made.statuses.begin(), made.statuses.end(), [](int32_t s) { return s == SOUNDER_OK; }));
    for (const auto &[a, b] : {std::pair{&made.given, &expected.given}, {&made.logprobs, &expected.logprobs}})
      for (size_t i = 0; i < a->size(); ++i) CHECK_NEAR((*a)[i], (*b)[i], tolerance_);
  }

  Engine near, far;

 private:
  double tolerance_;
};

Sequence scored(int32_t context, int count, uint64_t seed) {
  Sequence sequence{context, tiny::random_tokens(count, 99, seed)};
  return sequence.with(SOUNDER_STEP_SCORE, seed % 2 == 0 ? 1 : 0).with(SOUNDER_STEP_SAMPLE, seed % 3 == 0);
}

// Contexts of many lengths take chunks of many sizes, beside decoding ones; some are forks, which share
// blocks and copy rows, some are cut short, some are filled.
void walk(int host_layers, bool f32, int steps) {
  Pair pair(host_layers, f32);
  std::vector<int32_t> contexts = {pair.create(), pair.create(), pair.create()};
  auto random = [&](uint64_t i, uint64_t what, int below) {
    return int(sounder::random_bits(uint64_t(17 + host_layers), i, what) % uint64_t(below));
  };
  pair.fill(contexts[0], 700);
  for (uint64_t i = 0; i < uint64_t(steps); ++i) {
    std::vector<Sequence> sequences;
    for (size_t c = 0; c < contexts.size(); ++c) {
      const int kind = random(i, 10 + c, 4), length = pair.near.length(contexts[c]);
      const int count = kind == 0 ? 1 : kind == 1 ? 1 + random(i, 20 + c, 20) : 1 + random(i, 30 + c, 150);
      if (length + count > 1000) pair.truncate(contexts[c], random(i, 40 + c, 900));
      if (kind < 3) sequences.push_back(scored(contexts[c], count, 100 * i + c));
    }
    if (sequences.empty()) continue;
    pair.step(sequences);
    const size_t at = size_t(random(i, 1, int(contexts.size())));
    const int length = pair.near.length(contexts[at]);
    if (random(i, 2, 3) == 0 && contexts.size() < 4)
      contexts.push_back(pair.fork(contexts[at], random(i, 3, length + 1)));
    else if (random(i, 2, 4) == 1 && contexts.size() > 2) {
      pair.free(contexts[at]);
      contexts.erase(contexts.begin() + int64_t(at));
    } else if (random(i, 2, 5) == 2 && length < 500) {
      pair.fill(contexts[at], 1 + random(i, 4, 300));
    }
    if (check::failures() > 0) return;
  }
}

}  // namespace

TEST("steps with layers in host memory are those with all KV on the GPU") {
  if (!has_gpu()) return;
  if (tiny::is_emulated()) return walk(3, true, 4);
  for (bool f32 : {true, false})
    for (int host_layers : {1, 3, 4}) walk(host_layers, f32, 40);
}

TEST("contexts that are cancelled amid a step are as before it, and the others go on") {
  if (!has_gpu()) return;
  Pair pair(3, true);
  const std::vector<int32_t> contexts = {pair.create(), pair.create(), pair.create()};
  for (int32_t context : contexts) pair.fill(context, 300);
  for (uint64_t i = 0; i < (tiny::is_emulated() ? 3 : 30); ++i) {
    std::vector<Sequence> sequences;
    for (size_t c = 0; c < 3; ++c) sequences.push_back(scored(contexts[c], 90, 6 * (10 * i + c)));
    const StepResult expected = pair.near.step(sequences);
    std::vector<Sequence> again;
    StepResult made;
    std::thread stepping([&] { made = pair.far.step(sequences); });
    std::this_thread::sleep_for(std::chrono::microseconds(100 * (i % 10)));
    for (size_t c = 0; c <= i % 3; ++c) sounder_cancel(pair.far.handle(), contexts[c]);
    stepping.join();
    size_t given = 0;
    for (size_t c = 0; c < 3; ++c, given += 90) {
      if (made.statuses[c] == SOUNDER_CANCELLED) {
        CHECK(pair.far.length(contexts[c]) == 300);
        const StepResult alone = pair.far.step({sequences[c]});
        CHECK(alone.statuses[0] == SOUNDER_OK);
        std::copy(alone.given.begin(), alone.given.end(), made.given.begin() + int64_t(given));
      } else {
        CHECK(made.statuses[c] == SOUNDER_OK);
      }
    }
    for (size_t k = 0; k < made.given.size(); ++k) CHECK_NEAR(made.given[k], expected.given[k], 1e-4);
    for (int32_t context : contexts) pair.truncate(context, 300);
    if (check::failures() > 0) return;
  }
}

TEST("a saved context is the same file whatever memory its layers lie in, and is restored everywhere") {
  if (!has_gpu()) return;
  std::vector<std::vector<uint8_t>> files;
  tiny::Folder folder;
  std::vector<std::unique_ptr<Engine>> engines;
  struct Place {
    int host_layers;  // -1: on the CPU
    int host_attention = SOUNDER_HOST_ATTENTION_GPU;
  };
  for (const Place &place : {Place{-1}, Place{0}, Place{2}, Place{4}, Place{3, SOUNDER_HOST_ATTENTION_CPU},
                             Place{2, SOUNDER_HOST_ATTENTION_SPLIT}}) {
    Config config = config_of(std::max(place.host_layers, 0), false);
    config.sketch_bits = 2;
    config.host_attention = place.host_attention;
    if (place.host_layers < 0) config.device = SOUNDER_DEVICE_CPU;
    engines.push_back(std::make_unique<Engine>());
    Engine &engine = *engines.back();
    CHECK(engine.load(tiny::make_model(config)) == SOUNDER_OK);
    const int32_t context = engine.create();
    CHECK(sounder_context_fill(engine.handle(), context, 700, 3) == SOUNDER_OK);
    const std::string path = folder.at(std::to_string(engines.size()));
    CHECK(tiny::save(engine, context, 700, path) == SOUNDER_OK);
    files.push_back(tiny::read_file(path));
    CHECK(!files.back().empty() && files.back() == files.front());
  }
  for (const std::unique_ptr<Engine> &engine : engines) {
    const int32_t context = tiny::restore(*engine, folder.at("3"));
    CHECK(context > 0);
    CHECK(tiny::save(*engine, context, 700, folder.at("again")) == SOUNDER_OK);
    CHECK(tiny::read_file(folder.at("again")) == files.front());
  }
}
