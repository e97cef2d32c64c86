// SPDX-License-Identifier: Apache-2.0
//
// Answers whose tokens a GPU chooses run one step ahead of their caller: they are those of steps that are
// asked for one by one, and what was queued in vain leaves no trace.
#include "device_small.h"

using namespace device_small;

namespace {

using tiny::has_gpu;

struct Sampling {
  float temperature = 0, top_p = 0.9f, min_p = 0;
  int top_k = 30, seed = 11;
};

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};

struct World {
  World(int host_layers, bool is_sampled) : sampled(is_sampled) {
    CHECK(engine.load(tiny::make_model(config_of(host_layers, sampled))) == SOUNDER_OK);
  }
  // A context, and the token that it goes on by.
  int32_t prompt(int32_t &next, int seed = 1) {
    next = 10 + seed;
    return device_small::prompt(engine, seed);
  }
  Sequence sequence(int32_t context, std::vector<int32_t> tokens) const {
    return sampled ? sampling(context, std::move(tokens)) : Sequence{context, std::move(tokens)};
  }
  // Goes on from a token. Where alternatives are asked for, every step is computed when it is called for, and
  // the CPU chooses.
  Answer go_on(int32_t context, int32_t token, int count, bool ahead, const Sampling &how = {}) {
    Answer answer;
    for (int i = 0; i < count; ++i) {
      Sequence own = sequence(context, {token});
      own.with_float(SOUNDER_STEP_TEMPERATURE, how.temperature).with_float(SOUNDER_STEP_TOP_P, how.top_p);
      own.with_float(SOUNDER_STEP_MIN_P, how.min_p);
      own.with(SOUNDER_STEP_SEED_LOW, how.seed).with(SOUNDER_STEP_TOP_K, how.top_k);
      const StepResult made = engine.step({own.with(SOUNDER_STEP_ALTERNATIVES, ahead ? 0 : 1)});
      CHECK(made.status == SOUNDER_OK && made.statuses[0] == SOUNDER_OK);
      answer.tokens.push_back(token = made.sampled[0]);
      answer.logprobs.push_back(made.logprobs[0]);
    }
    return answer;
  }
  void expect_same(const Answer &made, const Answer &expected) {
    CHECK(made.tokens == expected.tokens);
    for (size_t i = 0; i < made.logprobs.size(); ++i)
      CHECK_NEAR(made.logprobs[i], expected.logprobs[i], 1e-4);
  }

  Engine engine;
  bool sampled;
};

template <typename Body>
void for_worlds(const Body &body) {
  if (!has_gpu()) return;
  for (const auto &[host_layers, sampled] : {std::pair{0, true}, {1, false}, {1, true}}) {
    World world(host_layers, sampled);
    body(world);
  }
}

}  // namespace

TEST("an answer that runs ahead is the one that is asked for step by step, over blocks that fill") {
  for_worlds([](World &world) {
    int32_t next = 0, same = 0;
    const int32_t ahead = world.prompt(next), plain = world.prompt(same);
    world.expect_same(world.go_on(ahead, next, 14, true), world.go_on(plain, same, 14, false));
  });
}

// A step of another context would end what is queued ahead: so those of the plain one come first.
TEST("tokens that a GPU draws run ahead too, and are those that the CPU draws") {
  // What was queued for one of them is not taken by the next one.
  constexpr Sampling kHows[] = {
      {2}, {3}, {3, 0.8f}, {3, 0.8f, 0.01f}, {3, 0.8f, 0.01f, 12}, {3, 0.8f, 0.01f, 12, 7}, {0}};
  for_worlds([&](World &world) {
    std::vector<Answer> expected;
    for (const bool is_ahead : {false, true}) {
      int32_t token = 0;
      const int32_t context = world.prompt(token);
      for (size_t i = 0; i < std::size(kHows); ++i) {
        const Answer drawn = world.go_on(context, token, 5, is_ahead, kHows[i]);
        if (is_ahead)
          world.expect_same(drawn, expected[i]);
        else
          expected.push_back(drawn);
        token = drawn.tokens.back();
      }
    }
    int32_t token = 0;
    const int32_t greedy = world.prompt(token);
    CHECK(expected[0].tokens != world.go_on(greedy, token, 5, true).tokens);
  });
}

TEST("what ran ahead in vain leaves no trace when the context goes on by another token") {
  for_worlds([](World &world) {
    int32_t next = 0, same = 0;
    const int32_t ahead = world.prompt(next), plain = world.prompt(same);
    Answer answers[2][3];
    for (const bool is_ahead : {false, true}) {
      const int32_t context = is_ahead ? ahead : plain;
      answers[is_ahead][0] = world.go_on(context, next, 6, is_ahead);
      answers[is_ahead][1] = world.go_on(context, 17, 6, is_ahead);
      // The same length again, by other tokens.
      CHECK(sounder_context_truncate(world.engine.handle(), context, kPromptTokens + 2) == SOUNDER_OK);
      answers[is_ahead][2] = world.go_on(context, 5, 6, is_ahead);
    }
    for (int i = 0; i < 3; ++i) world.expect_same(answers[1][i], answers[0][i]);
  });
}

TEST("what ran ahead in vain leaves no trace in blocks that others take") {
  for_worlds([](World &world) {
    int32_t next = 0, other = 0;
    const int32_t source = world.prompt(other, 2);
    const Answer begun = world.go_on(source, other, 7, false);
    const int32_t plain = sounder_context_fork(world.engine.handle(), source, kPromptTokens + 7);
    const Answer expected = world.go_on(plain, begun.tokens.back(), 4, false);
    const int32_t last = world.prompt(next);
    world.go_on(last, next, 5, true);
    CHECK(sounder_context_free(world.engine.handle(), last) == SOUNDER_OK);
    // Its three blocks are the lowest that are free, and each fork takes one for its copy of the last block's
    // rows: the third one takes the block that the step queued ahead writes to.
    int32_t taker = 0;
    for (int i = 0; i < 3; ++i)
      taker = sounder_context_fork(world.engine.handle(), source, kPromptTokens + 7);
    world.expect_same(world.go_on(taker, begun.tokens.back(), 4, true), expected);
  });
}

TEST("contexts run ahead together, until one asks for more than its next token") {
  for_worlds([](World &world) {
    int32_t next[2], same[2];
    int32_t ahead[2], plain[2];
    for (int i = 0; i < 2; ++i) {
      ahead[i] = world.prompt(next[i], i + 1);
      plain[i] = world.prompt(same[i], i + 1);
    }
    for (int step = 0; step < 10; ++step) {
      Sequence a = world.sequence(ahead[0], {next[0]}), b = world.sequence(ahead[1], {next[1]});
      if (step == 6) b.with_float(SOUNDER_STEP_REPETITION_PENALTY, 1.3f);
      const StepResult made = world.engine.step({a, b});
      Sequence c = world.sequence(plain[0], {same[0]}), d = world.sequence(plain[1], {same[1]});
      if (step == 6) d.with_float(SOUNDER_STEP_REPETITION_PENALTY, 1.3f);
      c.with(SOUNDER_STEP_ALTERNATIVES, 1), d.with(SOUNDER_STEP_ALTERNATIVES, 1);
      const StepResult expected = world.engine.step({c, d});
      CHECK(made.sampled == expected.sampled);
      for (int i = 0; i < 2; ++i) next[i] = made.sampled[size_t(i)], same[i] = expected.sampled[size_t(i)];
    }
  });
}
