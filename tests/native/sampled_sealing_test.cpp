// SPDX-License-Identifier: Apache-2.0
//
// The index of a context does not depend on how its tokens came.
#include "sampled_engine.h"

namespace {

using tiny::Asked;
using tiny::Config;
using tiny::SampledEngine;
using tiny::Sequence;

constexpr int kTokens = 900;

// Pieces that end with a block by turns lack its last token and bring that alone.
int32_t filled_with_single_tokens(SampledEngine &engine, const std::vector<int32_t> &tokens) {
  const int32_t context = engine.create();
  for (size_t at = 0; at < tokens.size();) {
    const size_t end = std::min(tokens.size(), at % 128 == 127 ? at + 1 : at + 127);
    tiny::StepResult result =
        engine.step({Sequence{context, {tokens.begin() + long(at), tokens.begin() + long(end)}}});
    CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_OK);
    at = end;
  }
  return context;
}

// The keys' last bits depend on what they are fed with, and so, by little, does the output.
TEST(
    "blocks are sealed alike whether a step brings many of them or their last token, however keys are "
    "centred") {
  for (int centring : {SOUNDER_CENTRING_BLOCK, SOUNDER_CENTRING_CONTEXT, SOUNDER_CENTRING_OFF}) {
    Config config = tiny::sampling_config();
    config.sketch_centring = centring;
    SampledEngine engine(config);
    const std::vector<int32_t> tokens = tiny::random_tokens(kTokens, config.vocabulary, 3);
    const int32_t whole = engine.filled(tokens, 512), single = filled_with_single_tokens(engine, tokens);
    const int32_t cut = engine.filled(tiny::random_tokens(kTokens + 300, config.vocabulary, 3));
    CHECK(sounder_context_truncate(engine.handle(), cut, 700) == SOUNDER_OK);
    engine.step({Sequence{cut, {tokens.begin() + 700, tokens.end()}}});
    for (int attention : {SOUNDER_ATTENTION_SKETCH, SOUNDER_ATTENTION_QUEST}) {
      const Asked asked{.attention = attention, .budget = 0.4f};
      for (uint64_t query = 0; query < 5; ++query) {
        const std::vector<float> q = engine.query(query), expected = engine.attend(whole, asked, q).output;
        CHECK(tiny::mean_error(engine.attend(single, asked, q).output, expected, config) < 1e-4);
        CHECK(tiny::mean_error(engine.attend(cut, asked, q).output, expected, config) < 1e-4);
      }
    }
  }
}

TEST("attending alone reports the difference to the exact output when asked to verify") {
  SampledEngine engine;
  const int32_t context = engine.filled(kTokens);
  const std::vector<float> q = engine.query(5), exact = engine.exact(context, q);
  const tiny::Attended plain = engine.attend(context, {.budget = 0.4f}, q);
  const tiny::Attended verified = engine.attend(context, {.budget = 0.4f, .verify = 1}, q);
  CHECK(plain.statistics[SOUNDER_STATISTIC_VERIFY_ERROR] == -1 && plain.output == verified.output);
  double square = 0;
  for (int head = 0; head < engine.config.heads; ++head) {
    const double error = tiny::head_error(verified.output, exact, head, engine.config.head_dim);
    square += error * error / engine.config.heads;
  }
  CHECK(square > 1e-6);
  CHECK_NEAR(verified.statistics[SOUNDER_STATISTIC_VERIFY_ERROR], std::sqrt(square),
             1e-4 * std::sqrt(square));
}

}  // namespace
