// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace sounder {

// How the token after a row is chosen where its logits are as the model says and nothing else is asked of
// them: no penalties, no bias, no mask, no alternatives.
struct TokenChoice {
  uint64_t seed = 0;
  int32_t choice = 0;  // with the seed and the token's position: what is drawn
  float factor = 0;    // 1 / temperature; 0: the likeliest token, and the rest means nothing
  int32_t top_k = 0;   // 0: all
  float top_p = 1;
  float farthest = 0;  // -log(min_p): a scaled logit further below the largest one is out
};

// A token, and its log-probability by what the model says.
struct ChosenToken {
  int32_t token;  // -1: a logit is NaN or infinite
  float logprob;
};

}  // namespace sounder
