// SPDX-License-Identifier: Apache-2.0
#include "lsh_collision.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "gather.h"

namespace sounder {

double collision_probability(int bits, int tables, int collisions, double cosine) {
  const double same_side = 1.0 - std::acos(std::clamp(cosine, -1.0, 1.0)) / std::numbers::pi;
  const double one = std::pow(same_side, bits);  // that a table's codes agree
  // 1 - P(none agree), which keeps its digits where it is small; then less P(one agrees), P(two agree)
  double found = -std::expm1(tables * std::log1p(-one)), ways = 1.0;
  for (int agree = 1; agree < std::min(collisions, tables + 1); ++agree) {
    ways *= static_cast<double>(tables - agree + 1) / agree;
    found -= ways * std::pow(one, agree) * std::pow(1.0 - one, tables - agree);
  }
  return std::clamp(found, kLeastCollision, 1.0);
}

std::vector<float> make_collision_offsets(int bits, int tables, int collisions) {
  std::vector<float> offsets(kCollisionPoints + 1);
  for (int point = 0; point <= kCollisionPoints; ++point) {
    const double cosine = 2.0 * point / kCollisionPoints - 1.0;
    offsets[static_cast<size_t>(point)] =
        static_cast<float>(-std::log2(collision_probability(bits, tables, collisions, cosine)));
  }
  return offsets;
}

}  // namespace sounder
