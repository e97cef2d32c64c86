// SPDX-License-Identifier: Apache-2.0
//
// Attention over chosen rows: gathers them, weighs each by 1 / P(chosen), and keeps what the standard error
// needs. One table of kernels for each instruction level, named like the levels of Kernels.
//
// A sampled state is a partial state (attention/partial.h) with three more sums. With logits in units of
// log 2, w_i = 2^(logit_i - maximum), P_i the probability of the choice, and y_i the projection of value i on
// a direction of random signs:
//   output[head_dim] = sum w_i v_i,  sum = sum w_i,  maximum,
//   error0 = sum (1 - P_i) w_i²,  error1 = sum (1 - P_i) w_i² y_i,  error2 = sum (1 - P_i) w_i² y_i²
// (of draws with replacement, 1 / count in place of 1 - P_i: such is the variance of a count over its
// square). Then 1 / effective samples = error0 / sum², and the variance of the normalised output o, estimated
// along the direction, is (error2 - 2 y error1 + y² error0) / sum² with y the projection of o: its mean over
// directions is the sum over dimensions (the usual linearisation of a ratio of weighted sums).
#pragma once

#include <cstdint>

namespace sounder {

constexpr int sampled_floats(int head_dim) { return head_dim + 5; }

// u(cos θ), the probability that a key shares the query's code in enough tables, for strategies whose P
// follows from the score: offset = table at cos, linearly between its points.
constexpr int kCollisionPoints = 2048;
struct CollisionWeight {
  const float *offsets;  // [kCollisionPoints + 1] -log2 u at cos = -1 .. 1
  float mean;            // q·μ in the unit of logits: cos = (logit - mean) * inverse_norms[j]
};

struct GatherTask {
  // Rows as in AttentionTask: token t of block b has its row [K | V] at
  // rows + (b * block_stride + t * 2 * head_dim) values.
  const void *rows;
  int64_t block_stride;
  const int32_t *blocks;

  const int32_t *keys;  // [count] positions, ascending
  int count;
  // [count] -log2 P ≥ 0; nullptr: all certain. Of draws with replacement: -log2 of expected / actual count,
  // which may be negative. With collision: 1 / (|q| |x_i|) in the unit of logits.
  const float *offsets;
  const CollisionWeight *collision;
  const float *one_draw;  // of draws with replacement: log2 of what one weighs, likewise; otherwise nullptr

  const float *q;  // [queries][head_dim] after RoPE, not scaled
  int queries;     // ≤ kMostGatherQueries
  int head_dim;
  const float *signs;  // [head_dim] ±1

  float *states;         // [queries] sampled states, state_stride floats apart; overwritten
  int64_t state_stride;  // ≥ sampled_floats(head_dim)
  float *scratch;        // gather_scratch_floats(head_dim), aligned to 64 bytes
};

constexpr int kMostGatherQueries = 16;
constexpr int64_t gather_scratch_floats(int head_dim) {
  int64_t padded = (head_dim + 31) / 32 * 32;
  return (2 * kMostGatherQueries + 2) * padded + kMostGatherQueries * 256 + 1024;
}

struct GatherKernels {
  const char *name;
  void (*gather_bf16)(const GatherTask &task);
  void (*gather_f32)(const GatherTask &task);
};

// The table of the level of this name; nullptr if this build has none.
const GatherKernels *gather_kernels(const char *level);

// ---- sampled states as values ------------------------------------------------------------------------

void make_sampled_empty(float *state, int head_dim);

// into = into merged with from.
void merge_sampled(float *into, const float *from, int head_dim);

// into = into merged with a partial state whose keys were certain.
void merge_exact(float *into, const float *partial, int head_dim);

struct SampledResult {
  float inverse_samples;  // 1 / effective samples: 0 when every key was certain
  float squared_error;    // variance of the output along the direction / |output|²
};

// output = the attention's result (zeros for the state of no keys).
SampledResult finish_sampled(const float *state, const float *signs, int head_dim, float *output);

}  // namespace sounder
