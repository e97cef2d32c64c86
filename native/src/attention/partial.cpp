// SPDX-License-Identifier: Apache-2.0
#include "partial.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sounder {

namespace {

constexpr float kNoMaximum = -std::numeric_limits<float>::infinity();

}  // namespace

void make_partial_empty(float *state, int head_dim) {
  std::fill_n(state, head_dim + 1, 0.0f);
  state[head_dim + 1] = kNoMaximum;
}

void merge_partial(float *into, const float *from, int head_dim) {
  float *into_sum = into + head_dim, *into_maximum = into + head_dim + 1;
  const float *from_sum = from + head_dim, *from_maximum = from + head_dim + 1;
  if (*from_maximum == kNoMaximum) return;
  if (*into_maximum == kNoMaximum) {
    std::copy_n(from, partial_floats(head_dim), into);
    return;
  }
  float maximum = std::max(*into_maximum, *from_maximum);
  float keep = std::exp2(*into_maximum - maximum), take = std::exp2(*from_maximum - maximum);
  for (int i = 0; i < head_dim; ++i) into[i] = into[i] * keep + from[i] * take;
  *into_sum = *into_sum * keep + *from_sum * take;
  *into_maximum = maximum;
}

void finish_partial(const float *state, int head_dim, float *output) {
  float sum = state[head_dim];
  float scale = sum != 0.0f ? 1.0f / sum : 0.0f;
  for (int i = 0; i < head_dim; ++i) output[i] = state[i] * scale;
}

}  // namespace sounder
