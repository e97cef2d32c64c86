// SPDX-License-Identifier: Apache-2.0
//
// Counter-based random bits: a value depends on what it is for and on nothing that was drawn before.
// constexpr: kernels of a GPU call them too.
#pragma once

#include <cstdint>

namespace sounder {

// A bijection of 64 bits in which every input bit reaches every output bit (the finaliser of splitmix64,
// Steele, Lea and Flood 2014).
constexpr uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

constexpr uint64_t random_bits(uint64_t seed, uint64_t a, uint64_t b) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;  // 2^64 / golden ratio: zeros do not map to zero
  return mix_bits(mix_bits(mix_bits(seed + kStep) ^ (a + 1) * kStep) ^ (b + 1) * kStep);
}

// In [0, 1).
constexpr double random_uniform(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

}  // namespace sounder
