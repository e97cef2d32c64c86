// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <initializer_list>

#include "exact_scores_levels.h"

namespace sounder {

const ExactScoreKernels *exact_score_kernels(const char *level) {
  for (const ExactScoreKernels *kernels :
       {&kExactScoresAmx, &kExactScoresAvx512, &kExactScoresAvx2, &kExactScoresScalar})
    if (std::strcmp(kernels->name, level) == 0) return kernels;
  return nullptr;
}

}  // namespace sounder
