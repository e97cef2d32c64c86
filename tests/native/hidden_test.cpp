// SPDX-License-Identifier: Apache-2.0
//
// Sums of hidden states, as embeddings take them, against the captured rows.
#include <algorithm>

#include "check.h"
#include "test_engine.h"

namespace {

using tiny::Engine;
using tiny::Sequence;

const int kHidden = tiny::Config{}.hidden;

std::vector<float> hidden_of(Engine &engine, int sequence) {
  std::vector<float> values(kHidden, NAN);
  CHECK(sounder_step_hidden(engine.handle(), sequence, values.data(), kHidden) == kHidden);
  return values;
}

// The sum of the captured rows [first, end).
std::vector<double> sum_of_rows(const std::vector<float> &rows, int first, int end) {
  std::vector<double> sum(kHidden, 0.0);
  for (int row = first; row < end; ++row)
    for (int i = 0; i < kHidden; ++i) sum[i] += rows[size_t(row) * kHidden + i];
  return sum;
}

void expect_near(const std::vector<float> &values, const std::vector<double> &expected) {
  for (int i = 0; i < kHidden; ++i) CHECK_NEAR(values[i], expected[i], 1e-3);
}

Sequence asking(int32_t context, const std::vector<int32_t> &tokens) {
  return Sequence{context, tokens}.with(SOUNDER_STEP_SAMPLE, 0).with(SOUNDER_STEP_HIDDEN, 1);
}

}  // namespace

TEST("the sum is that of the final norm's rows, in one step or over several, whoever else is in it") {
  tiny::Model model = tiny::make_model({});
  std::vector<int32_t> tokens = tiny::random_tokens(150, model.config.vocabulary, 3);
  std::vector<int32_t> others = tiny::random_tokens(9, model.config.vocabulary, 4);
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);

  sounder_capture_enable(engine.handle(), 1);
  CHECK(engine.step({asking(engine.create(), tokens)}).statuses[0] == SOUNDER_OK);
  std::vector<double> expected = sum_of_rows(engine.captured(SOUNDER_CAPTURE_FINAL_NORM), 0, 150);
  expect_near(hidden_of(engine, 0), expected);
  sounder_capture_enable(engine.handle(), 0);

  int32_t context = engine.create(), sampling = engine.create(), scoring = engine.create();
  std::vector<double> sum(kHidden, 0.0);
  for (size_t done = 0; done < tokens.size();) {
    size_t count = std::min<size_t>(40, tokens.size() - done);
    std::vector<int32_t> part(tokens.begin() + done, tokens.begin() + done + count);
    // A neighbour that samples, and one that scores, on either side.
    Sequence scored = Sequence{scoring, others}.with(SOUNDER_STEP_SCORE, 1);
    tiny::StepResult result = engine.step({Sequence{sampling, others}, asking(context, part), scored});
    CHECK(result.status == SOUNDER_OK);
    CHECK(result.statuses == std::vector<int32_t>(3, SOUNDER_OK));
    CHECK(result.sampled[0] >= 0 && result.sampled[1] == -1 && result.sampled[2] == result.sampled[0]);
    CHECK(result.given[others.size() + count] < 0);
    std::vector<float> values = hidden_of(engine, 1);
    for (int i = 0; i < kHidden; ++i) sum[i] += values[i];
    done += count;
  }
  for (int i = 0; i < kHidden; ++i) CHECK_NEAR(sum[i], expected[i], 1e-3);
}

TEST("a context may sample and give its hidden states in the same step") {
  tiny::Model model = tiny::make_model({});
  std::vector<int32_t> tokens = tiny::random_tokens(30, model.config.vocabulary, 5);
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);
  tiny::StepResult plain = engine.step({Sequence{engine.create(), tokens}});
  tiny::StepResult both = engine.step({Sequence{engine.create(), tokens}.with(SOUNDER_STEP_HIDDEN, 1)});
  CHECK(both.sampled == plain.sampled);
  std::vector<float> values = hidden_of(engine, 0);
  CHECK(std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }));
  CHECK(std::any_of(values.begin(), values.end(), [](float value) { return value != 0; }));
}

TEST("who did not ask, or failed, has no hidden states") {
  tiny::Model model = tiny::make_model({});
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);
  float value;
  CHECK(sounder_step_hidden(engine.handle(), 0, &value, 1) == SOUNDER_INVALID);
  CHECK(engine.step({Sequence{engine.create(), {1, 2}}, asking(engine.create(), {-7})}).status == SOUNDER_OK);
  for (int sequence : {-1, 0, 1, 2}) {
    CHECK(sounder_step_hidden(engine.handle(), sequence, &value, 1) == SOUNDER_INVALID);
  }
  CHECK(engine.error() == "Sequence 2 of the last step has no hidden states.");
  CHECK(engine.step({asking(engine.create(), {1, 2})}).status == SOUNDER_OK);
  CHECK(sounder_step_hidden(engine.handle(), 0, nullptr, 0) == kHidden);
  CHECK(sounder_step_hidden(engine.handle(), 0, nullptr, 1) == SOUNDER_INVALID);
  Sequence wrong = asking(engine.create(), {1}).with(SOUNDER_STEP_HIDDEN, 2);
  CHECK(engine.step({wrong}).statuses[0] == SOUNDER_INVALID);
}
