// SPDX-License-Identifier: Apache-2.0
//
// The Gaussian projections whose signs are the codes of lsh: the same numbers on every device.
#pragma once

#include <cstdint>
#include <vector>

namespace sounder {

// Dimensions 2 pair and 2 pair + 1 of a projection.
struct NormalPair {
  double values[2];
};
NormalPair lsh_projection(uint64_t seed, int projection, int pair);

// As a GPU takes them, signs of which become a plane's word by one vote: value k of bit b of table t at
// ((t / 32 * bits + b) * head_dim + k) * 32 + t % 32; those beyond the last table are zero.
std::vector<float> lsh_plane_projections(int bits, int tables, int head_dim, uint64_t seed);

}  // namespace sounder
