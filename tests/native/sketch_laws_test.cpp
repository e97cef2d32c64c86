// SPDX-License-Identifier: Apache-2.0
//
// What sketches are for: estimates of q·k. Laws of the definition, on the kernels of every level.
#include <algorithm>
#include <numeric>

#include "sketch_world.h"

using namespace sketch_world;

namespace {

double dot(const Floats &a, const Floats &b) {
  double sum = 0;
  for (size_t j = 0; j < a.size(); ++j) sum += double{a[j]} * b[j];
  return sum;
}

// Of y on x, with a constant.
struct Line {
  double slope, correlation, residual;  // residual: rms of y - x, means removed
};
Line fit(const std::vector<double> &x, const std::vector<double> &y) {
  const double n = static_cast<double>(x.size());
  const double mx = std::accumulate(x.begin(), x.end(), 0.0) / n;
  const double my = std::accumulate(y.begin(), y.end(), 0.0) / n;
  double xx = 0, xy = 0, yy = 0, rr = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
    xy += (x[i] - mx) * (y[i] - my);
    rr += (y[i] - my - x[i] + mx) * (y[i] - my - x[i] + mx);
  }
  return {xy / xx, xy / std::sqrt(xx * yy), std::sqrt(rr / n)};
}

struct Estimates {
  std::vector<double> estimated,
      exact;  // in units of scores, the term of the variance taken off
};
Estimates estimate(const SketchKernels &kernels, const World &world, int heads, uint32_t seed) {
  std::mt19937 random(seed);
  const Keys queries = make_keys(Kind::kGaussian, heads, world.shape.head_dim, random);
  const int blocks = static_cast<int>(world.records.size());
  const auto scores = world.scan(kernels, queries, 1.0f, 0, blocks);
  const double unit = kScoreUnits / std::log(2.0) / std::sqrt(double(world.shape.head_dim));
  Estimates e;
  for (size_t h = 0; h < queries.size(); ++h) {
    const reference::SketchQuery query =
        reference::prepare_query(queries[h], world.signs.data(), world.shape.sketch_bits, 1.0f);
    for (size_t i = 0; i < world.keys.size(); ++i) {
      const double f = world.sketches[i / kIndexTokens].scales[i % kIndexTokens];
      e.estimated.push_back(scores[h][i] - f * f * query.spread);
      e.exact.push_back(unit * dot(queries[h], world.keys[i]));
    }
  }
  return e;
}

// Share of a Gaussian's variance that its quantiser keeps.
double kept_share(int bits) { return bits == 1 ? 0.6366 : bits == 2 ? 0.8812 : 0.9885; }

}  // namespace

TEST("the rotation keeps lengths and products, and mixes all dimensions") {
  for (int d : {2, 6, 34, 64, 80, 96, 128, 250, 256}) {
    const Floats signs = rotation_signs(d, 9);
    CHECK(signs.size() == static_cast<size_t>(2 * d));
    for (float s : signs) CHECK(s == 1.0f || s == -1.0f);
    std::mt19937 random(4);
    const Keys x = make_keys(Kind::kGaussian, 8, d, random);
    Keys rotated;
    for (const Floats &v : x) rotated.push_back(reference::rotate(v, signs.data()));
    for (size_t a = 0; a < x.size(); ++a)
      for (size_t b = 0; b <= a; ++b) CHECK_NEAR(dot(rotated[a], rotated[b]), dot(x[a], x[b]), 1e-5 * d);
    for (int j = 0; j < d; ++j) {
      Floats unit(static_cast<size_t>(d));
      unit[static_cast<size_t>(j)] = 1;
      const Floats z = reference::rotate(unit, signs.data());
      float most = 0;
      for (float v : z) most = std::max(most, std::fabs(v));
      if (d >= 64) CHECK(most < 0.75f);  // a large value of one dimension is spread over many
    }
  }
}

TEST(
    "the signs depend on the seed, are as often 1 as -1, and differ between "
    "rounds") {
  const Floats a = rotation_signs(256, 1), b = rotation_signs(256, 2);
  CHECK(a != b);
  CHECK(a == rotation_signs(256, 1));
  CHECK(std::fabs(std::accumulate(a.begin(), a.end(), 0.0f)) < 100);
  CHECK(!std::equal(a.begin(), a.begin() + 256, a.begin() + 256));
}

TEST(
    "exact scores lie about their estimates, at the distance of the "
    "quantiser's theory") {
  each_level([](const SketchKernels &kernels) {
    for (int d : {64, 80, 96, 128, 256})
      for (int bits : {1, 2, 4})
        for (Kind kind : {Kind::kGaussian, Kind::kOffset}) {
          const World world(kernels, {d, bits, 0, 0, false}, kind, 4, 11);
          const Estimates e = estimate(kernels, world, 8, 12);
          const Line line = fit(e.estimated, e.exact);
          // Rounding q to 5 bits adds what is about a twelfth of a unit's square.
          const double unit = kScoreUnits / std::log(2.0);  // |q||x| / d is about 1
          const double lost = std::sqrt(1 - kept_share(bits) + 0.05 * 0.05);
          CHECK_NEAR(line.slope, 1.0, kind == Kind::kOffset ? 0.02 : 0.04);
          CHECK_NEAR(line.residual / (unit * lost), 1.0, 0.12);
          if (kind == Kind::kGaussian) CHECK_NEAR(line.correlation, std::sqrt(1 - lost * lost), 0.03);
        }
  });
}

TEST("of keys with few directions, and with outliers, estimates are as good") {
  each_level([](const SketchKernels &kernels) {
    for (Kind kind : {Kind::kLowRank, Kind::kZeros}) {
      const World world(kernels, {128, 2, 0, 0, false}, kind, 8, 21);
      const Estimates e = estimate(kernels, world, 8, 22);
      const Line line = fit(e.estimated, e.exact);
      CHECK_NEAR(line.slope, 1.0, 0.05);
      CHECK(line.correlation > 0.92);
    }
  });
}

TEST(
    "what is centred on costs nothing: an offset common to the keys of a "
    "block is estimated as it is") {
  each_level([](const SketchKernels &kernels) {
    World centred(kernels, {128, 2, 0, 0, false}, Kind::kOffset, 2, 31);
    World off(kernels, {128, 2, 2, 0, false}, Kind::kOffset, 2, 31);
    const Estimates with = estimate(kernels, centred, 8, 32), without = estimate(kernels, off, 8, 32);
    CHECK(fit(with.estimated, with.exact).residual < 0.25 * fit(without.estimated, without.exact).residual);
    for (int j = 0; j < 128; ++j) CHECK(off.sketches[0].mean[static_cast<size_t>(j)] == 0);
    CHECK(off.sketches[0].mean_scale == 0);
  });
}

TEST("with block centring a record depends on its block alone") {
  each_level([](const SketchKernels &kernels) {
    const IndexShape shape{80, 2, 0, 16, false};
    const World forward(kernels, shape, Kind::kOffset, 3, 41);
    World single(kernels, shape, Kind::kOffset, 1, 41);
    const size_t bytes = static_cast<size_t>(record_bytes(shape));
    single.keys = forward.keys;
    for (int b : {2, 1, 0}) {  // backwards, as first blocks of their contexts
      const Keys own = forward.block(b);
      std::copy(own.begin(), own.end(), single.keys.begin());
      single.records.clear();
      single.sketches.clear();
      single.seal(kernels, 0);
      CHECK(std::memcmp(single.records[0].data(), forward.records[static_cast<size_t>(b)].data(), bytes) ==
            0);
    }
  });
}

// Every block rounds once more.
TEST("with context centring the mean is that of all keys so far") {
  each_level([](const SketchKernels &kernels) {
    const World world(kernels, {64, 2, 1, 0, false}, Kind::kOffset, 6, 51);
    for (size_t b = 0; b < world.records.size(); ++b) {
      Floats mean(64);
      const size_t count = (b + 1) * kIndexTokens;
      for (size_t i = 0; i < count; ++i)
        for (size_t j = 0; j < 64; ++j) mean[j] += world.keys[i][j] / static_cast<float>(count);
      const Floats rotated = reference::rotate(mean, world.signs.data());
      float scale;
      std::memcpy(&scale, world.records[b].data() + 128, 4);
      for (size_t j = 0; j < 64; ++j) {
        int16_t whole;
        std::memcpy(&whole, world.records[b].data() + 2 * j, 2);
        CHECK(std::abs(whole) <= kMeanLimit);
        CHECK_NEAR(whole * scale, rotated[j], 2.5 * scale);
      }
    }
  });
}

TEST(
    "keys that are not numbers count as zeros, and leave their neighbours' "
    "estimates alone") {
  each_level([](const SketchKernels &kernels) {
    for (float broken : {std::numeric_limits<float>::quiet_NaN(), INFINITY, -3e38f}) {
      World world(kernels, {128, 2, 0, 0, false}, Kind::kGaussian, 1, 61), zeroed = world;
      world.keys[5][100] = broken;
      zeroed.keys[5].assign(128, 0.0f);
      for (World *w : {&world, &zeroed}) {
        w->records.clear();
        w->sketches.clear();
        w->seal(kernels, 0);
      }
      CHECK(world.sketches[0] == zeroed.sketches[0]);
      const size_t bytes = static_cast<size_t>(record_bytes(world.shape));
      CHECK(std::memcmp(world.records[0].data(), zeroed.records[0].data(), bytes) == 0);
      for (float f : world.sketches[0].scales) CHECK(std::isfinite(f) && f > 0);
    }
  });
}
