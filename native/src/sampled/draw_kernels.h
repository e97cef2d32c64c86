// SPDX-License-Identifier: Apache-2.0
//
// The loops over all keys of a draw (draw.h). One table of kernels for each instruction level, named like
// those of Kernels. All levels give the same integers. Pointers need no alignment beyond their type's.
#pragma once

#include <cstdint>

namespace sounder {

constexpr int kMostDistance = 512;  // beyond it, probabilities fall no more
constexpr int kHistogramBins = 1024;

struct DrawTable {
  uint32_t last[kMostDistance + 1];  // the largest hash with which a key at this distance is read
  float offsets[kMostDistance + 1];  // -log2 of the probability that it is
};

// The two words that key the hash.
struct DrawKey {
  uint32_t first, second;
};

struct DrawTask {
  const int16_t *scores;  // [count] of the keys first_key, first_key + 1, …
  int count;
  int first_key;
  int threshold;  // distance of a key = clamp(threshold - score, 0, kMostDistance)
  DrawKey key;
  const DrawTable *table;
  int32_t *keys;   // [count] the keys that are read, ascending; entries beyond them are overwritten too
  float *offsets;  // [count] theirs
};

struct DrawKernels {
  const char *name;
  // The largest score; the least int16 of none.
  int16_t (*maximum)(const int16_t *scores, int count);
  // What keys with these scores weigh, in units of 2^-22 of a key with score `reference` ≥ all scores:
  // the sum of high[k / 4 % 8] * low[k % 4] >> k / 32, with k the distance below the reference, high and low
  // the halves of 2^-(k % 32 / 32) in 11 bits. beta_shrink: 65536, or k = distance * beta_shrink / 65536
  // rounded, where distances of more than 4095 count as that; below 2^20.
  uint64_t (*weigh)(const int16_t *scores, int count, int reference, uint32_t beta_shrink);
  // How many scores have which bin, min(reference - min(score, reference), kHistogramBins - 1): to bins[0,
  // n). Returns n, behind which there are none. reference: an int16
  int (*count)(const int16_t *scores, int count, int reference, uint32_t *bins);
  // combined[i] = max over heads of scores[h * stride + i] - thresholds[h * threshold_stride], saturated;
  // thresholds within int16
  void (*combine)(const int16_t *scores, int64_t stride, const int32_t *thresholds, int64_t threshold_stride,
                  int heads, int count, int16_t *combined);
  int (*draw)(const DrawTask &task);
};

constexpr double kWeightUnit = 0x1p-22;

// The table of the level of this name; nullptr if this build has none.
const DrawKernels *draw_kernels(const char *level);

}  // namespace sounder
