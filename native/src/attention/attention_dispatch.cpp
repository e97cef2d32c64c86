// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <initializer_list>

#include "attention_levels.h"

namespace sounder {

const AttentionKernels *attention_kernels(const char *level) {
  for (const AttentionKernels *kernels :
       {&kAttentionAmx, &kAttentionAvx512, &kAttentionAvx2, &kAttentionScalar})
    if (std::strcmp(kernels->name, level) == 0) return kernels;
  return nullptr;
}

}  // namespace sounder
