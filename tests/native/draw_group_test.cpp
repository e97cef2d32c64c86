// SPDX-License-Identifier: Apache-2.0
//
// One draw for a group of heads, by made-up integer scores: what it reads, and that it is honest.
#include "sampled/draw_group.h"

#include "reference/draw.h"
#include "sampled/draw_scratch.h"
#include "statistics.h"
#include "strategy_world.h"

using namespace strategy_world;

namespace {

using Scores = std::vector<std::vector<int>>;  // [heads][keys]

// The draw, with scores from elsewhere. Keys of the sink get the best score of all.
class MadeUpScores : public Strategy {
 public:
  MadeUpScores(const char *level, const Scores &scores, float beta = 1.0f)
      : kernels_(*draw_kernels(level)), scores_(scores), beta_(beta) {}
  bool is_shared(const StrategyView &) const override { return true; }
  int phases(const StrategyView &view) const override { return view.heads == 1 ? 1 : 2; }
  void run_phase(int phase, const StrategyView &view, int segment) const override {
    if (phase == 1) {
      combine_heads(kernels_, view, segment);
      return;
    }
    const int first = segment_first(view, segment), end = segment_range(view, segment).end;
    for (int head = 0; head < view.heads; ++head)
      for (int key = first; key < end; ++key)
        segment_scores(view, head, segment)[key - first] =
            static_cast<int16_t>(key < view.begin ? INT16_MAX : scores_[head][key]);
    look_at_heads(kernels_, view, segment, beta_);
  }
  void finish_phase(int phase, const StrategyView &view) const override {
    if (phase == 0)
      find_head_thresholds(view, segments(view), beta_, [](int) { return 0.0f; });
    else
      find_group_threshold(view, segments(view));
  }
  void choose(const StrategyView &view, int segment, int, Choice &choice) const override {
    draw_keys(kernels_, view, segment, choice);
  }

 private:
  const DrawKernels &kernels_;
  const Scores &scores_;
  float beta_;
};

Scores normal_scores(std::mt19937 &random, int heads, int keys, double spread) {
  std::normal_distribution<double> normal;
  Scores scores(heads, std::vector<int>(keys));
  for (std::vector<int> &head : scores)
    for (int &score : head) score = static_cast<int>(std::lround(normal(random) * spread));
  return scores;
}

// P of each key of [begin, end).
std::vector<double> probabilities(const World &world, const Scores &scores, double beta = 1.0) {
  Scores seen;
  std::vector<double> others;
  for (size_t head = 0; head < scores.size(); ++head) {
    seen.emplace_back(scores[head].begin() + world.shape.begin, scores[head].end());
    others.push_back(world.log2_exact(static_cast<int>(head)));
  }
  const reference::GroupDraw group = reference::group_draw(seen, others, beta, world.shape.budget);
  std::vector<double> p;
  for (int score : group.scores) p.push_back(reference::draw_probability(group.threshold - score));
  return p;
}

RunningMean rows_read(World &world, const char *level, const Scores &scores, int seeds) {
  RunningMean rows;
  for (int seed = 0; seed < seeds; ++seed)
    rows.add(static_cast<double>(world.run(MadeUpScores(level, scores), seed)[0].keys.size()));
  return rows;
}

TEST("the group expects to read its budget, each key with the best of its heads' probabilities") {
  each_level([](const char *level) {
    for (int heads = 1; heads <= 8; ++heads) {
      for (double spread : {0.0, 20.0, 60.0, 150.0}) {
        World world({heads, 8, 5 * heads, 1920, 256 + 17 * heads}, 1);
        const Scores scores = normal_scores(world.random, heads, 1920, spread);
        const MadeUpScores strategy(level, scores);
        const std::vector<double> p = probabilities(world, scores);
        const double expected = std::accumulate(p.begin(), p.end(), 0.0);
        CHECK(expected <= world.shape.budget && expected * std::exp2(1.001 / 32) > world.shape.budget);
        RunningMean rows;
        for (uint64_t seed = 0; seed < 40; ++seed) {
          const Chosen chosen = world.run(strategy, seed)[0];
          rows.add(static_cast<double>(chosen.keys.size()));
          for (size_t i = 0; i < chosen.keys.size(); ++i)
            CHECK_NEAR(chosen.offsets[i], -std::log2(p[chosen.keys[i] - world.shape.begin]), 1e-5);
        }
        double variance = 0;
        for (double one : p) variance += one * (1 - one);
        CHECK_NEAR(rows.mean(), expected, 5 * std::sqrt(variance / rows.count) + 1e-9);
      }
    }
  });
}

// Weights of distances that beta stretches are rounded, so that a threshold may be a unit off, twice.
TEST("whatever beta is, heads share the budget by what they attend") {
  each_level([](const char *level) {
    for (int heads = 2; heads <= 5; ++heads) {
      for (float beta : {0.5f, 0.9f, 2.0f}) {
        World world({heads, 8, 3, 1920, 300}, 11);
        Scores scores = normal_scores(world.random, heads, 1920, 60);
        for (int head = 0; head < heads; ++head)
          for (int &score : scores[head]) score += 200 * head;
        const std::vector<double> p = probabilities(world, scores, beta);
        const Chosen chosen = world.run(MadeUpScores(level, scores, beta), 1)[0];
        CHECK(chosen.keys.size() > 200);
        for (size_t i = 0; i < chosen.keys.size(); ++i)
          CHECK_NEAR(chosen.offsets[i], -std::log2(p[chosen.keys[i] - 3]), 2.0 / 32 + 1e-5);
      }
    }
  });
}

TEST("the budget is met in long contexts") {
  constexpr int kEnd = 20480;
  each_level([](const char *level) {
    for (int heads : {1, 2, 5}) {
      for (double spread : {30.0, 100.0}) {
        World world({heads, 8, 3, kEnd, 500}, 2);
        const Scores scores = normal_scores(world.random, heads, kEnd, spread);
        const RunningMean rows = rows_read(world, level, scores, 60);
        const double slack = 5 * rows.standard_error();
        CHECK(rows.mean() <= 500 + slack && rows.mean() >= 500 * std::exp2(-1.0 / 32) - slack);
      }
    }
  });
}

TEST("a group of very different heads reads its budget; no more when scores lie further apart than bins") {
  each_level([](const char *level) {
    World world({3, 8, 4, 4096, 300}, 3);
    Scores scores = normal_scores(world.random, 3, 4096, 40);
    for (int &score : scores[1]) score *= 7;
    for (int &score : scores[2]) score += 30000;  // a constant, which softmax does not see
    const std::vector<double> p = probabilities(world, scores);
    const double expected = std::accumulate(p.begin(), p.end(), 0.0);
    CHECK(expected <= 300 && expected >= 300 * std::exp2(-1.001 / 32));
    RunningMean rows = rows_read(world, level, scores, 60);
    CHECK_NEAR(rows.mean(), expected, 5 * rows.standard_error());
    for (int &score : scores[1]) score *= 6;
    rows = rows_read(world, level, scores, 60);
    CHECK(rows.mean() <= 300 + 5 * rows.standard_error() && rows.mean() > 150);
  });
}

TEST("scores at the ends of their range are drawn honestly") {
  each_level([](const char *level) {
    for (int heads : {1, 2}) {
      for (int base : {-32767, -32768, 32767, 0}) {
        World world({heads, 8, 0, 1024, 256}, 4);
        Scores scores(heads, std::vector<int>(1024, base));
        for (int i = 0; i < 1024; i += 2) scores[0][i] = base > 0 ? base - 70 : base;
        RunningMean keys, rows;
        for (uint64_t seed = 0; seed < 100; ++seed) {
          const Chosen chosen = world.run(MadeUpScores(level, scores), seed)[0];
          double weights = 0;
          for (float offset : chosen.offsets) weights += std::exp2(offset);
          keys.add(weights);
          rows.add(static_cast<double>(chosen.keys.size()));
        }
        CHECK(keys.agrees(1024));
        CHECK(rows.mean() <= 256 + 5 * rows.standard_error());
      }
    }
  });
}

TEST("segments, threads, the order of heads and the sink's scores change nothing") {
  each_level([](const char *level) {
    for (int end : {4096, 20480}) {
      WorldShape shape{4, 8, 259, end, 400};
      World world(shape, 5);
      world.attend_nothing_exactly();
      Scores scores = normal_scores(world.random, 4, end, 70);
      const std::vector<Chosen> expected = world.run(MadeUpScores(level, scores), 7);
      CHECK(!expected[0].keys.empty());
      for (int segment_keys : {128, 640, 2048, 32768}) {
        if (end / segment_keys > kMostSegments) continue;
        for (int threads : {1, 3}) {
          world.shape.segment_keys = segment_keys;
          CHECK(world.run(MadeUpScores(level, scores), 7, threads) == expected);
        }
      }
      std::rotate(scores.begin(), scores.begin() + 1, scores.end());
      CHECK(world.run(MadeUpScores(level, scores), 7) == expected);
      std::swap(scores[0], scores[2]);
      CHECK(world.run(MadeUpScores(level, scores), 7) == expected);
      CHECK(world.run(MadeUpScores(level, scores), 8) != expected);
    }
  });
}

TEST("numerator and denominator are right in the mean over seeds, with the variance that P says") {
  constexpr int kSeeds = 2000, kEnd = 1536;
  for (int heads : {1, 3}) {
    World world({heads, 8, 4, kEnd, 256}, 6);
    const Scores scores = normal_scores(world.random, heads, kEnd, 80);
    // True weights that the scores only estimate, and values.
    std::normal_distribution<double> normal;
    std::vector<double> weight(kEnd), value(kEnd);
    for (int i = 0; i < kEnd; ++i) {
      weight[i] = std::exp2((scores[0][i] + 25 * normal(world.random)) / 32.0);
      value[i] = 1 + normal(world.random);
    }
    double numerator = 0, denominator = 0, variance = 0;
    const std::vector<double> p = probabilities(world, scores);
    for (int i = 4; i < kEnd; ++i) {
      numerator += weight[i] * value[i];
      denominator += weight[i];
      variance += weight[i] * weight[i] * (1 - p[i - 4]) / p[i - 4];
    }
    each_level([&](const char *level) {
      const MadeUpScores strategy(level, scores);
      RunningMean numerators, denominators;
      for (uint64_t seed = 0; seed < kSeeds; ++seed) {
        const Chosen chosen = world.run(strategy, seed * 977)[0];
        double n = 0, d = 0;
        for (size_t i = 0; i < chosen.keys.size(); ++i) {
          const double w = weight[chosen.keys[i]] * std::exp2(double{chosen.offsets[i]});
          n += w * value[chosen.keys[i]];
          d += w;
        }
        numerators.add(n);
        denominators.add(d);
      }
      CHECK(numerators.agrees(numerator));
      CHECK(denominators.agrees(denominator));
      // A sample variance of so many; heavy tails make it scatter more than a normal one's 3 %.
      CHECK_NEAR(denominators.variance() / variance, 1.0, 0.25);
    });
  }
}

}  // namespace
