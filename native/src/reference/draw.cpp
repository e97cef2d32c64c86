// SPDX-License-Identifier: Apache-2.0
#include "draw.h"

#include <cmath>

#include "../random.h"

namespace sounder::reference {

uint64_t draw_odds(int64_t distance) {
  static const std::vector<uint64_t> odds = [] {
    std::vector<uint64_t> all;
    for (int k = 0; k <= 512; ++k)
      all.push_back(static_cast<uint64_t>(std::llround(std::pow(2.0L, 32.0L - k / 32.0L))));
    return all;
  }();
  return odds[distance < 0 ? 0 : distance > 512 ? 512 : static_cast<size_t>(distance)];
}

double draw_probability(int64_t distance) {
  return std::ldexp(static_cast<double>(draw_odds(distance)), -32);
}

uint32_t draw_hash(uint64_t seed, uint32_t key) {
  constexpr uint64_t kMask = 0xffffffffu;
  const uint64_t words = mix_bits(seed + 0x9e3779b97f4a7c15u);
  uint64_t x = key ^ (words & kMask);
  x = (x ^ (x >> 17)) * 0xed5ad4bbu & kMask;
  x = ((x ^ (x >> 11)) + (words >> 32)) & kMask;
  x = x * 0xac4c1b51u & kMask;
  x = (x ^ (x >> 15)) * 0x31848babu & kMask;
  return static_cast<uint32_t>(x ^ (x >> 14));
}

std::vector<int> draw(const std::vector<int> &scores, int first, int threshold, uint64_t seed) {
  std::vector<int> keys;
  for (size_t i = 0; i < scores.size(); ++i) {
    const int key = first + static_cast<int>(i);
    if (draw_hash(seed, static_cast<uint32_t>(key)) < draw_odds(int64_t{threshold} - scores[i]))
      keys.push_back(key);
  }
  return keys;
}

double expected_rows(const std::vector<int> &scores, int threshold) {
  double rows = 0;
  for (int score : scores) rows += draw_probability(int64_t{threshold} - score);
  return rows;
}

int draw_threshold(const std::vector<int> &scores, double rows) {
  int least = scores.front(), most = scores.front();
  for (int score : scores) {
    least = score < least ? score : least;
    most = score > most ? score : most;
  }
  int threshold = most + 512;
  while (threshold > least && expected_rows(scores, threshold - 1) <= rows) --threshold;
  return threshold;
}

GroupDraw group_draw(const std::vector<std::vector<int>> &scores, const std::vector<double> &others,
                     double beta, double rows) {
  if (scores.size() == 1) return {scores[0], draw_threshold(scores[0], rows)};
  GroupDraw group{std::vector<int>(scores[0].size(), INT16_MIN), 0};
  for (size_t head = 0; head < scores.size(); ++head) {
    double attended = std::exp2(others[head]);
    for (int score : scores[head]) attended += std::exp2(score / (32 * beta));
    double share = 32 * beta * std::log2(attended);
    share = share < INT16_MIN ? INT16_MIN : share > INT16_MAX ? INT16_MAX : share;
    for (size_t i = 0; i < scores[head].size(); ++i) {
      const int above = scores[head][i] - static_cast<int>(std::lrint(share));
      if (above > group.scores[i]) group.scores[i] = above < INT16_MAX ? above : INT16_MAX;
    }
  }
  group.threshold = draw_threshold(group.scores, rows);
  return group;
}

}  // namespace sounder::reference
