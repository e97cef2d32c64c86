// SPDX-License-Identifier: Apache-2.0
//
// How likely a key is found by lsh, by its angle to the query.
#pragma once

#include <vector>

namespace sounder {

// Keys that are found less often than this are taken to be found so often: no weight exceeds its inverse.
constexpr double kLeastCollision = 1e-4;

// The probability that codes of `bits` bits agree in at least `collisions` of `tables` tables for vectors of
// this cosine, at least kLeastCollision.
double collision_probability(int bits, int tables, int collisions, double cosine);

// CollisionWeight's table: -log2 of it.
std::vector<float> make_collision_offsets(int bits, int tables, int collisions);

}  // namespace sounder
