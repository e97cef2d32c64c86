// SPDX-License-Identifier: Apache-2.0
//
// Float scores as integers of the same order.
#pragma once

#include "sketch.cuh"

namespace sounder::cuda {

// An unsigned number that grows with the score; 0 for NaN. (A score is no -0: sums begin with 0.)
__device__ inline uint32_t rank_of(float score) {
  const uint32_t bits = __float_as_uint(score);
  return score != score ? 0 : bits >> 31 ? ~bits : bits | 0x80000000u;
}

// A signed one, for atomicMax, and back; NaN is below all others.
__device__ inline int32_t as_ordered(float score) {
  return static_cast<int32_t>(rank_of(score) ^ 0x80000000u);
}
__device__ inline float of_ordered(int32_t ordered) {
  const uint32_t rank = static_cast<uint32_t>(ordered) ^ 0x80000000u;
  return __uint_as_float(rank >> 31 ? rank & 0x7fffffffu : ~rank);
}

}  // namespace sounder::cuda
