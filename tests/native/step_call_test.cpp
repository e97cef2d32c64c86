// SPDX-License-Identifier: Apache-2.0
//
// What sounder_step refuses: as a whole, or one sequence of it.
#include "check.h"
#include "test_engine.h"

namespace {

using tiny::Engine;
using tiny::Sequence;

struct Loaded : Engine {
  Loaded() { CHECK(load(tiny::make_model({}), nullptr) == SOUNDER_OK); }
};

}  // namespace

TEST("a call that is wrong as a whole runs nothing") {
  Loaded engine;
  int32_t a = engine.create(), b = engine.create();
  auto refused = [&](const std::vector<Sequence> &batch, const char *sentence) {
    CHECK(engine.step(batch).status == SOUNDER_INVALID);
    if (engine.error() != sentence) std::printf("  %s\n", engine.error().c_str());
    CHECK(engine.error() == sentence);
    CHECK(engine.length(a) == 0 && engine.length(b) == 0);
  };
  refused({}, "The number of contexts in the step is 0; it must be from 1 to 6.");
  refused(std::vector<Sequence>(7, Sequence{a, {1}}),
          "The number of contexts in the step is 7; it must be from 1 to 6.");
  refused({Sequence{a, {1}}, Sequence{b, {1}}, Sequence{a, {2}}},
          ("Context " + std::to_string(a) + " is in the step twice.").c_str());
  refused({Sequence{a, {1}}, Sequence{b, {}}},
          ("Context " + std::to_string(b) + " has 0 new tokens; a step takes at least one.").c_str());
  refused({Sequence{a, tiny::random_tokens(300, 99, 1)}, Sequence{b, tiny::random_tokens(101, 99, 1)}},
          "The step has 401 tokens; this engine takes at most 400.");
}

TEST("a step without one of its arrays is refused") {
  Loaded engine;
  int32_t context = engine.create(), one = 1, zero = 0;
  std::vector<int32_t> ints = Sequence::default_ints(), top(SOUNDER_MAX_ALTERNATIVES);
  std::vector<float> floats = {0, 1, 0, 1, 0, 0}, logprobs(SOUNDER_MAX_ALTERNATIVES),
                     statistics(SOUNDER_STATISTIC_COUNT), stage_ms(SOUNDER_STAGE_COUNT);
  int32_t status, sampled;
  float logprob;
  for (int missing = -1; missing < 12; ++missing) {
    auto unless = [&](int index, auto *pointer) { return missing == index ? nullptr : pointer; };
    int32_t result = sounder_step(engine.handle(), 1, unless(0, &context), unless(1, &one), unless(2, &zero),
                                  unless(3, ints.data()), unless(4, floats.data()), nullptr, nullptr, 0,
                                  nullptr, 0, unless(5, &status), unless(6, &sampled), unless(7, &logprob),
                                  unless(8, top.data()), unless(9, logprobs.data()), nullptr, nullptr,
                                  nullptr, unless(10, statistics.data()), unless(11, stage_ms.data()));
    CHECK(result == (missing < 0 ? SOUNDER_OK : SOUNDER_INVALID));
    CHECK(engine.length(context) == 1);
  }
  auto with_bias = [&](int32_t bias_count, int32_t allowed_rows) {
    return sounder_step(engine.handle(), 1, &context, &one, &zero, ints.data(), floats.data(), nullptr,
                        nullptr, bias_count, nullptr, allowed_rows, &status, &sampled, &logprob, top.data(),
                        logprobs.data(), nullptr, nullptr, nullptr, statistics.data(), stage_ms.data());
  };
  CHECK(with_bias(1, 0) == SOUNDER_INVALID);
  CHECK(with_bias(0, 1) == SOUNDER_INVALID);
  CHECK(with_bias(-1, 0) == SOUNDER_INVALID);
  CHECK(with_bias(0, -1) == SOUNDER_INVALID);
  // Scoring needs the array that it fills.
  ints[SOUNDER_STEP_SCORE] = 1;
  CHECK(with_bias(0, 0) == SOUNDER_OK && status == SOUNDER_INVALID);
}

TEST("numbers of one sequence that make no sense fail it alone, with a sentence") {
  Loaded engine;
  int32_t good = engine.create(), bad = engine.create();
  tiny::StepExtras extras{{5, 200, 6}, {1, 1, NAN}, std::vector<uint32_t>(4, 0xffffffff), 1};
  auto refused = [&](const Sequence &sequence, const std::string &sentence,
                     int32_t status = SOUNDER_INVALID) {
    int before = engine.length(good);
    tiny::StepResult result = engine.step({sequence, Sequence{good, {1}}}, extras);
    CHECK(result.status == SOUNDER_OK);
    CHECK(result.statuses == (std::vector<int32_t>{status, SOUNDER_OK}));
    std::string expected = "Context " + std::to_string(bad) + ": " + sentence;
    if (engine.error() != expected) std::printf("  %s\n", engine.error().c_str());
    CHECK(engine.error() == expected);
    CHECK(engine.length(bad) == 0 && engine.length(good) == before + 1);
  };
  const Sequence plain{bad, {1}};
  auto with = [&](int index, int32_t value) { return Sequence(plain).with(index, value); };
  auto with_float = [&](int index, float value) { return Sequence(plain).with_float(index, value); };
  refused(Sequence{bad, {99}}, "New token 0 is 99; the vocabulary has the tokens 0 to 98.");
  refused(Sequence{bad, {1, -2}}, "New token 1 is -2; the vocabulary has the tokens 0 to 98.");
  refused(with(SOUNDER_STEP_SAMPLE, 2), "The sample flag is 2; it must be from 0 to 1.");
  refused(with(SOUNDER_STEP_SCORE, -1), "The score flag is -1; it must be from 0 to 1.");
  refused(with(SOUNDER_STEP_TOP_K, -1), "The top_k is -1; it must be from 0 to 2147483647.");
  refused(with(SOUNDER_STEP_ALTERNATIVES, 21), "The number of alternatives is 21; it must be from 0 to 20.");
  refused(with(SOUNDER_STEP_PROMPT_TOKENS, -1),
          "The number of prompt tokens is -1; it must be from 0 to 2147483647.");
  refused(with(SOUNDER_STEP_ALLOWED_ROW, 1), "The row of allowed tokens is 1; it must be from -1 to 0.");
  refused(with(SOUNDER_STEP_BIAS_START, 2).with(SOUNDER_STEP_BIAS_COUNT, 2),
          "The 2 bias values from 2 on are not among the 3 of the step.");
  refused(with(SOUNDER_STEP_BIAS_COUNT, INT32_MAX),
          "The 2147483647 bias values from 0 on are not among the 3 of the step.");
  refused(with(SOUNDER_STEP_BIAS_COUNT, 2), "The token of a logit bias is 200; it must be from 0 to 98.");
  refused(with(SOUNDER_STEP_BIAS_START, 2).with(SOUNDER_STEP_BIAS_COUNT, 1),
          "The logit bias of token 6 is not finite.");
  refused(with(SOUNDER_STEP_SCORE, 1).with(SOUNDER_STEP_NEXT_TOKEN, 99),
          "The next token is 99; it must be from -1 to 98.");
  refused(with_float(SOUNDER_STEP_TEMPERATURE, -1), "The temperature is -1; it must be from 0 to 1e+06.");
  refused(with_float(SOUNDER_STEP_TEMPERATURE, NAN), "The temperature is nan; it must be from 0 to 1e+06.");
  refused(with_float(SOUNDER_STEP_TOP_P, 1.5f), "The top_p is 1.5; it must be from 0 to 1.");
  refused(with_float(SOUNDER_STEP_MIN_P, -0.5f), "The min_p is -0.5; it must be from 0 to 1.");
  refused(with_float(SOUNDER_STEP_REPETITION_PENALTY, 0),
          "The repetition penalty is 0; it must be from 1e-06 to 1e+06.");
  refused(with_float(SOUNDER_STEP_PRESENCE_PENALTY, INFINITY),
          "The presence penalty is inf; it must be from -1e+06 to 1e+06.");
  refused(with_float(SOUNDER_STEP_FREQUENCY_PENALTY, NAN),
          "The frequency penalty is nan; it must be from -1e+06 to 1e+06.");
  extras.allowed.assign(4, 0);
  refused(with(SOUNDER_STEP_ALLOWED_ROW, 0), "Its mask allows no token.", SOUNDER_NO_TOKEN);
}

TEST("bias, mask and penalties reach the sampler") {
  Loaded engine;
  auto sample = [&](const Sequence &sequence, const tiny::StepExtras &extras) {
    int32_t context = engine.create();
    Sequence own = sequence;
    own.context = context;
    tiny::StepResult result = engine.step({own}, extras);
    CHECK(result.statuses[0] == SOUNDER_OK);
    sounder_context_free(engine.handle(), context);
    return result.sampled[0];
  };
  Sequence plain{0, {1, 2, 3}};
  int32_t best = sample(plain, {});
  tiny::StepExtras bias{{8, 9, 10}, {50, 100, 50}, {}, 0};
  CHECK(sample(Sequence(plain).with(SOUNDER_STEP_BIAS_START, 1).with(SOUNDER_STEP_BIAS_COUNT, 2), bias) == 9);
  CHECK(sample(Sequence(plain).with(SOUNDER_STEP_BIAS_COUNT, 1), bias) == 8);
  CHECK(sample(plain, bias) == best);
  // Two rows of four words; the second allows token 70 only.
  tiny::StepExtras mask{{}, {}, {~0u, ~0u, ~0u, ~0u, 0, 0, 1u << 6, 0}, 2};
  CHECK(sample(Sequence(plain).with(SOUNDER_STEP_ALLOWED_ROW, 1), mask) == 70);
  CHECK(sample(Sequence(plain).with(SOUNDER_STEP_ALLOWED_ROW, 0), mask) == best);
  // All three tokens are generated and count: the presence penalty pushes them below all others.
  tiny::StepExtras among{{}, {}, {1u << 1 | 1u << 2 | 1u << 3 | 1u << 30, 0, 0, 0}, 1};
  Sequence penalised = Sequence(plain).with(SOUNDER_STEP_ALLOWED_ROW, 0);
  CHECK(sample(Sequence(penalised).with_float(SOUNDER_STEP_PRESENCE_PENALTY, 100), among) == 30);
  // As a prompt they do not count.
  CHECK(sample(Sequence(penalised)
                   .with_float(SOUNDER_STEP_PRESENCE_PENALTY, 100)
                   .with(SOUNDER_STEP_PROMPT_TOKENS, 3),
               among) == sample(penalised, among));
}
