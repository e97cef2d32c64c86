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

// A model whose largest step takes long enough to interfere with.
Config slow_config() {
  Config config;
  config.layers = 48;
  config.hidden = 256;
  config.intermediate = 1024;
  config.heads = 8;
  config.kv_heads = 4;
  config.head_dim = config.rope_dims = 32;
  config.kv_blocks = 40;
  config.max_step_tokens = 1000;
  config.context = 4000;
  return config;
}

void load_dummy(Engine &engine, const Config &config) {
  CHECK(engine.load(tiny::make_model(config), nullptr) == SOUNDER_OK);
}

// Runs a step on a thread of its own and calls during() once it is under way.
template <typename During>
tiny::StepResult during_step(Engine &engine, const std::vector<Sequence> &batch, const During &during) {
  tiny::StepResult result;
  std::atomic<bool> ended{false};
  std::thread thread([&] {
    result = engine.step(batch);
    ended = true;
  });
  while (!ended && sounder_progress(engine.handle(), batch[0].context) <= 0) std::this_thread::yield();
  CHECK(!ended);
  during();
  thread.join();
  return result;
}

}  // namespace

TEST("cancelling one context ends its part, and the others do not notice") {
  Engine engine;
  Config config = slow_config();
  config.deterministic = true;
  load_dummy(engine, config);
  int32_t kept = engine.create(), cancelled = engine.create(), alone = engine.create();
  std::vector<int32_t> tokens = tiny::random_tokens(100, 99, 1);
  tiny::StepResult expected = engine.step({Sequence{alone, tokens}});
  CHECK(sounder_cancel(engine.handle(), cancelled) == SOUNDER_OK);  // in no step: nothing happens
  tiny::StepResult result =
      during_step(engine, {Sequence{cancelled, tiny::random_tokens(800, 99, 2)}, Sequence{kept, tokens}},
                  [&] { CHECK(sounder_cancel(engine.handle(), cancelled) == SOUNDER_OK); });
  CHECK(result.status == SOUNDER_OK);
  CHECK(result.statuses == (std::vector<int32_t>{SOUNDER_CANCELLED, SOUNDER_OK}));
  CHECK(result.sampled[0] == -1 && result.sampled[1] == expected.sampled[0]);
  CHECK(result.logprobs[1] == expected.logprobs[0]);
  CHECK(engine.length(cancelled) == 0 && engine.length(kept) == 100);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 38);
  CHECK(sounder_progress(engine.handle(), kept) == 0);
  CHECK(engine.step({Sequence{cancelled, tokens}}).sampled[0] == expected.sampled[0]);
}

TEST("while a step runs, a second one and changes of its contexts are refused, other calls work") {
  Engine engine;
  load_dummy(engine, slow_config());
  int32_t busy = engine.create(), other = engine.create();
  tiny::StepResult result = during_step(engine, {Sequence{busy, tiny::random_tokens(1000, 99, 2)}}, [&] {
    CHECK(engine.step({Sequence{other, {1}}}).status == SOUNDER_BUSY);
    CHECK(sounder_load(engine.handle()) == SOUNDER_BUSY);
    CHECK(sounder_context_free(engine.handle(), busy) == SOUNDER_BUSY);
    CHECK(sounder_context_truncate(engine.handle(), busy, 0) == SOUNDER_BUSY);
    CHECK(sounder_context_fork(engine.handle(), busy, 0) == SOUNDER_BUSY);
    CHECK(engine.length(busy) == 0);
    int32_t progress = sounder_progress(engine.handle(), busy);
    CHECK(progress > 0 && progress <= 1000);
    CHECK(sounder_progress(engine.handle(), other) == 0);
    int32_t fresh = engine.create();
    CHECK(fresh > 0 && sounder_context_fork(engine.handle(), other, 0) > 0);
    CHECK(sounder_context_free(engine.handle(), fresh) == SOUNDER_OK);
    CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40 - 8);
    CHECK(sounder_stop(engine.handle()) == SOUNDER_OK);
  });
  CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_CANCELLED);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS_FREE) == 40);
  // Stopping stops that step only.
  CHECK(engine.step({Sequence{busy, {1, 2}}}).statuses[0] == SOUNDER_OK);
}

TEST("closing an engine ends its step first") {
  sounder_engine *handle;
  tiny::StepResult result;
  std::atomic<int32_t> context{0};
  Engine *engine = new Engine;
  load_dummy(*engine, slow_config());
  handle = engine->handle();
  context = engine->create();
  std::thread thread([&] { result = engine->step({Sequence{context, tiny::random_tokens(1000, 99, 2)}}); });
  while (sounder_progress(handle, context) <= 0) std::this_thread::yield();
  delete engine;
  thread.join();
  CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_CANCELLED);
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
