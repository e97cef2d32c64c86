// SPDX-License-Identifier: Apache-2.0
//
// The probability with which lsh finds a key at an angle, and the table that attending reads it from.
#include "sampled/lsh_collision.h"

#include <algorithm>

#include "check.h"
#include "reference/lsh.h"
#include "sampled/gather.h"

using namespace sounder;

TEST("the probability of collision is the tail of a binomial distribution, at least its floor") {
  for (int bits : {1, 2, 7, 10, 15})
    for (int tables : {1, 2, 3, 30, 150, 1000})
      for (int collisions : {1, 2, 3})
        for (double c = -1; c <= 1.0001; c += 0.0625) {
          const double expected = reference::lsh_probability(bits, tables, collisions, c);
          const double got = collision_probability(bits, tables, collisions, c);
          CHECK_NEAR(got / std::max(expected, kLeastCollision), 1, 1e-6);
        }
  // The published formula
  const double z = std::pow(1 - std::acos(0.3) / std::acos(-1.0), 10);
  CHECK_NEAR(collision_probability(10, 150, 2, 0.3),
             1 - std::pow(1 - z, 150) - 150 * z * std::pow(1 - z, 149), 1e-12);
  CHECK(collision_probability(10, 150, 2, 1 + 1e-9) == 1 &&
        collision_probability(10, 150, 2, -1 - 1e-9) == 1e-4);
}

namespace {
// What attending makes of a cosine.
double collision_offset(const float *offsets, double c) {
  const double place = (c + 1) * (kCollisionPoints / 2);
  const int point = std::min(static_cast<int>(place), kCollisionPoints - 1);
  return offsets[point] + (place - point) * (double{offsets[point + 1]} - offsets[point]);
}
}  // namespace

TEST("the table of offsets is within 0.01 octaves of the formula") {
  for (auto [bits, tables] :
       {std::pair{10, 150}, {9, 120}, {8, 75}, {11, 300}, {10, 170}, {10, 220}, {7, 35}})
    for (int collisions : {1, 2, 3}) {
      const std::vector<float> offsets = make_collision_offsets(bits, tables, collisions);
      double worst = 0;
      for (int i = 0; i <= 200000; ++i) {
        const double c = -1 + 2 * (i / 200000.0),
                     exact = -std::log2(collision_probability(bits, tables, collisions, c));
        worst = std::max(worst, std::fabs(collision_offset(offsets.data(), c) - exact));
      }
      CHECK(worst <= 0.01);
    }
}
