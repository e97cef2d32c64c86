// SPDX-License-Identifier: Apache-2.0
#include "draw.h"

#include <algorithm>
#include <cmath>

namespace sounder {

namespace {

constexpr double kUnits = 32;  // of a score, in an octave

DrawTable make_table() {
  DrawTable table;
  for (int k = 0; k <= kMostDistance; ++k) {
    const auto p = static_cast<uint64_t>(std::llround(std::ldexp(std::exp2(-k / kUnits), 32)));
    table.last[k] = static_cast<uint32_t>(p - 1);
    table.offsets[k] = k == 0 ? 0.0f : static_cast<float>(32.0 - std::log2(static_cast<double>(p)));
  }
  return table;
}

// Expected rows, in units of 2^-32, and the part of them that grows with the place.
struct Expected {
  uint64_t all, growing;
};
Expected expect(const uint32_t *bins, int place) {
  const uint32_t *last = draw_table().last;
  uint64_t certain = 0, growing = 0, floor = 0;
  const int near = std::clamp(place + 1, 0, kHistogramBins);
  const int far = std::clamp(place + kMostDistance, 0, kHistogramBins);
  for (int b = 0; b < near; ++b) certain += bins[b];
  for (int b = near; b < far; ++b) growing += uint64_t{bins[b]} * (last[b - place] + 1u);
  for (int b = far; b < kHistogramBins; ++b) floor += bins[b];
  return {(certain << 32) + growing + floor * (uint64_t{last[kMostDistance]} + 1), growing};
}

// How many units the place must rise (or fall, < 0) until `rows` are expected, if what grows went on to grow
// alone.
int rise_to(uint64_t rows, const Expected &now) {
  const double octaves =
      std::log2(static_cast<double>(rows) / static_cast<double>(std::max<uint64_t>(now.all, 1)));
  const double rise = octaves * kUnits * static_cast<double>(now.all) / static_cast<double>(now.growing + 1);
  constexpr double kMost = kHistogramBins + kMostDistance;
  return static_cast<int>(std::floor(std::clamp(rise, -kMost, kMost)));
}

// Where the keys that are read for certain are a share of the rows that is common.
int first_guess(const uint32_t *bins, uint64_t rows) {
  const uint64_t certain = (rows >> 32) / 4;
  int place = 0;
  for (uint64_t seen = bins[0]; seen < certain && place < kHistogramBins - 1;) seen += bins[++place];
  return place;
}

}  // namespace

const DrawTable &draw_table() {
  static const DrawTable table = make_table();
  return table;
}

uint32_t beta_shrink(float beta) {
  return static_cast<uint32_t>(std::lrint(std::min(65536.0 / double{beta}, double{(1 << 20) - 1})));
}

uint64_t expected_rows(const uint32_t *bins, int place) { return expect(bins, place).all; }

int threshold_place(const uint32_t *bins, uint64_t rows) {
  // What is sought lies in [low, high]. Guesses decide how soon it is found, not what is found; where they
  // do not get there, every fourth place halves what is left.
  int low = -kMostDistance, high = kHistogramBins - 1;
  if (expect(bins, low).all > rows) return low;
  int guess = first_guess(bins, rows);
  for (int tried = 1; low < high; ++tried) {
    const int place = tried % 4 == 0 ? low + (high - low + 1) / 2 : std::clamp(guess, low + 1, high);
    const Expected here = expect(bins, place);
    (here.all > rows ? high : low) = here.all > rows ? place - 1 : place;
    guess = place + rise_to(rows, here);
  }
  return low;
}

void add_histogram(uint32_t *into, const uint32_t *from, int used, int lower) {
  constexpr int kLast = kHistogramBins - 1;
  const int moved = std::min(lower, kLast), apart = std::min(used, kLast - moved);
  for (int b = 0; b < apart; ++b) into[b + moved] += from[b];
  for (int b = apart; b < used; ++b) into[kLast] += from[b];
}

}  // namespace sounder
