// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "sketch_levels.h"

namespace sounder {

const SketchKernels *sketch_kernels(const char *level) {
  for (const SketchKernels *kernels : {&kSketchAmx, &kSketchAvx512, &kSketchAvx2, &kSketchScalar})
    if (std::strcmp(kernels->name, level) == 0) return kernels;
  return nullptr;
}

}  // namespace sounder
