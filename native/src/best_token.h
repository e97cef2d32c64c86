// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace sounder {

// The likeliest token after a row, of equal ones the lowest, and its log-probability.
struct BestToken {
  int32_t token;  // -1: a logit is NaN or infinite
  float logprob;
};

}  // namespace sounder
