// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <initializer_list>

#include "lsh_levels.h"

namespace sounder {

const LshKernels *lsh_kernels(const char *level) {
  for (const LshKernels *kernels : {&kLshAmx, &kLshAvx512, &kLshAvx2, &kLshScalar})
    if (std::strcmp(kernels->name, level) == 0) return kernels;
  return nullptr;
}

}  // namespace sounder
