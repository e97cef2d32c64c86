// SPDX-License-Identifier: Apache-2.0
//
// The Poisson draw: what every level computes, and the laws of its hash and its probabilities.
#include "sampled/draw.h"

#include <algorithm>
#include <cstdint>
#include <random>

#include "check.h"
#include "cpu/kernels.h"
#include "reference/draw.h"
#include "statistics.h"

using namespace sounder;

namespace {

constexpr int kUntouched = -77;
constexpr uint32_t kUntouchedBin = 0xdeadbeef;

// Runs body for the table of every level that this machine has.
template <typename F>
void each_level(F body) {
  int count = 0;
  const Kernels *const *levels = usable_levels(&count);
  for (int i = 0; i < count; ++i) {
    const DrawKernels *kernels = draw_kernels(levels[i]->name);
    CHECK(kernels != nullptr);
    if (kernels != nullptr) body(*kernels);
  }
}

struct Drawn {
  std::vector<int> keys;
  std::vector<float> offsets;
};

Drawn draw_with(const DrawKernels &kernels, const std::vector<int> &scores, int first, int threshold,
                uint64_t seed) {
  // Odd addresses of int16, as sinks make them.
  std::vector<int16_t> narrow(scores.size() + 1);
  std::copy(scores.begin(), scores.end(), narrow.begin() + 1);
  Drawn drawn{std::vector<int>(scores.size() + 1, kUntouched),
              std::vector<float>(scores.size() + 1, float{kUntouched})};
  DrawTask task{narrow.data() + 1,
                static_cast<int>(scores.size()),
                first,
                threshold,
                draw_key(seed),
                &draw_table(),
                drawn.keys.data(),
                drawn.offsets.data()};
  const int count = kernels.draw(task);
  CHECK(drawn.keys.back() == kUntouched && drawn.offsets.back() == float{kUntouched});
  drawn.keys.resize(count);
  drawn.offsets.resize(count);
  return drawn;
}

std::vector<int> random_scores(std::mt19937 &random, int count, int from, int to) {
  std::vector<int> scores(count);
  for (int &score : scores) score = std::uniform_int_distribution<int>(from, to)(random);
  return scores;
}

TEST("probabilities are powers of two in 32 bits, never below 2^-16, and offsets their logarithms") {
  const DrawTable &table = draw_table();
  for (int k = 0; k <= kMostDistance; ++k) {
    const long double exact = std::pow(2.0L, 32.0L - k / 32.0L);
    // Far enough from a half that every mathematical library rounds it to the same integer.
    if (k % 32 != 0) CHECK(std::fabs(exact - std::floor(exact) - 0.5L) > 1e-4L);
    const long double odds = static_cast<long double>(table.last[k]) + 1;
    CHECK(odds == std::round(exact));
    CHECK(odds >= 65536.0L);
    CHECK_NEAR(table.offsets[k], static_cast<double>(32.0L - std::log2(odds)), 1e-6);
  }
  CHECK(table.offsets[0] == 0.0f && table.offsets[kMostDistance] == 16.0f);
}

TEST("every level draws the keys that the reference draws, and weighs them by their probability") {
  each_level([](const DrawKernels &kernels) {
    std::mt19937 random(1);
    for (int count : {0, 1, 7, 8, 9, 31, 33, 100, 1000, 4097}) {
      for (int round = 0; round < 6; ++round) {
        const int from = round == 5 ? -32768 : -200 * round, to = round == 5 ? 32767 : 60;
        const std::vector<int> scores = random_scores(random, count, from, to);
        const int first = round * 12345 + round, threshold = round * 40 - 60;
        const uint64_t seed = random() | uint64_t{random()} << 32;
        const Drawn drawn = draw_with(kernels, scores, first, threshold, seed);
        CHECK(drawn.keys == reference::draw(scores, first, threshold, seed));
        for (size_t i = 0; i < drawn.keys.size(); ++i) {
          const double p = reference::draw_probability(threshold - scores[drawn.keys[i] - first]);
          CHECK_NEAR(drawn.offsets[i], -std::log2(p), 1e-6);
        }
      }
    }
  });
}

TEST("every level counts, combines and finds the maximum as plain loops do") {
  each_level([](const DrawKernels &kernels) {
    std::mt19937 random(2);
    for (int count : {0, 1, 15, 16, 17, 63, 255, 256, 257, 1000, 5003}) {
      for (int spread : {40, 3000, 32767}) {
        const int stride = count + 3, heads = 1 + count % 8;
        const std::vector<int> wide = random_scores(random, heads * stride + 1, -spread, spread);
        const std::vector<int16_t> scores(wide.begin(), wide.end());
        const int16_t *own = scores.data() + 1;
        int most = INT16_MIN;
        for (int i = 0; i < count; ++i) most = std::max<int>(most, own[i]);
        CHECK(kernels.maximum(own, count) == most);
        for (int reference : {most, 64}) {
          std::vector<uint32_t> bins(kHistogramBins + 1, kUntouchedBin), expected;
          const int used = kernels.count(own, count, reference, bins.data());
          for (int i = 0; i < count; ++i) {
            const size_t bin = static_cast<size_t>(std::clamp(reference - own[i], 0, kHistogramBins - 1));
            expected.resize(std::max(expected.size(), bin + 1));
            ++expected[bin];
          }
          CHECK(used == static_cast<int>(expected.size()));
          expected.resize(bins.size(), kUntouchedBin);
          CHECK(bins == expected);
        }
        const std::vector<int> thresholds = random_scores(random, heads * 3, -spread, spread);
        std::vector<int16_t> combined(count + 1, kUntouched), expected(count, INT16_MIN);
        kernels.combine(own, stride, thresholds.data(), 3, heads, count, combined.data());
        for (int i = 0; i < count; ++i)
          for (int h = 0; h < heads; ++h)
            expected[i] = static_cast<int16_t>(std::max<int>(
                expected[i], std::clamp(own[h * stride + i] - thresholds[3 * h], -32768, 32767)));
        CHECK(combined.back() == kUntouched);
        combined.pop_back();
        CHECK(combined == expected);
      }
    }
  });
}

TEST("every level weighs keys alike, and as powers of two but for a part in a thousand") {
  std::mt19937 random(6);
  for (int count : {0, 1, 7, 8, 9, 100, 4095, 9001}) {
    for (double beta : {1.0, 0.25, 0.9, 4.0}) {
      const auto shrink = static_cast<uint32_t>(std::lrint(65536 / beta));
      for (int spread : {0, 100, 600, 32767}) {
        const std::vector<int> wide = random_scores(random, count, -spread, spread);
        const std::vector<int16_t> scores(wide.begin(), wide.end());
        const int reference = (spread + 31) / 32 * 32;
        const uint64_t expected = draw_kernels("scalar")->weigh(scores.data(), count, reference, shrink);
        each_level([&](const DrawKernels &kernels) {
          CHECK(kernels.weigh(scores.data(), count, reference, shrink) == expected);
        });
        double sum = 0;
        for (int score : wide) sum += std::exp2((score - reference) / (32 * beta));
        // A key loses a last bit when it is shifted; with beta its distance is rounded.
        CHECK_NEAR(static_cast<double>(expected) * kWeightUnit, sum,
                   (beta == 1.0 ? 1e-3 : 0.015) * sum + count * kWeightUnit);
      }
    }
  }
}

TEST("thresholds are where a search from above finds them, and meet the rows within one unit") {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    const int count = 300 + 97 * round, spread = 1 << (1 + round % 9);
    const std::vector<int> scores = random_scores(random, count, -spread, 0);
    std::vector<uint32_t> bins(kHistogramBins);
    int most = scores[0];
    for (int score : scores) most = std::max(most, score);
    for (int score : scores) ++bins[std::min(most - score, kHistogramBins - 1)];
    const int rows = 1 + static_cast<int>(random() % static_cast<uint32_t>(count / 2));
    const int threshold = most - threshold_place(bins.data(), static_cast<uint64_t>(rows) << 32);
    CHECK(threshold == reference::draw_threshold(scores, rows));
    const double expected = reference::expected_rows(scores, threshold);
    CHECK(expected <= rows && expected * std::exp2(1.001 / 32) > rows);
    CHECK_NEAR(std::ldexp(static_cast<double>(expected_rows(bins.data(), most - threshold)), -32), expected,
               1e-6 * expected);
  }
}

TEST("no place further on expects so few rows, whatever the histogram and however the search goes") {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint32_t> bins(kHistogramBins);
    const uint32_t kinds = 1 + random() % 40, most = 1u << random() % 20;
    for (uint32_t i = 0; i < kinds; ++i) bins[random() % kHistogramBins] = random() % most;
    const uint64_t rows = (uint64_t{random()} << 32 | random()) >> random() % 32;
    const int place = threshold_place(bins.data(), rows);
    CHECK(place >= -kMostDistance && place < kHistogramBins);
    CHECK(place == -kMostDistance || expected_rows(bins.data(), place) <= rows);
    CHECK(place == kHistogramBins - 1 || expected_rows(bins.data(), place + 1) > rows);
  }
}

TEST("merged histograms are those of all keys") {
  std::mt19937 random(4);
  for (int lower : {0, 1, 500, 1022, 1023, 1024, 60000}) {
    for (int used : {0, 1, 2, 523, 524, 1023, 1024}) {
      std::vector<uint32_t> into(kHistogramBins), from(kHistogramBins), expected;
      for (uint32_t &bin : into) bin = random() % 9;
      for (uint32_t &bin : from) bin = random() % 9;
      expected = into;
      for (int b = 0; b < used; ++b) expected[std::min(b + lower, kHistogramBins - 1)] += from[b];
      add_histogram(into.data(), from.data(), used, lower);
      CHECK(into == expected);
    }
  }
}

TEST("keys are read as often as their probability says, each and all together") {
  constexpr int kSeeds = 2000, kKeysEach = 96;
  const std::vector<int> distances = {0, 1, 16, 31, 32, 33, 64, 100, 150, 200, 256, 300, 400, 512, 900};
  std::vector<int> scores;
  for (int distance : distances) scores.insert(scores.end(), kKeysEach, -distance);
  each_level([&](const DrawKernels &kernels) {
    std::vector<int> often(scores.size());
    for (uint64_t seed = 0; seed < kSeeds; ++seed)
      for (int key : draw_with(kernels, scores, 0, 0, seed).keys) ++often[key];
    for (size_t d = 0; d < distances.size(); ++d) {
      const double p = reference::draw_probability(distances[d]);
      int all = 0;
      for (int i = 0; i < kKeysEach; ++i) {
        const int count = often[d * kKeysEach + i];
        all += count;
        CHECK(is_likely_count(count, kSeeds, p, 1e-4 / static_cast<double>(scores.size())));
      }
      CHECK(is_likely_count(all, kSeeds * kKeysEach, p, 1e-4));
    }
  });
}

// In how many of the keys the hashes of both seeds lie in the same half, quarter, …
void check_independent(uint64_t a, uint64_t b, uint32_t lag) {
  constexpr int kKeys = 20000;
  for (int bits : {1, 2, 5}) {
    int both = 0;
    for (uint32_t key = 0; key < kKeys; ++key)
      both += (reference::draw_hash(a, key) >> (32 - bits)) == 0 &&
              (reference::draw_hash(b, key + lag) >> (32 - bits)) == 0;
    CHECK(is_likely_count(both, kKeys, std::ldexp(1.0, -2 * bits), 1e-7));
  }
}

TEST("seeds, positions, layers, heads and neighbouring keys give independent draws") {
  for (uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{0x123456789abcdef0}}) {
    for (int bit = 0; bit < 64; bit += 3) check_independent(seed, seed ^ uint64_t{1} << bit, 0);
    for (uint32_t lag = 1; lag <= 64; lag *= 2) {
      check_independent(seed, seed, lag);
      check_independent(seed, seed + lag, lag);
      check_independent(seed + lag, seed, lag);
    }
    // As the driver derives seeds: (request, layer and KV head, position).
    for (uint64_t i = 1; i < 4; ++i) {
      const uint64_t here = random_bits(seed, 5, 1000);
      check_independent(here, random_bits(seed, 5, 1000 + i), 0);
      check_independent(here, random_bits(seed, 5 + i, 1000), 0);
      check_independent(here, random_bits(seed, 5 + (i << 32), 1000), 0);
      check_independent(here, random_bits(seed + i, 5, 1000), 0);
    }
  }
}

TEST("a key's draw depends on no other key, nor on where segments are cut") {
  each_level([](const DrawKernels &kernels) {
    std::mt19937 random(5);
    const std::vector<int> scores = random_scores(random, 3001, -300, 20);
    const Drawn whole = draw_with(kernels, scores, 50, 0, 99);
    for (int cut : {1, 100, 128, 1733, 3000}) {
      Drawn parts = draw_with(kernels, {scores.begin(), scores.begin() + cut}, 50, 0, 99);
      const Drawn rest = draw_with(kernels, {scores.begin() + cut, scores.end()}, 50 + cut, 0, 99);
      parts.keys.insert(parts.keys.end(), rest.keys.begin(), rest.keys.end());
      parts.offsets.insert(parts.offsets.end(), rest.offsets.begin(), rest.offsets.end());
      CHECK(parts.keys == whole.keys && parts.offsets == whole.offsets);
    }
    std::vector<int> others = random_scores(random, 3001, -300, 20);
    for (size_t i = 0; i < others.size(); i += 10) others[i] = scores[i];
    auto kept = [](const Drawn &drawn) {
      std::vector<int> keys;
      for (int key : drawn.keys)
        if ((key - 50) % 10 == 0) keys.push_back(key);
      return keys;
    };
    CHECK(kept(draw_with(kernels, others, 50, 0, 99)) == kept(whole));
  });
}

}  // namespace
