// SPDX-License-Identifier: Apache-2.0
//
// Seeded noise in the place of computed KV, the same on every device. constexpr: kernels of a GPU call it
// too.
#pragma once

#include <cstdint>

#include "random.h"

namespace sounder {

// Nearly Gaussian, of variance 1: four uniform values of 16 bits.
constexpr float nearly_gaussian(uint64_t bits) {
  int sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<int>(bits >> (16 * i) & 0xffff);
  return static_cast<float>(sum - 2 * 65535) * (1.7320508f / 65536);
}

// Value i of the row [K | V] of a position, 2 head_dim values. Keys lie around a mean of twice their spread,
// as those of real models do.
constexpr float kv_noise(uint32_t seed, int layer, int position, int kv_head, int i, int head_dim) {
  const uint64_t place = (uint64_t(layer) << 32 | uint64_t(position)) * 64 + uint64_t(kv_head);
  const float own = nearly_gaussian(random_bits(seed, place, uint64_t(i)));
  if (i >= head_dim) return own;
  return own + 2 * nearly_gaussian(random_bits(seed, uint64_t(kv_head) << 50, uint64_t(i)));
}

}  // namespace sounder
