// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "token_choice.h"

namespace sounder::cuda {

// The most parts of a vocabulary, a thread block each, and what one finds.
constexpr int kBestParts = 64;
struct BestPart {
  float best, sum;  // sum of exp(logit - best)
  int32_t token;    // INT32_MAX: the part is empty
  int32_t bad;      // whether a logit is NaN or infinite
};

// best[r] of logits [rows, vocabulary]; parts: room for rows * kBestParts.
void find_best(cudaStream_t stream, const float *logits, int rows, int vocabulary, BestPart *parts,
               ChosenToken *best);

}  // namespace sounder::cuda
