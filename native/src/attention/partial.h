// SPDX-License-Identifier: Apache-2.0
//
// Partial attention as a value that merges. A partial state over some keys is head_dim + 2 floats:
//   output[head_dim] = sum of 2^(logit - maximum) * v,  sum = sum of 2^(logit - maximum),  maximum
// with logits in units of log 2. Merging is associative and commutative up to rounding; the state of no
// keys (maximum = -infinity, all else 0) is its identity.
#pragma once

#include <cstdint>

namespace sounder {

constexpr int partial_floats(int head_dim) { return head_dim + 2; }

void make_partial_empty(float *state, int head_dim);

// into = into merged with from.
void merge_partial(float *into, const float *from, int head_dim);

// output = the attention's result, output / sum; zeros for the state of no keys.
void finish_partial(const float *state, int head_dim, float *output);

}  // namespace sounder
