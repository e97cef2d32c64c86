// SPDX-License-Identifier: Apache-2.0
#include <cstddef>

#include "../random.h"
#include "sketch_kernels.h"

namespace sounder {

std::vector<float> rotation_signs(int head_dim, uint64_t seed) {
  std::vector<float> signs(2 * static_cast<size_t>(head_dim));
  for (size_t i = 0; i < signs.size(); ++i) signs[i] = random_bits(seed, 0x5e7c, i) & 1 ? 1.0f : -1.0f;
  return signs;
}

}  // namespace sounder
