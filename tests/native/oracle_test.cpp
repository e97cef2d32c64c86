// SPDX-License-Identifier: Apache-2.0
//
// The oracle: the draw by true scores, and independent draws with replacement.
#include "reference/draw.h"
#include "statistics.h"
#include "strategy_world.h"

using namespace strategy_world;

namespace {

constexpr double kLog2E = 1.4426950408889634;

// q·k / sqrt(d) in units of log 2.
float logit(const World &world, int head, int key) {
  return static_cast<float>(world.dot(head, key) * kLog2E / std::sqrt(double(world.shape.head_dim)));
}

float best_score(const World &world, int head) {
  float most = -1e30f;
  for (int key = world.shape.begin; key < world.shape.end; ++key)
    most = std::max(most, logit(world, head, key));
  return most;
}

// Scores in units of 1/32 octave below the head's best key.
std::vector<int> true_scores(const World &world, int head) {
  const float scale = static_cast<float>(32 * kLog2E / std::sqrt(double(world.shape.head_dim)));
  float most = -1e30f;
  for (int key = world.shape.begin; key < world.shape.end; ++key)
    most = std::max(most, scale * static_cast<float>(world.dot(head, key)));
  std::vector<int> scores;
  for (int key = world.shape.begin; key < world.shape.end; ++key)
    scores.push_back(
        static_cast<int>(std::nearbyint(scale * static_cast<float>(world.dot(head, key)) - most)));
  return scores;
}

std::vector<double> softmax(const World &world, int head) {
  std::vector<double> p;
  double most = -1e300, sum = 0;
  for (int key = world.shape.begin; key < world.shape.end; ++key) {
    p.push_back(world.dot(head, key) / std::sqrt(double(world.shape.head_dim)));
    most = std::max(most, p.back());
  }
  for (double &x : p) sum += x = std::exp(x - most);
  for (double &x : p) x /= sum;
  return p;
}

TEST("the oracle's Poisson draw is the reference's, by the true scores") {
  each_level([](const char *level) {
    for (int heads = 1; heads <= 8; ++heads) {
      const int d[] = {64, 80, 96, 128, 256, 7, 33, 8};
      World world({heads, d[heads - 1], heads * 3 % 7, 1408, 256 + 31 * heads, heads % 2 == 0}, 1);
      const auto strategy = make_oracle_strategy(world.strategy_shape(level));
      std::vector<std::vector<int>> scores;
      std::vector<double> others;
      for (int head = 0; head < heads; ++head) {
        scores.push_back(true_scores(world, head));
        others.push_back(world.log2_exact(head) - best_score(world, head));
      }
      const reference::GroupDraw group = reference::group_draw(scores, others, 1.0, world.shape.budget);
      for (uint64_t seed : {1, 2, 3}) {
        const std::vector<Chosen> chosen = world.run(*strategy, seed);
        CHECK(chosen.size() == 1 && !chosen[0].certain);
        CHECK(chosen[0].keys == reference::draw(group.scores, world.shape.begin, group.threshold, seed));
        for (size_t i = 0; i < chosen[0].keys.size(); ++i) {
          const int distance = group.threshold - group.scores[chosen[0].keys[i] - world.shape.begin];
          CHECK_NEAR(chosen[0].offsets[i], -std::log2(reference::draw_probability(distance)), 1e-5);
        }
      }
    }
  });
}

TEST("independent draws count every key in proportion to its attention") {
  constexpr int kSeeds = 2000, kDraws = 300;
  each_level([](const char *level) {
    World world({2, 16, 4, 640, 256, true}, 2);
    world.params.draws = kDraws;
    const auto strategy = make_oracle_strategy(world.strategy_shape(level));
    std::vector<std::vector<int>> counts(2, std::vector<int>(636));
    for (int head = 0; head < 2; ++head) CHECK(softmax(world, head).size() == 636);
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const std::vector<Chosen> chosen = world.run(*strategy, seed);
      CHECK(chosen.size() == 2);
      for (int head = 0; head < 2; ++head) {
        static std::vector<double> p[2] = {softmax(world, 0), softmax(world, 1)};
        int all = 0;
        for (size_t i = 0; i < chosen[head].keys.size(); ++i) {
          const int key = chosen[head].keys[i] - 4;
          // 2^offset = count / (draws p)
          const double count = std::exp2(double{chosen[head].offsets[i]}) * kDraws * p[head][key];
          CHECK(count > 0.5 && std::fabs(count - std::round(count)) < 1e-3 * count);
          counts[head][key] += static_cast<int>(std::lround(count));
          all += static_cast<int>(std::lround(count));
        }
        CHECK(all == kDraws);
      }
    }
    for (int head = 0; head < 2; ++head) {
      const std::vector<double> p = softmax(world, head);
      for (int key = 0; key < 636; ++key)
        CHECK(is_likely_count(counts[head][key], kSeeds * kDraws, p[key], 1e-4 / 636));
    }
  });
}

TEST("independent draws estimate numerator and denominator without bias") {
  World world({1, 16, 4, 1024, 256}, 3);
  world.params.draws = 100;
  std::normal_distribution<double> normal;
  std::vector<double> value(1024);
  for (double &x : value) x = 1 + normal(world.random);
  const std::vector<double> p = softmax(world, 0);
  double expected = 0;
  for (size_t i = 0; i < p.size(); ++i) expected += p[i] * value[i + 4];
  each_level([&](const char *level) {
    const auto strategy = make_oracle_strategy(world.strategy_shape(level));
    RunningMean numerator;
    for (uint64_t seed = 0; seed < 2000; ++seed) {
      const Chosen chosen = world.run(*strategy, seed)[0];
      double n = 0, d = 0;
      for (size_t i = 0; i < chosen.keys.size(); ++i) {
        const double w = p[chosen.keys[i] - 4] * std::exp2(double{chosen.offsets[i]});
        n += w * value[chosen.keys[i]];
        d += w;
      }
      numerator.add(n);
      CHECK_NEAR(d, 1.0, 1e-4);  // true attention as proposal: the denominator does not vary
    }
    CHECK(numerator.agrees(expected));
    CHECK(numerator.standard_error() > 1e-4);
  });
}

TEST("heads and seeds draw independently; segments and threads change nothing") {
  each_level([](const char *level) {
    for (int draws : {0, 5000}) {
      World world({2, 16, 131, 4096, 300, true}, 4);
      std::copy_n(world.q.begin(), 16, world.q.begin() + 16);  // two heads that want the same
      world.params.draws = draws;
      const auto strategy = make_oracle_strategy(world.strategy_shape(level));
      const std::vector<Chosen> expected = world.run(*strategy, 9);
      if (draws > 0) CHECK(expected.size() == 2 && expected[0] != expected[1]);
      CHECK(world.run(*strategy, 10) != expected);
      for (int segment_keys : {128, 640, 2048})
        for (int threads : {1, 3}) {
          world.shape.segment_keys = segment_keys;
          CHECK(world.run(*strategy, 9, threads) == expected);
        }
    }
  });
}

TEST("keys that are no numbers do not disturb the draw of the others") {
  each_level([](const char *level) {
    for (int draws : {0, 400}) {
      World world({2, 16, 4, 1024, 256, true}, 5);
      world.params.draws = draws;
      for (int key = 100; key < 130; ++key) world.k[size_t(key) * 16] = std::nanf("");
      world.lay_out();
      for (const Chosen &chosen : world.run(*make_oracle_strategy(world.strategy_shape(level)), 1)) {
        int wrong = 0;
        for (int key : chosen.keys) wrong += key >= 100 && key < 130;
        CHECK(chosen.keys.size() > 100 && wrong <= 2);
        for (float offset : chosen.offsets) CHECK(std::isfinite(offset));
      }
    }
  });
}

}  // namespace
