// SPDX-License-Identifier: Apache-2.0
//
// Calls from several threads at once: cancelling, stopping, closing, and what is refused meanwhile.
#include <atomic>
#include <thread>

#include "check.h"
#include "test_engine.h"

namespace {

using tiny::Config;
using tiny::Engine;
using tiny::Sequence;

// A model whose largest step takes some time.
Config slow_config() {
  Config config;
  config.layers = 40;
  config.hidden = 128;
  config.intermediate = 256;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = config.rope_dims = 32;
  config.kv_blocks = 40;
  config.max_step_tokens = 1000;
  config.context = 4000;
  return config;
}

void load_dummy(Engine &engine, const Config &config) {
  CHECK(engine.load(tiny::make_model(config), nullptr) == SOUNDER_OK);
}

// Runs a step of new contexts on a thread of its own and calls during() once it is under way. What during()
// does last cancels at least one of them; where it came too late for that, all is tried again. Returns the
// step that was caught.
template <typename During>
tiny::StepResult during_step(Engine &engine, std::vector<Sequence> &batch, const During &during) {
  for (int attempt = 0; attempt < 200; ++attempt) {
    for (Sequence &sequence : batch) sequence.context = engine.create();
    tiny::StepResult result;
    std::atomic<bool> ended{false};
    std::thread thread([&] {
      result = engine.step(batch);
      ended = true;
    });
    while (!ended && sounder_progress(engine.handle(), batch[0].context) <= 0) std::this_thread::yield();
    during();
    thread.join();
    for (int32_t status : result.statuses) {
      if (status == SOUNDER_CANCELLED) return result;
    }
    for (const Sequence &sequence : batch) sounder_context_free(engine.handle(), sequence.context);
  }
  CHECK(false);
  return {};
}

}  // namespace

TEST("cancelling one context ends its part, and the others do not notice") {
  Engine engine;
  Config config = slow_config();
  config.deterministic = tiny::has_deterministic();
  load_dummy(engine, config);
  int32_t alone = engine.create();
  std::vector<int32_t> tokens = tiny::random_tokens(100, 99, 1);
  tiny::StepResult expected = engine.step({Sequence{alone, tokens}});
  CHECK(sounder_cancel(engine.handle(), alone) == SOUNDER_OK);  // in no step: nothing happens
  std::vector<Sequence> batch = {Sequence{0, tiny::random_tokens(500, 99, 2)}, Sequence{0, tokens}};
  tiny::StepResult result = during_step(
      engine, batch, [&] { CHECK(sounder_cancel(engine.handle(), batch[0].context) == SOUNDER_OK); });
  int32_t cancelled = batch[0].context, kept = batch[1].context;
  CHECK(result.status == SOUNDER_OK);
  CHECK(result.statuses == (std::vector<int32_t>{SOUNDER_CANCELLED, SOUNDER_OK}));
  CHECK(result.sampled[0] == -1 && result.sampled[1] == expected.sampled[0]);
  CHECK(tiny::same(result.logprobs[1], expected.logprobs[0]));
  CHECK(engine.length(cancelled) == 0 && engine.length(kept) == 100);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 38);
  CHECK(sounder_progress(engine.handle(), kept) == 0);
  CHECK(engine.step({Sequence{cancelled, tokens}}).sampled[0] == expected.sampled[0]);
}

TEST("while a step runs, a second one and changes of its contexts are refused, other calls work") {
  Engine engine;
  load_dummy(engine, slow_config());
  int32_t other = engine.create();
  std::vector<Sequence> batch = {Sequence{0, tiny::random_tokens(1000, 99, 2)}};
  struct Seen {
    int32_t step, load, free, truncate, fork, length, progress, other_progress, created, forked, freed;
    int64_t free_blocks;
  } seen{};
  tiny::StepResult result = during_step(engine, batch, [&] {
    sounder_engine *handle = engine.handle();
    int32_t busy = batch[0].context;
    seen.step = engine.step({Sequence{other, {1}}}).status;
    seen.load = sounder_load(handle);
    seen.free = sounder_context_free(handle, busy);
    seen.truncate = sounder_context_truncate(handle, busy, 0);
    seen.fork = sounder_context_fork(handle, busy, 0);
    seen.length = engine.length(busy);
    seen.progress = sounder_progress(handle, busy);
    seen.other_progress = sounder_progress(handle, other);
    seen.created = engine.create();
    seen.forked = sounder_context_fork(handle, other, 0);
    seen.free_blocks = engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE);
    seen.freed = sounder_context_free(handle, seen.created);
    sounder_context_free(handle, seen.forked);
    sounder_stop(handle);
    sounder_context_truncate(handle, other, 0);
  });
  CHECK(seen.step == SOUNDER_BUSY && seen.load == SOUNDER_BUSY && seen.free == SOUNDER_BUSY);
  CHECK(seen.truncate == SOUNDER_BUSY && seen.fork == SOUNDER_BUSY);
  CHECK(seen.length == 0 && seen.other_progress == 0);
  CHECK(seen.progress > 0 && seen.progress <= 1000);
  CHECK(seen.created > 0 && seen.forked > 0 && seen.freed == SOUNDER_OK);
  CHECK(seen.free_blocks == 40 - 8);
  CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_CANCELLED);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40);
  // Stopping stops that step only.
  CHECK(engine.step({Sequence{batch[0].context, {1, 2}}}).statuses[0] == SOUNDER_OK);
}

TEST("closing an engine waits for its step, and ends it if it is not through") {
  bool was_cancelled = false;
  for (int attempt = 0; attempt < 100 && !was_cancelled; ++attempt) {
    tiny::StepResult result;
    Engine *engine = new Engine;
    load_dummy(*engine, slow_config());
    int32_t context = engine->create();
    std::atomic<bool> ended{false};
    std::thread thread([&] {
      result = engine->step({Sequence{context, tiny::random_tokens(1000, 99, 2)}});
      ended = true;
    });
    while (!ended && sounder_progress(engine->handle(), context) <= 0) std::this_thread::yield();
    delete engine;
    thread.join();
    CHECK(result.status == SOUNDER_OK);
    was_cancelled = result.statuses[0] == SOUNDER_CANCELLED;
  }
  CHECK(was_cancelled);
}

TEST("a load can be stopped, refuses changes meanwhile, and can be repeated") {
  Config config;
  config.hidden = 512;
  config.vocabulary = 40000;
  config.f32 = false;
  // Only the shapes matter: the values are dummies.
  tiny::Model model = tiny::make_model(config);
  int32_t status = SOUNDER_OK, configured = 0, created = 0;
  for (int attempt = 0; attempt < 100 && status == SOUNDER_OK; ++attempt) {
    Engine engine;
    std::atomic<bool> ended{false};
    std::thread thread([&] {
      status = engine.load(model, nullptr);
      ended = true;
    });
    while (!ended && sounder_load_progress(engine.handle()) <= 0) std::this_thread::yield();
    configured = engine.configure(config);
    created = engine.create();
    sounder_stop(engine.handle());
    thread.join();
    if (status == SOUNDER_OK) continue;
    CHECK(engine.error() == "The load was stopped.");
    CHECK(engine.load(model, nullptr) == SOUNDER_OK && engine.create() > 0);
  }
  CHECK(status == SOUNDER_CANCELLED);
  CHECK(configured == SOUNDER_BUSY && created == SOUNDER_NOT_LOADED);
}

TEST("calls from many threads leave an engine whole") {
  Engine engine;
  Config config;
  config.max_contexts = 64;
  config.kv_blocks = 40;
  load_dummy(engine, config);
  std::atomic<int> steps{0}, unexpected{0};
  auto work = [&](uint64_t seed) {
    for (uint64_t i = 0; i < 60; ++i) {
      int32_t context = engine.create();
      int count = 1 + int(sounder::random_bits(seed, i, 0) % 150);
      tiny::StepResult result = engine.step({Sequence{context, tiny::random_tokens(count, 99, seed)}});
      if (result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_OK) ++steps;
      if (result.status != SOUNDER_OK && result.status != SOUNDER_BUSY) ++unexpected;
      int32_t fork = sounder_context_fork(engine.handle(), context, engine.length(context) / 2);
      sounder_cancel(engine.handle(), context);
      sounder_context_truncate(engine.handle(), fork, 0);
      if (sounder_context_free(engine.handle(), fork) != SOUNDER_OK) ++unexpected;
      if (sounder_context_free(engine.handle(), context) != SOUNDER_OK) ++unexpected;
      engine.error();
    }
  };
  std::thread a(work, 1), b(work, 2), c(work, 3);
  a.join();
  b.join();
  c.join();
  CHECK(unexpected == 0);
  CHECK(steps > 0);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40);
  CHECK(engine.figure(SOUNDER_INFO_CONTEXTS) == 0);
}
