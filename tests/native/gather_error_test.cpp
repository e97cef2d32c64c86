// SPDX-License-Identifier: Apache-2.0
//
// The standard error that a gather reports against the error that it makes, over many independent draws with
// known probabilities.
#include "check.h"
#include "gather_rows.h"

using namespace gather_rows;

namespace {

constexpr int kDim = 32, kHeads = 4, kKeys = 1500, kSize = sounder::sampled_floats(kDim);

// All keys of a context, and the exact output of each head.
struct Population {
  Rows rows;
  std::vector<Meaning> exact;
};

Population make_population(float spread, uint32_t seed) {
  Population population;
  population.rows = make_rows({kDim, kHeads, kKeys, false, Kind::kCertain, spread, seed});
  for (int h = 0; h < kHeads; ++h) population.exact.push_back(exact_meaning(population.rows, h));
  return population;
}

// Chances in proportion to the largest share that a key has in any head, to some power (0: equal), so that
// the expected count is `share` of the keys.
std::vector<double> probabilities(const Rows &rows, double power, double share) {
  std::vector<double> weight(kKeys), chance(kKeys), of_head(kKeys);
  const std::vector<double> q = widened(rows.q), k = widened(rows.k);
  for (int h = 0; h < kHeads; ++h) {
    for (int i = 0; i < kKeys; ++i)
      of_head[i] =
          std::exp2(power * sounder::reference::logit(&q[size_t(h) * kDim], &k[size_t(i) * kDim], kDim));
    const double sum = std::accumulate(of_head.begin(), of_head.end(), 0.0);
    for (int i = 0; i < kKeys; ++i) weight[i] = std::max(weight[i], of_head[i] / sum);
  }
  double low = 0, high = 1e12;
  for (int step = 0; step < 200; ++step) {
    const double factor = (low + high) / 2;
    double sum = 0;
    for (int i = 0; i < kKeys; ++i) sum += chance[i] = std::clamp(factor * weight[i], 1.0 / 65536, 1.0);
    (sum > share * kKeys ? high : low) = factor;
  }
  return chance;
}

struct Tally {
  double square = 0, predicted = 0;    // sums of |error|² / |output|², true and reported
  double scores = 0;                   // sum of (error / standard error)², along the direction
  int inside = 0, trials = 0;          // of 1.96 standard errors
  double samples = 0, from_error = 0;  // sums of 1 / effective samples, reported, and by the error's size
};

// One Poisson draw and what its heads report.
void draw(const Population &population, const std::vector<double> &chance, std::mt19937 &random,
          Tally &tally) {
  Rows rows = population.rows;
  std::uniform_real_distribution<double> uniform;
  rows.keys.clear();
  rows.offsets.clear();
  for (int i = 0; i < kKeys; ++i) {
    if (uniform(random) >= chance[i]) continue;
    rows.keys.push_back(population.rows.keys[i]);
    rows.offsets.push_back(static_cast<float>(-std::log2(chance[i])));
  }
  rows.shape.count = static_cast<int>(rows.keys.size());
  for (float &sign : rows.signs) sign = random() & 1 ? 1.0f : -1.0f;
  int count = 0;
  const std::vector<float> states =
      run(*sounder::gather_kernels(sounder::usable_levels(&count)[0]->name), rows);
  for (int h = 0; h < kHeads; ++h) {
    const Meaning got = meaning_of(&states[h * kSize], rows.signs, kDim);
    double along = 0, square = 0, norm = 0;
    for (int c = 0; c < kDim; ++c) {
      const double difference = got.output[c] - population.exact[h].output[c];
      along += rows.signs[c] * difference;
      square += difference * difference;
      norm += got.output[c] * got.output[c];
    }
    const double variance = got.squared_error * norm;
    tally.square += square;
    tally.predicted += variance;
    tally.scores += along * along / variance;
    tally.inside += along * along < 1.96 * 1.96 * variance;
    tally.samples += got.inverse_samples;
    tally.from_error += square / kDim;  // values have variance 1 in each dimension
    ++tally.trials;
  }
}

Tally draw_many(float spread, double power, double share, int rounds) {
  Tally tally;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    const Population population = make_population(spread, seed);
    const std::vector<double> chance = probabilities(population.rows, power, share);
    std::mt19937 random(100 + seed);
    for (int i = 0; i < rounds; ++i) draw(population, chance, random, tally);
  }
  return tally;
}

void check_covers(const Tally &tally) {
  CHECK_NEAR(tally.predicted / tally.square, 1.0, 0.1);
  CHECK_NEAR(tally.scores / tally.trials, 1.0, 0.15);
  CHECK_NEAR(double(tally.inside) / tally.trials, 0.95, 0.025);
}

}  // namespace

TEST("the standard error covers the true error when chances are equal") {
  check_covers(draw_many(1.0f, 0.0, 0.3, 150));
}

TEST("the standard error covers the true error when chances follow the weights") {
  check_covers(draw_many(1.0f, 0.9, 0.3, 150));
}

TEST("the standard error covers the true error when many keys are certain") {
  check_covers(draw_many(1.3f, 1.0, 0.5, 150));
}

TEST("effective samples say how large the error of values of variance 1 is") {
  for (double power : {0.0, 0.9}) {
    const Tally tally = draw_many(1.0f, power, 0.3, 100);
    CHECK_NEAR(tally.samples / tally.from_error, 1.0, 0.12);
  }
}
