// SPDX-License-Identifier: Apache-2.0
//
// What the Poisson draw by integer scores means (sampled/draw.h), in plain loops. Slow on purpose.
#pragma once

#include <cstdint>
#include <vector>

namespace sounder::reference {

// The number that a key's hash must stay below to be read, of 2^32: 2^(32 - distance / 32) rounded, for
// distances from 0 to 512; those beyond count as their ends.
uint64_t draw_odds(int64_t distance);
double draw_probability(int64_t distance);

uint32_t draw_hash(uint64_t seed, uint32_t key);

// Of keys first, first + 1, … with these scores, those that are read.
std::vector<int> draw(const std::vector<int> &scores, int first, int threshold, uint64_t seed);

double expected_rows(const std::vector<int> &scores, int threshold);

// The least threshold at which at most so many of the keys are read, as expected; none below all scores.
int draw_threshold(const std::vector<int> &scores, double rows);

// What a group of heads draws by. scores [heads][keys]: beta · log2 of what a key weighs, in units of 1/32
// octave. others: log2 of what each head attends beside these keys, on the scale of the scores.
struct GroupDraw {
  std::vector<int> scores;
  int threshold;
};
GroupDraw group_draw(const std::vector<std::vector<int>> &scores, const std::vector<double> &others,
                     double beta, double rows);

}  // namespace sounder::reference
