// SPDX-License-Identifier: Apache-2.0
//
// The laws of every strategy, from the ABI down: blocks, index, draw, gather and merge together.
#include <algorithm>
#include <string>

#include "sampled_engine.h"

namespace {

using tiny::Asked;
using tiny::Attended;
using tiny::Config;
using tiny::kPrompt;
using tiny::SampledEngine;
using tiny::Sequence;

// Every strategy, with parameters under which it chooses something and leaves something.
std::vector<Asked> strategies() {
  return {{.attention = SOUNDER_ATTENTION_SKETCH},
          {.attention = SOUNDER_ATTENTION_LSH},
          {.attention = SOUNDER_ATTENTION_LSH, .collisions = 1},
          {.attention = SOUNDER_ATTENTION_LSH, .collisions = 3},
          {.attention = SOUNDER_ATTENTION_QUEST},
          {.attention = SOUNDER_ATTENTION_TOPK},
          {.attention = SOUNDER_ATTENTION_ORACLE},
          {.attention = SOUNDER_ATTENTION_ORACLE, .draws = 400}};
}

}  // namespace

TEST("each strategy chooses some keys, says so, and comes near the exact output") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  const std::vector<float> q = engine.query(1), exact = engine.exact(context, q);
  for (const Asked &asked : strategies()) {
    Attended result = engine.attend(context, asked, q);
    CHECK(result.status == SOUNDER_OK);
    const std::vector<float> &s = result.statistics;
    const float offloaded = s[SOUNDER_STATISTIC_OFFLOADED], keys = s[SOUNDER_STATISTIC_CHOSEN_KEYS];
    // 2300 tokens: window 64 leaves 2237, whole blocks of which 2176, without the sink 2172.
    CHECK(offloaded == 2172 && s[SOUNDER_STATISTIC_KEYS_TOTAL] == kPrompt);
    CHECK(keys > 50 && keys < 2100 && s[SOUNDER_STATISTIC_CHOSEN_ROWS] >= keys - 1);
    CHECK_NEAR(s[SOUNDER_STATISTIC_KEYS_READ], kPrompt - (offloaded - keys), 0.01);
    const double error = tiny::mean_error(result.output, exact, engine.config);

    CHECK(error > 1e-5 && error < (asked.attention == SOUNDER_ATTENTION_QUEST ? 0.7 : 0.35));
  }
}

TEST("budgets are kept: the rows that sketch and oracle read are the expected ones") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  for (int attention : {SOUNDER_ATTENTION_SKETCH, SOUNDER_ATTENTION_ORACLE}) {
    for (float budget : {0.05f, 0.2f, 0.4f, 0.7f}) {
      double rows = 0;
      const int draws = 60;
      for (int seed = 0; seed < draws; ++seed) {
        Asked asked{.attention = attention, .budget = budget, .seed = seed};
        rows += engine.attend(context, asked, engine.query(9)).statistics[SOUNDER_STATISTIC_CHOSEN_ROWS];
      }
      // A Poisson sum of 2 KV heads and 60 draws: its deviation is below sqrt(rows / 120).
      const double expected = std::max(256.0, budget * 2172.0);
      CHECK_NEAR(rows / draws, expected, 1 + 5 * std::sqrt(expected / (2 * draws)));
    }
  }
}

TEST("a row that several heads of a group read counts once") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  const int d = engine.config.head_dim, group = engine.config.heads / engine.config.kv_heads;
  CHECK(group > 1);
  for (Asked asked : {Asked{.attention = SOUNDER_ATTENTION_TOPK}, Asked{.attention = SOUNDER_ATTENTION_QUEST},
                      Asked{.attention = SOUNDER_ATTENTION_LSH}}) {
    std::vector<float> alike = engine.query(4), opposite = alike;
    for (int i = 0; i < engine.config.heads * d; ++i) {
      const int head = i / d, first = head / group * group;
      alike[size_t(i)] = alike[size_t(first * d + i % d)];
      opposite[size_t(i)] = (head - first) % 2 == 0 ? alike[size_t(i)] : -alike[size_t(i)];
    }
    const auto counts = [&](const std::vector<float> &q) {
      const std::vector<float> s = engine.attend(context, asked, q).statistics;
      return std::pair{s[SOUNDER_STATISTIC_CHOSEN_KEYS], s[SOUNDER_STATISTIC_CHOSEN_ROWS]};
    };
    const auto [keys, rows] = counts(alike);
    CHECK_NEAR(rows, keys, 1e-3 * keys);
    // The best keys of a query are the worst of its opposite.
    const auto [own, both] = counts(opposite);
    if (asked.attention == SOUNDER_ATTENTION_TOPK) CHECK_NEAR(both, 2 * own, 1e-3 * own);
  }
}

TEST("the mean over seeds comes nearer the exact output than one draw, for every sampling strategy") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  const std::vector<float> q = engine.query(2), exact = engine.exact(context, q);
  for (Asked asked : {Asked{}, Asked{.attention = SOUNDER_ATTENTION_ORACLE},
                      Asked{.attention = SOUNDER_ATTENTION_ORACLE, .draws = 300}}) {
    std::vector<float> mean(exact.size(), 0.0f);
    double one = 0;
    const int draws = 200;
    for (asked.seed = 1; asked.seed <= draws; ++asked.seed) {
      Attended result = engine.attend(context, asked, q);
      one += tiny::mean_error(result.output, exact, engine.config) / draws;
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += result.output[i] / draws;
    }
    // Independent errors shrink by sqrt(200) = 14; the ratio's bias is of second order.
    CHECK(tiny::mean_error(mean, exact, engine.config) < one / 7);
  }
}

TEST("the reported standard error is the size of the true error") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  // Of 20,000 draws most keys get several.
  for (Asked asked : {Asked{}, Asked{.attention = SOUNDER_ATTENTION_ORACLE},
                      Asked{.attention = SOUNDER_ATTENTION_ORACLE, .draws = 300},
                      Asked{.attention = SOUNDER_ATTENTION_ORACLE, .draws = 20000}}) {
    double reported = 0, true_square = 0;
    int cases = 0;
    for (uint64_t query = 0; query < 40; ++query) {
      const std::vector<float> q = engine.query(100 + query), exact = engine.exact(context, q);
      for (asked.seed = 1; asked.seed <= 10; ++asked.seed, ++cases) {
        Attended result = engine.attend(context, asked, q);
        const double error = result.statistics[SOUNDER_STATISTIC_STANDARD_ERROR];
        reported += error * error;
        for (int head = 0; head < engine.config.heads; ++head) {
          const double own = tiny::head_error(result.output, exact, head, engine.config.head_dim);
          true_square += own * own / engine.config.heads;
        }
      }
    }
    CHECK(cases == 400 && true_square > 0);
    CHECK_NEAR(reported / true_square, 1, 0.25);
  }
}

TEST("strategies that leave nothing to chance report infinitely many samples and no error") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  for (int attention : {SOUNDER_ATTENTION_QUEST, SOUNDER_ATTENTION_TOPK}) {
    Attended result = engine.attend(context, {.attention = attention}, engine.query(4));
    CHECK(std::isinf(result.statistics[SOUNDER_STATISTIC_EFFECTIVE_SAMPLES]));
    CHECK(result.statistics[SOUNDER_STATISTIC_STANDARD_ERROR] == 0);
  }
}

TEST("a budget of everything, and a context of few keys, are exact to the bit") {
  SampledEngine engine;
  const int32_t context = engine.filled(), small = engine.filled(400);
  for (Asked asked : strategies()) {
    const std::vector<float> q = engine.query(5);
    CHECK(engine.attend(small, asked, q).output == engine.exact(small, q));
    const Attended sampled = engine.attend(context, asked, q);
    asked.budget = 1;
    if (asked.attention == SOUNDER_ATTENTION_LSH) {  // its tables decide how much it reads
      CHECK(engine.attend(context, asked, q).output == sampled.output);
      continue;
    }
    Attended result = engine.attend(context, asked, q);
    CHECK(result.output == engine.exact(context, q));
    CHECK(result.statistics[SOUNDER_STATISTIC_OFFLOADED] == 0);
  }
}

TEST("the number of threads changes nothing, to the bit") {
  std::vector<std::vector<float>> first;
  for (int threads : {1, 3}) {
    Config config = tiny::sampling_config();
    config.threads = threads;
    SampledEngine engine(config);
    const int32_t context = engine.filled();
    std::vector<std::vector<float>> outputs;
    for (const Asked &asked : strategies())
      outputs.push_back(engine.attend(context, asked, engine.query(6)).output);
    if (first.empty()) first = outputs;
    CHECK(outputs == first);
  }
}

TEST("forks, truncated contexts and contexts fed in other pieces choose the same keys") {
  SampledEngine engine;
  const std::vector<int32_t> tokens = tiny::random_tokens(kPrompt, engine.config.vocabulary, 3);
  const int32_t context = engine.filled(tokens);
  const int32_t fork = sounder_context_fork(engine.handle(), context, kPrompt);
  std::vector<int32_t> more = tokens;
  more.resize(2500, 7);
  const int32_t longer = engine.filled(more);
  CHECK(sounder_context_truncate(engine.handle(), longer, kPrompt) == SOUNDER_OK);
  const int32_t pieces = engine.filled(tokens, 129);
  for (const Asked &asked : strategies()) {
    const std::vector<float> q = engine.query(7), expected = engine.attend(context, asked, q).output;
    CHECK(engine.attend(fork, asked, q).output == expected);
    CHECK(engine.attend(longer, asked, q).output == expected);
    CHECK(tiny::mean_error(engine.attend(pieces, asked, q).output, expected, engine.config) < 1e-4);
  }
}

TEST("what else is in the batch does not change what a sequence gets, to the bit") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  auto step_of = [&](bool alone) {
    std::vector<int32_t> forks;
    std::vector<Sequence> sequences;
    for (size_t i = 0; i < 4; ++i) {
      forks.push_back(sounder_context_fork(engine.handle(), context, kPrompt));
      Asked asked = strategies()[i];
      asked.seed = int(i) + 5;
      asked.from = kPrompt;
      sequences.push_back(tiny::asking(Sequence{forks.back(), {int32_t(i)}}, asked));
    }
    std::vector<float> logprobs;
    if (alone)
      for (const Sequence &sequence : sequences) logprobs.push_back(engine.step({sequence}).logprobs[0]);
    else
      logprobs = engine.step(sequences).logprobs;
    for (int32_t fork : forks) sounder_context_free(engine.handle(), fork);
    return logprobs;
  };
  CHECK(step_of(true) == step_of(false));
}

TEST("verifying reports the difference that a look at both outputs finds") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  tiny::StepResult plain = engine.step(
      {tiny::asking(Sequence{sounder_context_fork(engine.handle(), context, kPrompt), {4}}, {.seed = 3})});
  CHECK(plain.statistics[SOUNDER_STATISTIC_VERIFY_ERROR] == -1);
  tiny::StepResult verified = engine.step({tiny::asking(
      Sequence{sounder_context_fork(engine.handle(), context, kPrompt), {4}}, {.seed = 3, .verify = 1})});
  const float error = verified.statistics[SOUNDER_STATISTIC_VERIFY_ERROR];
  const float expected = verified.statistics[SOUNDER_STATISTIC_STANDARD_ERROR];
  CHECK(error > expected / 4 && error < 4 * expected);
  CHECK(plain.sampled == verified.sampled && plain.logprobs == verified.logprobs);
}

TEST("tokens before the given position attend exactly, and KV from sampled ones is told apart") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  auto exact_of = [&](int32_t id) { return sounder_context_exact(engine.handle(), id); };
  CHECK(exact_of(context) == kPrompt);
  engine.step({tiny::asking(Sequence{context, {1, 2, 3}}, {.from = kPrompt + 2})});
  CHECK(engine.length(context) == kPrompt + 3 && exact_of(context) == kPrompt + 2);
  engine.step({Sequence{context, {4}}});
  CHECK(exact_of(context) == kPrompt + 2);
  CHECK(exact_of(sounder_context_fork(engine.handle(), context, kPrompt + 2)) == kPrompt + 2);
  CHECK(exact_of(sounder_context_fork(engine.handle(), context, kPrompt + 3)) == kPrompt + 2);
  CHECK(sounder_context_truncate(engine.handle(), context, kPrompt + 1) == SOUNDER_OK);
  engine.step({Sequence{context, {4, 5}}});
  CHECK(exact_of(context) == kPrompt + 3);
  // Short contexts read everything: their KV is exact whatever was asked for.
  const int32_t small = engine.filled(100);
  engine.step({tiny::asking(Sequence{small, {1}}, {})});
  CHECK(exact_of(small) == 101);
}

TEST("several sampled tokens of one step give what they give one by one") {
  SampledEngine engine;
  const int32_t context = engine.filled();
  for (const Asked &asked : strategies()) {
    if (asked.attention == SOUNDER_ATTENTION_LSH) continue;  // covers more keys by then
    const int32_t together = sounder_context_fork(engine.handle(), context, kPrompt);
    const int32_t apart = sounder_context_fork(engine.handle(), context, kPrompt);
    tiny::StepResult all = engine.step({tiny::asking(Sequence{together, {8, 9, 10}}, asked)}), last;
    for (int32_t token : {8, 9, 10}) last = engine.step({tiny::asking(Sequence{apart, {token}}, asked)});
    CHECK(all.sampled == last.sampled);
    CHECK_NEAR(all.logprobs[0], last.logprobs[0], 1e-4);
    sounder_context_free(engine.handle(), together);
    sounder_context_free(engine.handle(), apart);
  }
}

TEST("dense layers never sample, and a model with a sliding window does not either") {
  Config dense = tiny::sampling_config();
  dense.dense_layers = 1;
  SampledEngine engine(dense);
  const int32_t context = engine.filled();
  const std::vector<float> q = engine.query(8);
  CHECK(engine.attend(context, {}, q, 0).output == engine.exact(context, q, 0));
  CHECK(engine.attend(context, {}, q, 1).output != engine.exact(context, q, 1));
  Config sliding = tiny::sampling_config();
  sliding.sliding_window = 1000;
  SampledEngine windowed(sliding);
  const int32_t other = windowed.filled();
  CHECK(windowed.attend(other, {}, q, 1).output == windowed.exact(other, q, 1));
}
