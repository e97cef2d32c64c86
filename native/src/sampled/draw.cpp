// SPDX-License-Identifier: Apache-2.0
#include "draw.h"

#include <algorithm>
#include <cmath>

namespace sounder {

namespace {

// P[k], which is 2^32 at 0.
struct Probabilities {
  Probabilities() {
    for (int k = 0; k <= kMostDistance; ++k)
      of[k] =
          static_cast<uint64_t>(std::llround(std::ldexp(std::exp2(-k / double{kScoreUnitsInOctave}), 32)));
  }
  static constexpr int kScoreUnitsInOctave = 32;
  uint64_t of[kMostDistance + 1];
};

const Probabilities &probabilities() {
  static const Probabilities all;
  return all;
}

DrawTable make_table() {
  DrawTable table;
  for (int k = 0; k <= kMostDistance; ++k) {
    const uint64_t p = probabilities().of[k];
    table.last[k] = static_cast<uint32_t>(p - 1);
    table.offsets[k] = k == 0 ? 0.0f : static_cast<float>(32.0 - std::log2(static_cast<double>(p)));
  }
  return table;
}

}  // namespace

const DrawTable &draw_table() {
  static const DrawTable table = make_table();
  return table;
}

uint64_t expected_rows(const uint32_t *bins, int place) {
  const uint64_t *p = probabilities().of;
  uint64_t certain = 0, sampled = 0, floor = 0;
  const int near = std::clamp(place + 1, 0, kHistogramBins);
  const int far = std::clamp(place + kMostDistance, 0, kHistogramBins);
  for (int b = 0; b < near; ++b) certain += bins[b];
  for (int b = near; b < far; ++b) sampled += bins[b] * p[b - place];
  for (int b = far; b < kHistogramBins; ++b) floor += bins[b];
  return (certain << 32) + sampled + floor * p[kMostDistance];
}

int threshold_place(const uint32_t *bins, uint64_t rows) {
  int low = -kMostDistance, high = kHistogramBins - 1;
  while (low < high) {
    const int middle = low + (high - low + 1) / 2;
    if (expected_rows(bins, middle) <= rows)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

void add_histogram(uint32_t *into, const uint32_t *from, int lower) {
  constexpr int kLast = kHistogramBins - 1;
  const int moved = std::min(lower, kLast);
  for (int b = 0; b + moved < kLast; ++b) into[b + moved] += from[b];
  uint32_t rest = 0;
  for (int b = kLast - moved; b <= kLast; ++b) rest += from[b];
  into[kLast] += rest;
}

}  // namespace sounder
