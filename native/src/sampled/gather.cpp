// SPDX-License-Identifier: Apache-2.0
#include "gather.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>

#include "gather_levels.h"

namespace sounder {

const GatherKernels *gather_kernels(const char *level) {
  for (const GatherKernels *kernels : {&kGatherAmx, &kGatherAvx512, &kGatherAvx2, &kGatherScalar})
    if (std::strcmp(kernels->name, level) == 0) return kernels;
  return nullptr;
}

namespace {

constexpr float kNoMaximum = -std::numeric_limits<float>::infinity();
constexpr int kErrors = 3;

// Sums relative to one maximum become sums relative to another; those of w² take the square.
void merge_sums(float *into, const float *from, int head_dim, int errors) {
  float *into_maximum = into + head_dim + 1;
  const float *from_maximum = from + head_dim + 1;
  if (*from_maximum == kNoMaximum) return;
  float maximum = std::max(*into_maximum, *from_maximum);
  float keep = std::exp2(*into_maximum - maximum), take = std::exp2(*from_maximum - maximum);
  for (int i = 0; i <= head_dim; ++i) into[i] = into[i] * keep + from[i] * take;
  *into_maximum = maximum;
  float *into_errors = into + head_dim + 2;
  for (int i = 0; i < kErrors; ++i) into_errors[i] *= keep * keep;
  for (int i = 0; i < errors; ++i) into_errors[i] += from[head_dim + 2 + i] * (take * take);
}

}  // namespace

void make_sampled_empty(float *state, int head_dim) {
  std::fill_n(state, sampled_floats(head_dim), 0.0f);
  state[head_dim + 1] = kNoMaximum;
}

void merge_sampled(float *into, const float *from, int head_dim) {
  merge_sums(into, from, head_dim, kErrors);
}

void merge_exact(float *into, const float *partial, int head_dim) { merge_sums(into, partial, head_dim, 0); }

SampledResult finish_sampled(const float *state, const float *signs, int head_dim, float *output) {
  const double sum = state[head_dim];
  const float *errors = state + head_dim + 2;
  const double scale = sum != 0.0 ? 1.0 / sum : 0.0;
  double projection = 0, square = 0;
  for (int i = 0; i < head_dim; ++i) {
    output[i] = static_cast<float>(state[i] * scale);
    projection += double{signs[i]} * output[i];
    square += double{output[i]} * output[i];
  }
  // A sum of squares, but for rounding.
  const double spread =
      std::max(0.0, errors[2] - 2 * projection * errors[1] + projection * projection * errors[0]);
  const double variance = spread * scale * scale;
  return {static_cast<float>(errors[0] * scale * scale),
          static_cast<float>(square > 0 ? variance / square : 0.0)};
}

}  // namespace sounder
