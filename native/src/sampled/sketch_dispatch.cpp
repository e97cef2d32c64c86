// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "../random.h"
#include "sketch_levels.h"

namespace sounder {

const SketchKernels *sketch_kernels(const char *level) {
  for (const SketchKernels *kernels : {&kSketchAmx, &kSketchAvx512, &kSketchAvx2, &kSketchScalar})
    if (std::strcmp(kernels->name, level) == 0) return kernels;
  return nullptr;
}

std::vector<float> rotation_signs(int head_dim, uint64_t seed) {
  std::vector<float> signs(2 * static_cast<size_t>(head_dim));
  for (size_t i = 0; i < signs.size(); ++i) signs[i] = random_bits(seed, 0x5e7c, i) & 1 ? 1.0f : -1.0f;
  return signs;
}

}  // namespace sounder
