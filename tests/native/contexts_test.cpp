// SPDX-License-Identifier: Apache-2.0
//
// Contexts and steps through the ABI: fork, truncate, stale ids, failures that stay alone.
#include <algorithm>

#include "check.h"
#include "test_engine.h"

namespace {

using tiny::Config;
using tiny::Engine;
using tiny::Sequence;

struct Loaded : Engine {
  explicit Loaded(const Config &config = {}) { CHECK(load(tiny::make_model(config)) == SOUNDER_OK); }
  // Appends tokens and returns the greedy next one.
  int32_t feed(int32_t context, const std::vector<int32_t> &tokens) {
    tiny::StepResult result = step({Sequence{context, tokens}});
    CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_OK);
    return result.sampled[0];
  }
  // Log-probabilities of a fixed continuation: a fingerprint of a context's KV.
  std::vector<float> fingerprint(int32_t context) {
    int32_t probe = sounder_context_fork(handle(), context, length(context));
    Sequence sequence{probe, {5, 9, 13, 17}};
    sequence.with(SOUNDER_STEP_SCORE, 1).with(SOUNDER_STEP_NEXT_TOKEN, 3);
    tiny::StepResult result = step({sequence});
    CHECK(result.statuses[0] == SOUNDER_OK);
    sounder_context_free(handle(), probe);
    return result.given;
  }
  int free_blocks() { return int(figure(SOUNDER_INFO_KV_BLOCKS_FREE)); }
};

Config deterministic() {
  Config config;
  config.deterministic = tiny::has_deterministic();
  return config;
}

}  // namespace

TEST("a fork equals a context that got the same tokens, at a block's edge and inside it") {
  Loaded engine(deterministic());
  std::vector<int32_t> tokens = tiny::random_tokens(300, 99, 1);
  int32_t source = engine.create();
  engine.feed(source, tokens);
  for (int length : {0, 1, 127, 128, 129, 256, 299, 300}) {
    int32_t fork = sounder_context_fork(engine.handle(), source, length);
    CHECK(fork > 0 && engine.length(fork) == length);
    int32_t fresh = engine.create();
    if (length > 0) engine.feed(fresh, {tokens.begin(), tokens.begin() + length});
    CHECK(tiny::same(engine.fingerprint(fork), engine.fingerprint(fresh)));
    sounder_context_free(engine.handle(), fork);
    sounder_context_free(engine.handle(), fresh);
  }
  CHECK(engine.free_blocks() == 24 - 3);
}

TEST("a fork goes its own way and leaves its source as it was") {
  Loaded engine(deterministic());
  int32_t source = engine.create();
  engine.feed(source, tiny::random_tokens(200, 99, 2));
  std::vector<float> before = engine.fingerprint(source);
  int32_t fork = sounder_context_fork(engine.handle(), source, 150);
  engine.feed(fork, tiny::random_tokens(120, 99, 3));
  CHECK(tiny::same(engine.fingerprint(source), before));
  // Truncated inside a shared block, then written: the block is copied first.
  int32_t second = sounder_context_fork(engine.handle(), source, 200);
  CHECK(sounder_context_truncate(engine.handle(), second, 100) == SOUNDER_OK);
  engine.feed(second, tiny::random_tokens(60, 99, 4));
  CHECK(tiny::same(engine.fingerprint(source), before));
  // And the other way round: the source writes where a fork still reads.
  std::vector<float> of_second = engine.fingerprint(second);
  int32_t third = sounder_context_fork(engine.handle(), source, 128);
  std::vector<float> of_third = engine.fingerprint(third);
  CHECK(sounder_context_truncate(engine.handle(), source, 64) == SOUNDER_OK);
  engine.feed(source, tiny::random_tokens(90, 99, 5));
  CHECK(tiny::same(engine.fingerprint(third), of_third));
  CHECK(tiny::same(engine.fingerprint(second), of_second));
}

TEST("truncating and feeding the same tokens again restores a context, and blocks come back") {
  Loaded engine(deterministic());
  std::vector<int32_t> tokens = tiny::random_tokens(290, 99, 6);
  int32_t context = engine.create();
  engine.feed(context, tokens);
  CHECK(engine.free_blocks() == 24 - 3);
  std::vector<float> before = engine.fingerprint(context);
  for (int length : {289, 256, 200, 128, 127, 1, 0}) {
    CHECK(sounder_context_truncate(engine.handle(), context, length) == SOUNDER_OK);
    CHECK(engine.length(context) == length);
    CHECK(engine.free_blocks() == 24 - (length + 127) / 128);
    engine.feed(context, {tokens.begin() + length, tokens.end()});
    // Other chunks round differently.
    std::vector<float> after = engine.fingerprint(context);
    for (size_t i = 0; i < before.size(); ++i) CHECK_NEAR(after[i], before[i], 1e-4);
  }
  CHECK(sounder_context_truncate(engine.handle(), context, 291) == SOUNDER_INVALID);
  CHECK(sounder_context_truncate(engine.handle(), context, -1) == SOUNDER_INVALID);
  CHECK(sounder_context_fork(engine.handle(), context, 291) == SOUNDER_INVALID);
  CHECK(engine.error() == "Cannot fork context " + std::to_string(context) + " at 291 tokens: it has 290.");
  CHECK(sounder_context_fork(engine.handle(), context, -1) == SOUNDER_INVALID);
  CHECK(sounder_context_free(engine.handle(), context) == SOUNDER_OK);
  CHECK(engine.free_blocks() == 24);
}

TEST("-1 stands for the token that was sampled last, and for nothing else") {
  Loaded engine(deterministic());
  int32_t a = engine.create(), b = engine.create();
  std::vector<int32_t> tokens = tiny::random_tokens(20, 99, 7);
  int32_t next = engine.feed(a, tokens);
  engine.feed(b, tokens);
  for (int i = 0; i < 5; ++i) {
    int32_t from_id = engine.feed(a, {next});
    CHECK(engine.feed(b, {SOUNDER_LAST_SAMPLED}) == from_id);
    next = from_id;
  }
  CHECK(tiny::same(engine.fingerprint(a), engine.fingerprint(b)));
  auto status_of = [&](int32_t context, std::vector<int32_t> given) {
    return engine.step({Sequence{context, given}}).statuses[0];
  };
  // Only first, not in a new context, not after tokens that nothing was sampled after, not after a cut.
  CHECK(status_of(b, {3, SOUNDER_LAST_SAMPLED}) == SOUNDER_INVALID);
  CHECK(status_of(engine.create(), {SOUNDER_LAST_SAMPLED}) == SOUNDER_INVALID);
  int32_t whole = sounder_context_fork(engine.handle(), b, 25);
  int32_t part = sounder_context_fork(engine.handle(), b, 24);
  CHECK(status_of(whole, {SOUNDER_LAST_SAMPLED}) == SOUNDER_OK);
  CHECK(status_of(part, {SOUNDER_LAST_SAMPLED}) == SOUNDER_INVALID);
  CHECK(engine.step({Sequence{a, {1}}.with(SOUNDER_STEP_SAMPLE, 0)}).sampled[0] == -1);
  CHECK(status_of(a, {SOUNDER_LAST_SAMPLED}) == SOUNDER_INVALID);
  CHECK(sounder_context_truncate(engine.handle(), b, 25) == SOUNDER_OK);
  CHECK(sounder_context_truncate(engine.handle(), b, 10) == SOUNDER_OK);
  CHECK(status_of(b, {SOUNDER_LAST_SAMPLED}) == SOUNDER_INVALID);
  CHECK(engine.length(b) == 10);
}

TEST("a stale id is an error, whatever took its place") {
  Loaded engine;
  std::vector<int32_t> stale;
  for (int i = 0; i < 1000; ++i) {
    int32_t context = engine.create();
    CHECK(context > 0);
    CHECK(std::find(stale.begin(), stale.end(), context) == stale.end());
    CHECK(sounder_context_free(engine.handle(), context) == SOUNDER_OK);
    stale.push_back(context);
  }
  std::vector<int32_t> live;
  for (int i = 0; i < 8; ++i) live.push_back(engine.create());
  CHECK(engine.create() == SOUNDER_INVALID);
  CHECK(engine.error() == "All 8 contexts are in use; free one first.");
  stale.insert(stale.end(), {0, -1, INT32_MIN, INT32_MAX, 7, 65536 + 9});
  for (int32_t id : stale) {
    CHECK(engine.length(id) == SOUNDER_UNKNOWN_CONTEXT);
    CHECK(sounder_context_free(engine.handle(), id) == SOUNDER_UNKNOWN_CONTEXT);
    CHECK(sounder_context_truncate(engine.handle(), id, 0) == SOUNDER_UNKNOWN_CONTEXT);
    CHECK(sounder_context_fork(engine.handle(), id, 0) == SOUNDER_UNKNOWN_CONTEXT);
    CHECK(sounder_cancel(engine.handle(), id) == SOUNDER_UNKNOWN_CONTEXT);
    CHECK(sounder_progress(engine.handle(), id) == SOUNDER_UNKNOWN_CONTEXT);
    CHECK(engine.step({Sequence{id, {1}}}).statuses[0] == SOUNDER_UNKNOWN_CONTEXT);
  }
  for (int32_t id : live) CHECK(engine.length(id) == 0);
  CHECK(engine.figure(SOUNDER_INFO_CONTEXTS) == 8);
}

TEST("a sequence that fails fails alone, and its context is as it was") {
  Config config = deterministic();
  config.context = 500;
  config.kv_blocks = 8;
  config.max_step_tokens = 700;
  Loaded engine(config);
  int32_t good = engine.create(), full = engine.create(), large = engine.create(), bad = engine.create();
  std::vector<int32_t> tokens = tiny::random_tokens(100, 99, 8);
  engine.feed(full, tiny::random_tokens(300, 99, 9));
  engine.feed(bad, tokens);
  std::vector<float> of_full = engine.fingerprint(full), of_bad = engine.fingerprint(bad);
  int free_before = engine.free_blocks();

  std::vector<int32_t> wrong = {1, 2, 99};
  tiny::StepResult result = engine.step(
      {Sequence{full, tiny::random_tokens(201, 99, 1)}, Sequence{good, tokens},
       Sequence{large, tiny::random_tokens(390, 99, 1)}, Sequence{bad, wrong}, Sequence{12345, {1}}});
  CHECK(result.status == SOUNDER_OK);
  CHECK(result.statuses == (std::vector<int32_t>{SOUNDER_CONTEXT_FULL, SOUNDER_OK, SOUNDER_OUT_OF_BLOCKS,
                                                 SOUNDER_INVALID, SOUNDER_UNKNOWN_CONTEXT}));
  CHECK(engine.error() == "Context 12345: There is no context 12345; it was freed or never created.");
  CHECK(result.sampled[0] == -1 && result.sampled[1] >= 0 && result.sampled[2] == -1 &&
        result.sampled[3] == -1);
  CHECK(engine.length(full) == 300 && engine.length(large) == 0 && engine.length(bad) == 100);
  CHECK(engine.length(good) == 100);
  CHECK(engine.free_blocks() == free_before - 1);
  CHECK(tiny::same(engine.fingerprint(full), of_full) && tiny::same(engine.fingerprint(bad), of_bad));

  int32_t alone = engine.create();
  CHECK(engine.feed(alone, tokens) == result.sampled[1]);
  CHECK(tiny::same(engine.fingerprint(good), engine.fingerprint(alone)));
}

TEST("when blocks run out a fork and a copied block fail too, and nothing changes") {
  Config config;
  config.kv_blocks = 3;
  Loaded engine(config);
  int32_t source = engine.create();
  engine.feed(source, tiny::random_tokens(300, 99, 1));
  CHECK(sounder_context_fork(engine.handle(), source, 300) == SOUNDER_OUT_OF_BLOCKS);
  CHECK(engine.figure(SOUNDER_INFO_CONTEXTS) == 1);
  int32_t fork = sounder_context_fork(engine.handle(), source, 256);
  CHECK(fork > 0);
  // 200 tokens lie in a block that is shared: one more needs a copy, and there is no block for it.
  CHECK(sounder_context_truncate(engine.handle(), fork, 200) == SOUNDER_OK);
  CHECK(engine.step({Sequence{fork, {1}}}).statuses[0] == SOUNDER_OUT_OF_BLOCKS);
  CHECK(engine.error() ==
        "Context " + std::to_string(fork) + ": 1 new tokens take 1 KV blocks; 0 of 3 are free.");
  CHECK(engine.length(fork) == 200);
  CHECK(sounder_context_truncate(engine.handle(), source, 256) == SOUNDER_OK);
  CHECK(engine.step({Sequence{fork, {1}}}).statuses[0] == SOUNDER_OK);
  CHECK(engine.free_blocks() == 0);
  CHECK(sounder_context_free(engine.handle(), source) == SOUNDER_OK);
  CHECK(engine.free_blocks() == 1);
  CHECK(sounder_context_free(engine.handle(), fork) == SOUNDER_OK);
  CHECK(engine.free_blocks() == 3);
}

TEST("logits that are not finite fail their sequence alone") {
  tiny::Model model = tiny::make_model({});
  // Dimension 0 of the residual stream is 0 but for token 7, and then the feed-forward block overflows.
  for (tiny::Tensor &tensor : model.tensors) {
    auto column = [&](float value) {
      for (int row = 0; row < tensor.rows; ++row) tensor.values[size_t(row) * tensor.columns] = value;
    };
    if (tensor.role == SOUNDER_ROLE_EMBEDDING) column(0), tensor.values[7 * 40] = 1;
    if (tensor.role == SOUNDER_ROLE_GATE || tensor.role == SOUNDER_ROLE_UP) column(1e38f);
    if (tensor.role == SOUNDER_ROLE_ATTENTION_OUTPUT || tensor.role == SOUNDER_ROLE_DOWN) {
      std::fill_n(tensor.values.begin(), tensor.columns, 0.0f);
    }
  }
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);
  int32_t good = engine.create(), bad = engine.create(), scored = engine.create();
  tiny::StepResult result = engine.step(
      {Sequence{bad, {1, 7}}, Sequence{good, {1, 2}}, Sequence{scored, {7, 1}}.with(SOUNDER_STEP_SCORE, 1)});
  CHECK(result.status == SOUNDER_OK);
  CHECK(result.statuses == (std::vector<int32_t>{SOUNDER_NOT_FINITE, SOUNDER_OK, SOUNDER_NOT_FINITE}));
  CHECK(result.sampled[0] == -1 && result.sampled[1] >= 0 && result.sampled[2] == -1);
  CHECK(engine.length(bad) == 0 && engine.length(good) == 2 && engine.length(scored) == 0);
}
