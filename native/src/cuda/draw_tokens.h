// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "row_kernels.h"
#include "token_choice.h"

namespace sounder::cuda {

// Draws the token after each row of logits [count, vocabulary] whose choice asks for it, by the law of the
// CPU's sampler and from the same random number: temperature, top-k, top-p, min-p. chosen[r]: the likeliest
// token (find_best.h), which the drawn one replaces.
void draw_tokens(cudaStream_t stream, const float *logits, int count, int vocabulary, const Row *rows,
                 const TokenChoice *choices, ChosenToken *chosen);

}  // namespace sounder::cuda
