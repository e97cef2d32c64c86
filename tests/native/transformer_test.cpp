// SPDX-License-Identifier: Apache-2.0
//
// The forward through the ABI, against the reference in double precision.
#include <algorithm>

#include "check.h"
#include "forward_checks.h"

namespace {

using tiny::Config;
using tiny::deviation;
using tiny::Engine;
using tiny::largest_difference;
using tiny::logits_in_pieces;
using tiny::Model;
using tiny::Sequence;

// All logits of 150 tokens (more than a block) in float32 lie near the reference's.
void expect_reference(const Config &config) {
  Model model = tiny::make_model(config);
  std::vector<int32_t> tokens = tiny::random_tokens(150, config.vocabulary, 3);
  tiny::Doubles expected = tiny::reference_logits(model, tokens);
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);
  double scale = deviation(expected);
  for (const std::vector<int> &pieces : {std::vector<int>{150}, {37, 64}, {1}}) {
    CHECK_NEAR(largest_difference(logits_in_pieces(engine, tokens, pieces), expected) / scale, 0, 2e-4);
  }
}

}  // namespace

TEST("grouped queries give the reference's logits, whole, in chunks and token by token") {
  expect_reference({});
}

TEST("as many KV heads as heads, or one for all of them, give the reference's logits") {
  Config config;
  config.kv_heads = 4;
  expect_reference(config);
  config.kv_heads = 1;
  expect_reference(config);
}

TEST("biases, norms of q and k, and a tied output give the reference's logits") {
  Config config;
  config.bias = true;
  expect_reference(config);
  config.qk_norm = config.tied = true;
  expect_reference(config);
  config.bias = false;
  expect_reference(config);
}

TEST("a sliding window gives the reference's logits") {
  Config config;
  for (int window : {1, 16, 130}) {
    config.sliding_window = window;
    expect_reference(config);
  }
}

TEST("a rotation of some dimensions, of none, and with a factor gives the reference's logits") {
  Config config;
  config.rope_dims = 6;
  expect_reference(config);
  config.rope_dims = 0;
  expect_reference(config);
  config.rope_dims = 12;
  config.rope_scale = 1.2f;
  expect_reference(config);
}

TEST("the smallest and the largest head dims and odd sizes give the reference's logits") {
  Config config;
  config.head_dim = config.rope_dims = 2;
  config.hidden = 33;
  config.intermediate = 1;
  expect_reference(config);
  config.head_dim = config.rope_dims = 256;
  config.heads = 2;
  config.kv_heads = 1;
  config.layers = 1;
  config.intermediate = 131;
  expect_reference(config);
}

TEST("without capturing, greedy tokens and scores are those of the reference") {
  Model model = tiny::make_model({});
  std::vector<int32_t> tokens = tiny::random_tokens(200, 99, 5);
  tiny::Doubles logits = tiny::reference_logits(model, tokens);
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);
  int32_t context = engine.create();
  Sequence sequence{context, tokens};
  sequence.with(SOUNDER_STEP_SCORE, 1).with(SOUNDER_STEP_NEXT_TOKEN, 17).with(SOUNDER_STEP_ALTERNATIVES, 3);
  tiny::StepResult result = engine.step({sequence});
  CHECK(result.statuses[0] == SOUNDER_OK);
  for (int t = 0; t < 200; ++t) {
    const double *row = logits.data() + t * 99;
    double log_sum = std::log(sounder::reference::sum_exp(row, 99, 0));
    int32_t next = t == 199 ? 17 : tokens[t + 1], best = int32_t(std::max_element(row, row + 99) - row);
    CHECK_NEAR(result.given[t], row[next] - log_sum, 2e-3);
    CHECK(result.given_top_tokens[t * SOUNDER_MAX_ALTERNATIVES] == best);
    CHECK_NEAR(result.given_top_logprobs[t * SOUNDER_MAX_ALTERNATIVES], row[best] - log_sum, 2e-3);
    CHECK(result.given_top_tokens[t * SOUNDER_MAX_ALTERNATIVES + 3] == -1);
    if (t == 199) {
      CHECK(result.sampled[0] == best);
      CHECK_NEAR(result.logprobs[0], row[best] - log_sum, 2e-3);
      CHECK(result.top_tokens[0] == best && result.top_tokens[3] == -1);
    }
  }
}

TEST("sequences of a mixed batch get what each gets alone") {
  Config config;
  Model model = tiny::make_model(config);
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);
  const std::vector<int> lengths = {1, 130, 40, 200};
  std::vector<int32_t> contexts;
  std::vector<tiny::Doubles> expected;
  std::vector<std::vector<int32_t>> tokens;
  for (size_t i = 0; i < lengths.size(); ++i) {
    contexts.push_back(engine.create());
    tokens.push_back(tiny::random_tokens(lengths[i], config.vocabulary, 10 + i));
    expected.push_back(tiny::reference_logits(model, tokens[i]));
  }
  // Each step takes a different share of each sequence, so that prefill chunks and single tokens ride
  // together.
  std::vector<size_t> done(lengths.size(), 0);
  for (int step = 0; *std::min_element(done.begin(), done.end()) < 1 || done[3] < 200 || done[1] < 130;
       ++step) {
    std::vector<Sequence> batch;
    std::vector<size_t> who;
    for (size_t i = 0; i < lengths.size(); ++i) {
      size_t count = std::min({size_t((step + int(i)) % 2 == 0 ? 1 : 45 + i), tokens[i].size() - done[i]});
      if (count == 0) continue;
      std::vector<int32_t> part(tokens[i].begin() + done[i], tokens[i].begin() + done[i] + count);
      Sequence sequence{contexts[i], part};
      if (i == 2) sequence.with(SOUNDER_STEP_SCORE, 1);
      batch.push_back(sequence);
      who.push_back(i);
      done[i] += count;
    }
    tiny::StepResult result = engine.step(batch);
    CHECK(result.status == SOUNDER_OK);
    for (size_t b = 0; b < who.size(); ++b) {
      const double *row = expected[who[b]].data() + (done[who[b]] - 1) * config.vocabulary;
      CHECK(result.statuses[b] == SOUNDER_OK);
      CHECK(result.sampled[b] == std::max_element(row, row + config.vocabulary) - row);
      CHECK(result.statistics[b * SOUNDER_STATISTIC_COUNT + SOUNDER_STATISTIC_KEYS_READ] ==
            float(done[who[b]]));
    }
  }
}

// Contexts that grow together, a token each a step: on a GPU such steps are recorded and run again.
TEST("token by token in a batch, scores are those of the reference at every length") {
  for (bool f32 : {true, false}) {
    Config config;
    config.f32 = f32;
    Model model = tiny::make_model(config);
    Engine engine;
    CHECK(engine.load(model) == SOUNDER_OK);
    std::vector<std::vector<int32_t>> tokens;
    std::vector<tiny::Doubles> expected;
    std::vector<int32_t> contexts;
    for (int i = 0; i < 5; ++i) {
      tokens.push_back(tiny::random_tokens(132, config.vocabulary, 50 + uint64_t(i)));
      expected.push_back(tiny::reference_logits(model, tokens.back()));
      contexts.push_back(engine.create());
    }
    double squares = 0;
    for (int t = 0; t < 131; ++t) {
      std::vector<Sequence> batch;
      for (size_t i = 0; i < (t % 3 == 2 ? 3u : 5u); ++i) {
        const int done = engine.length(contexts[i]);
        batch.push_back(Sequence{contexts[i], {tokens[i][size_t(done)]}});
        batch.back().with(SOUNDER_STEP_SCORE, 1).with(SOUNDER_STEP_NEXT_TOKEN, tokens[i][size_t(done) + 1]);
      }
      tiny::StepResult result = engine.step(batch);
      for (size_t i = 0; i < batch.size(); ++i) {
        const int done = engine.length(contexts[i]) - 1, width = config.vocabulary;
        const double *row = expected[i].data() + size_t(done) * size_t(width);
        const double log_sum = std::log(sounder::reference::sum_exp(row, width, 0));
        CHECK(result.statuses[i] == SOUNDER_OK);
        const double difference = result.given[i] - (row[tokens[i][size_t(done) + 1]] - log_sum);
        if (f32) CHECK_NEAR(difference, 0, 2e-3);
        squares += difference * difference;
      }
    }
    CHECK_NEAR(std::sqrt(squares / (5 * 131)) / deviation(expected[0]), 0, 0.02);
  }
}

TEST("in deterministic mode logits are bitwise the same whatever else is in the batch") {
  if (tiny::test_device() >= 0) return;  // no GPU promises it
  for (bool f32 : {true, false}) {
    Config config;
    config.deterministic = true;
    config.f32 = f32;
    Engine engine;
    CHECK(engine.load(tiny::make_model(config)) == SOUNDER_OK);
    std::vector<int32_t> tokens = tiny::random_tokens(150, config.vocabulary, 6);
    std::vector<float> alone = logits_in_pieces(engine, tokens, {49, 1});
    // The same pieces, each beside others that differ from step to step and stand before and behind it.
    sounder_capture_enable(engine.handle(), 1);
    int32_t own = engine.create(), before = engine.create(), behind = engine.create();
    std::vector<float> in_company;
    for (size_t done = 0, step = 0; done < 150; ++step) {
      size_t count = step % 2 == 0 ? 49 : 1, company = 1 + step * 17;
      std::vector<int32_t> part(tokens.begin() + done, tokens.begin() + done + count);
      engine.step({Sequence{before, tiny::random_tokens(int(company), 99, step)}, Sequence{own, part},
                   Sequence{behind, tiny::random_tokens(int(90 - company), 99, step)}});
      std::vector<float> logits = engine.captured(SOUNDER_CAPTURE_LOGITS);
      in_company.insert(in_company.end(), logits.begin() + company * 99,
                        logits.begin() + (company + count) * 99);
      done += count;
    }
    sounder_capture_enable(engine.handle(), 0);
    CHECK(alone == in_company);
  }
}

TEST("stage times are there and add up to no more than the total") {
  Engine engine;
  CHECK(engine.load(tiny::make_model({})) == SOUNDER_OK);
  tiny::StepResult result = engine.step({Sequence{engine.create(), tiny::random_tokens(100, 99, 1)}});
  float sum = 0;
  for (int stage = 1; stage < SOUNDER_STAGE_COUNT; ++stage) {
    // Exact attention chooses no rows.
    const bool told_apart =
        stage != SOUNDER_STAGE_CHOOSING &&
        (tiny::test_device() < 0 || stage == SOUNDER_STAGE_SAMPLING || stage == SOUNDER_STAGE_OTHER);
    CHECK((result.stage_ms[stage] > 0) == told_apart);
    sum += result.stage_ms[stage];
  }
  CHECK(sum <= result.stage_ms[SOUNDER_STAGE_TOTAL]);
}

TEST(
    "what is captured has the shapes that the header states, and K and V are those of the reference's kind") {
  Config config;
  Engine engine;
  CHECK(engine.load(tiny::make_model(config)) == SOUNDER_OK);
  CHECK(sounder_capture_read(engine.handle(), SOUNDER_CAPTURE_Q, 0, nullptr, 0) == SOUNDER_INVALID);
  sounder_capture_enable(engine.handle(), 1);
  engine.step({Sequence{engine.create(), {1, 2, 3}}, Sequence{engine.create(), {4, 5}}});
  CHECK(engine.captured(SOUNDER_CAPTURE_EMBEDDING).size() == 5u * 40);
  CHECK(engine.captured(SOUNDER_CAPTURE_ATTENTION_NORM, 1).size() == 5u * 40);
  CHECK(engine.captured(SOUNDER_CAPTURE_Q, 1).size() == 5u * 48);
  CHECK(engine.captured(SOUNDER_CAPTURE_K, 0).size() == 5u * 24);
  CHECK(engine.captured(SOUNDER_CAPTURE_LAYER, 1).size() == 5u * 40);
  CHECK(engine.captured(SOUNDER_CAPTURE_FINAL_NORM).size() == 5u * 40);
  CHECK(engine.captured(SOUNDER_CAPTURE_LOGITS).size() == 5u * 99);
  // The first token attends itself only: each head's output is its KV head's v.
  std::vector<float> v = engine.captured(SOUNDER_CAPTURE_V, 0),
                     out = engine.captured(SOUNDER_CAPTURE_ATTENTION, 0);
  for (int first : {0, 3}) {
    for (int i = 0; i < 48; ++i) CHECK_NEAR(out[first * 48 + i], v[first * 24 + i / 24 * 12 + i % 12], 1e-6);
  }
  float some[3] = {-1, -1, -1};
  CHECK(sounder_capture_read(engine.handle(), SOUNDER_CAPTURE_V, 0, some, 2) == 5 * 24);
  CHECK(some[0] == v[0] && some[1] == v[1] && some[2] == -1);
  CHECK(sounder_capture_read(engine.handle(), SOUNDER_CAPTURE_COUNT, 0, some, 2) == SOUNDER_INVALID);
  CHECK(sounder_capture_read(engine.handle(), SOUNDER_CAPTURE_V, 2, some, 2) == SOUNDER_INVALID);
  CHECK(sounder_capture_read(engine.handle(), SOUNDER_CAPTURE_V, 0, nullptr, 2) == SOUNDER_INVALID);
  sounder_capture_enable(engine.handle(), 0);
  CHECK(sounder_capture_read(engine.handle(), SOUNDER_CAPTURE_V, 0, some, 2) == SOUNDER_INVALID);
}
