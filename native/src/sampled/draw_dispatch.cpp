// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <initializer_list>

#include "draw_levels.h"

namespace sounder {

const DrawKernels *draw_kernels(const char *level) {
  for (const DrawKernels *kernels : {&kDrawAmx, &kDrawAvx512, &kDrawAvx2, &kDrawScalar})
    if (std::strcmp(kernels->name, level) == 0) return kernels;
  return nullptr;
}

}  // namespace sounder
