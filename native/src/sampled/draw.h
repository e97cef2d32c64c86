// SPDX-License-Identifier: Apache-2.0
//
// Poisson sampling by integer scores. Draw and weight come from the same integer, so that every probability
// is what it says it is, whatever the scores are worth.
//
//   A key at distance k below the threshold, in score units of 1/32 octave, 0 ≤ k ≤ kMostDistance, is read
//   with probability P[k] / 2^32, P[k] = round(2^32 · 2^(-k/32)): certainly at 0, and never more seldom than
//   2^-16. It is read when draw_hash(seed, key) < P[k], and weighed by 2^offset, offset = -log2(P[k] / 2^32).
//
// The hash depends on the seed and the key alone: neither the other keys nor how they are cut into segments
// changes a draw, only the threshold does.
#pragma once

#include <cstdint>

#include "../random.h"
#include "draw_kernels.h"

namespace sounder {

const DrawTable &draw_table();

// As DrawKernels::weigh takes it.
uint32_t beta_shrink(float beta);

// Seeds need no care: neighbours give unrelated keys.
constexpr DrawKey draw_key(uint64_t seed) {
  uint64_t bits = mix_bits(seed + 0x9e3779b97f4a7c15u);
  return {static_cast<uint32_t>(bits), static_cast<uint32_t>(bits >> 32)};
}

// A histogram counts keys by their distance below a reference score; the last bin has all that lies lower.
// Distances of less than 0 count as 0.
struct ScoreHistogram {
  uint32_t bins[kHistogramBins];  // the first `used`
  int32_t used;
  int32_t reference;  // score of bin 0
  int32_t threshold;  // what was found
  uint64_t weight;    // of a segment's keys, DrawKernels::weigh
  int32_t padding[10];
};
static_assert(sizeof(ScoreHistogram) == 4 * kHistogramBins + 64);

// Sum over the bins of count · P[clamp(bin - place, 0, kMostDistance)], in units of 2^-32: the rows read, as
// expected when the threshold lies `place` units below the reference.
uint64_t expected_rows(const uint32_t *bins, int place);

// The largest place in [-kMostDistance, kHistogramBins - 1] whose expected rows are at most `rows` / 2^32;
// -kMostDistance when there is none. One unit changes the sum by a factor of at most 2^(1/32).
int threshold_place(const uint32_t *bins, uint64_t rows);

// into += the first `used` bins of from, counted from a reference that lies `lower` ≥ 0 units below into's.
void add_histogram(uint32_t *into, const uint32_t *from, int used, int lower);

}  // namespace sounder
