// SPDX-License-Identifier: Apache-2.0
//
// That the weights of the keys that lsh finds are the inverse of how likely each was to be found.
#include "lsh_world.h"
#include "threads.h"

using namespace lsh_world;

namespace {
double cosine(const float *q, const std::vector<double> &x) {
  double dot = 0, qq = 0, xx = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    dot += q[i] * x[i];
    qq += double{q[i]} * q[i];
    xx += x[i] * x[i];
  }
  return dot / std::sqrt(qq * xx);
}
double logit_of(const float *q, const float *key, int d) {
  double dot = 0;
  for (int i = 0; i < d; ++i) dot += double{q[i]} * key[i];
  return dot * 1.4426950408889634 / std::sqrt(double{1} * d);
}
}  // namespace

TEST("cosines follow from logits by the inverse norms and the mean that come with the keys") {
  ThreadTeam team(2);
  for (bool centred : {true, false})
    for (int d : {64, 80, 128}) {
      LshShape shape = shape_of(d, 2, 40);
      shape.centred = centred;
      const Keys keys(shape, 384, 4);
      LshTables tables(make_lsh_index(shape, "scalar", 1, kPlenty));
      keys.cover(tables, team, 256);
      keys.cover(tables, team, 384);
      Asker asker(keys, tables, 2, 4, 384, 1);
      draw_queries(asker, 8);
      const float *mean = tables.segment(0, 0).mean(0, 0);
      const auto found = asker.ask(*strategy_of(shape, "scalar", 2));
      for (int head = 0; head < 2; ++head) {
        CHECK(found[head].keys.size() > 100);
        const float *q = &asker.q[size_t(head) * d];
        if (!centred) CHECK(found[head].collision.mean == 0.0f);
        for (size_t j = 0; j < found[head].keys.size(); ++j) {
          const float *key = keys.key(0, found[head].keys[j]);
          std::vector<double> x(key, key + d);
          for (int i = 0; i < d; ++i) x[i] -= mean[i];
          const double inferred = (logit_of(q, key, d) - found[head].collision.mean) * found[head].offsets[j];
          CHECK_NEAR(inferred, cosine(q, x), 1e-5 + std::fabs(inferred) / 256);
        }
      }
    }
}

// Keys at chosen angles to the query, f32 and not centred, so that cosines are what they are meant to be.
namespace {
constexpr int kAngleDim = 24, kAngleKeys = 128;
double angle_cosine(int i) { return -0.95 + 1.94 * i / (kAngleKeys - 1); }

Keys keys_at_angles(const LshShape &shape, std::vector<float> &q) {
  Keys keys(shape, kAngleKeys, 3);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  q.resize(kAngleDim);
  double qq = 0;
  for (float &x : q) {
    x = normal(random);
    qq += double{x} * x;
  }
  for (int i = 0; i < kAngleKeys; ++i) {
    std::vector<double> side(kAngleDim);
    double along = 0, square = 0;
    for (int j = 0; j < kAngleDim; ++j) {
      side[j] = normal(random);
      along += side[j] * q[j] / qq;
    }
    for (int j = 0; j < kAngleDim; ++j) {
      side[j] -= along * q[j];
      square += side[j] * side[j];
    }
    const double c = angle_cosine(i), s = std::sqrt(1 - c * c), size = 0.5 + i % 7;
    for (int j = 0; j < kAngleDim; ++j)
      keys.key(0, i)[j] = float(size * (c * q[j] / std::sqrt(qq) + s * side[j] / std::sqrt(square)));
  }
  keys.lay_out();
  return keys;
}
}  // namespace

TEST("over seeds, a key is found as often as the formula says of its angle") {
  constexpr int kSeeds = 3000;
  ThreadTeam team(1);
  int count = 0;
  const char *level = usable_levels(&count)[0]->name;
  for (auto [bits, tables] : {std::pair{3, 10}, {5, 40}}) {
    LshShape shape = shape_of(kAngleDim, bits, tables, 1, 1, true);
    shape.centred = false;
    std::vector<float> q;
    const Keys keys = keys_at_angles(shape, q);
    std::vector<int> found(3 * kAngleKeys);
    const auto strategy = strategy_of(shape, level);
    for (int seed = 0; seed < kSeeds; ++seed) {
      LshTables tables_of_seed(make_lsh_index(shape, level, uint64_t(seed), kPlenty));
      keys.cover(tables_of_seed, team, kAngleKeys);
      for (int collisions : {1, 2, 3}) {
        Asker asker(keys, tables_of_seed, 1, 0, kAngleKeys, collisions);
        asker.q = q;
        asker.aim(0, 0);
        const std::vector<Found> own = asker.ask(*strategy);
        for (int key : own[0].keys) ++found[(collisions - 1) * kAngleKeys + key];
      }
    }
    for (int collisions : {1, 2, 3})
      for (int i = 0; i < kAngleKeys; ++i) {
        const double u = reference::lsh_probability(bits, tables, collisions, angle_cosine(i));
        const double sigma = std::sqrt(u * std::max(0.0, 1 - u) / kSeeds);
        CHECK_NEAR(double(found[(collisions - 1) * kAngleKeys + i]) / kSeeds, u, 4.5 * sigma + 2.0 / kSeeds);
      }
  }
}

namespace {

// V beside K: value i of a key is its number, scaled, in every dimension, so that sums are easy to know.
double value_of(int key, int dimension) { return 1 + (key % 16) / 16.0 + dimension % 4; }

}  // namespace

TEST("over seeds, the weighted sums of numerator and denominator tend to those over all keys") {
  constexpr int kSeeds = 1500, kCount = 256, kDim = 32;
  ThreadTeam team(1);
  int level_count = 0;
  const char *level = usable_levels(&level_count)[0]->name;
  for (int collisions : {1, 2, 3}) {
    const LshShape shape = shape_of(kDim, 2, 12);
    Keys keys(shape, kCount, 3);
    keys.write_values(value_of);
    const auto strategy = strategy_of(shape, level);
    double sum[3] = {}, square[3] = {}, exact[3] = {};
    for (int seed = 0; seed < kSeeds; ++seed) {
      LshTables tables(make_lsh_index(shape, level, uint64_t(seed), kPlenty));
      keys.cover(tables, team, kCount);
      Asker asker(keys, tables, 1, 4, kCount, collisions);
      draw_queries(asker, 8);
      if (seed == 0) {
        for (int i = 4; i < kCount; ++i) {
          const double w = std::exp2(logit_of(asker.q.data(), keys.key(0, i), kDim));
          exact[0] += w;
          exact[1] += w * value_of(i, 0);
          exact[2] += w * value_of(i, 3);
        }
      }
      Found found = asker.ask(*strategy)[0];
      const std::vector<float> state = attend(asker, found, 0, level);
      const double scale = found.keys.empty() ? 0 : std::exp2(double{state[kDim + 1]});
      const double values[3] = {state[kDim] * scale, state[0] * scale, state[3] * scale};
      for (int i = 0; i < 3; ++i) {
        sum[i] += values[i] / kSeeds;
        square[i] += values[i] * values[i] / kSeeds;
      }
    }
    for (int i = 0; i < 3; ++i) {
      const double sigma = std::sqrt((square[i] - sum[i] * sum[i]) / kSeeds);
      CHECK(sigma < 0.02 * exact[i]);
      CHECK_NEAR(sum[i] / exact[i], 1, 4 * sigma / exact[i]);
    }
  }
}

TEST("keys parallel to the query, opposite to it, equal to the mean and of zero give finite results") {
  ThreadTeam team(1);
  each_level([&](const char *level) {
    for (bool f32 : {false, true})
      for (bool centred : {false, true})
        for (int collisions : {1, 2, 3}) {
          LshShape shape = shape_of(64, 2, 20, 1, 1, f32);
          shape.centred = centred;
          Keys keys(shape, 256, 3);
          Asker shapes(keys, LshTables(nullptr), 4, 0, 256, collisions);
          draw_queries(shapes, 9);
          for (float &x : shapes.q) x = of_bf16(as_bf16(x));
          std::fill_n(&shapes.q[3 * 64], 64, 0.0f);  // a query of zero
          for (int i = 0; i < 256; ++i)
            for (int j = 0; j < 64; ++j) {
              const float q = shapes.q[size_t(i % 3) * 64 + j];
              keys.key(0, i)[j] = i % 5 == 0  ? 0.0f
                                  : i % 5 < 3 ? q * float(1 << i % 4)
                                              : -q * float(1 << i % 4);
            }
          keys.lay_out();
          keys.write_values(value_of);
          LshTables tables(make_lsh_index(shape, level, 1, kPlenty));
          keys.cover(tables, team, 256);
          Asker asker(keys, tables, 4, 0, 256, collisions);
          asker.q = shapes.q;
          asker.aim(0, 0);
          const auto strategy = strategy_of(shape, level, 4);
          auto found = asker.ask(*strategy);
          for (int head = 0; head < 4; ++head) {
            for (float offset : found[head].offsets) CHECK(std::isfinite(offset));
            CHECK(std::isfinite(found[head].collision.mean));
            if (head < 3 && !centred) CHECK(found[head].keys.size() > 50);
            if (found[head].keys.empty()) continue;
            for (float x : attend(asker, found[head], head, level)) CHECK(std::isfinite(x));
          }
        }
  });
}

TEST("keys that are all equal are found as often as their weight says") {
  constexpr int kSeeds = 400;
  ThreadTeam team(1);
  const LshShape shape = shape_of(64, 2, 12);
  Keys keys(shape, 128, 3);
  for (int i = 1; i < 128; ++i) std::copy_n(keys.key(0, 0), 64, keys.key(0, i));
  keys.lay_out();
  keys.write_values(value_of);
  const auto strategy = strategy_of(shape, "scalar");
  double mean = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    LshTables tables(make_lsh_index(shape, "scalar", uint64_t(seed), kPlenty));
    keys.cover(tables, team, 128);
    Asker asker(keys, tables, 1, 0, 128, 2);
    draw_queries(asker, 8);
    Found found = asker.ask(*strategy)[0];
    CHECK(found.keys.empty() || found.keys.size() == 128);
    if (found.keys.empty()) continue;
    const std::vector<float> state = attend(asker, found, 0, "scalar");
    mean += state[64] * std::exp2(state[65] - logit_of(asker.q.data(), keys.key(0, 0), 64)) / 128 / kSeeds;
  }
  const double u = reference::lsh_probability(2, 12, 2, 0);
  CHECK_NEAR(mean, 1, 4 * std::sqrt((1 - u) / u / kSeeds));
}
