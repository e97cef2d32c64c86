// SPDX-License-Identifier: Apache-2.0
//
// Sketches of keys and their scan. One table of kernels for each instruction level, named like those of
// Kernels. All levels (and the GPU) give the same integers.
//
//   z_i = R k_i;  R x = H S2 H' S1 x: two rounds of seeded signs and orthonormal Hadamard transforms over
//   blocks whose sizes are the powers of two that head_dim is the sum of: H' takes them in descending, H in
//   ascending order (with one block both are the same). Butterflies are one addition and one subtraction of
//   floats in the usual order of strides 1, 2, 4 …, scaled once at the end of a round: the same bits
//   everywhere. x_i = z_i - mean_scale * mean, with the mean of z over the block (or context) rounded to
//   integers. code of dimension j = clamp(floor(x_j / Δ) + 2^(bits-1), 0, 2^bits - 1), Δ = step of the best
//   uniform quantiser of a Gaussian (1 bit: any; 2: 0.9957; 4: 0.3352) times |x_i| / sqrt(head_dim); c = 2
//   code - (2^bits - 1), odd integers;  f_i = <c_i, x_i> / |c_i|², the best multiple of c_i, rounded to bf16;
//   0 when |x_i|² ≤ kTiny. A key with a value that is NaN or not below kMostValue counts as all zeros.
// Sums of floats have an order: over keys 16 partial sums, key i to number i mod 16, then each with the one
// 8, 4, 2, 1 behind it; over dimensions 4, j to number j mod 4, then (0 + 1) + (2 + 3). Operations are
// rounded one by one, but for the two fused ones of the score.
//
// A query head is prepared once: z = R q; q5 = rint(z * kQueryLimit / max|z|), integers of 5 bits;
// q11 = rint(z * kMeanLimit / max|z|). The score of key i in block b is an integer in 1/32 of an octave:
//   score = rint(fma(f_i², spread, fma(f_i, gain * <q5, c_i>, base_b))), clamped to ±32767
//   base_b = scale * s11 * mean_scale_b * <q11, mean_b>,  gain = scale * s5,
//   scale = 32 * log2(e) * beta / sqrt(head_dim), s5 and s11 = max|z| over the limit.
// All scores are 0 when max|z| ≤ kTiny, or a value of q is NaN or not below kMostValue.
// The term of `spread` is three quarters (which did best) of the variance of the estimate: a key whose true
// weight w is only known as exp of ŝ ± σ is best drawn in proportion to sqrt(E w²) = exp(ŝ + σ²). With cos²
// the share of |x|² that c keeps,
//   σ² = |q|² |x_i|² (1 - cos²) / head_dim² = f_i² |q|² (E c²) (1 - cos²) / (cos² head_dim).
#pragma once

#include <cstdint>
#include <vector>

#include "index.h"

namespace sounder {

constexpr int kQueryLimit = 15;
constexpr int kScoreUnits = 32;  // of a score, in an octave
// Beyond these, figures are taken for zeros, or for broken. Between them no score becomes NaN.
constexpr float kTiny = 0x1p-100f, kMostValue = 0x1p40f;

// The seeded signs of the rotation, [2][head_dim] floats ±1. Shared by all layers and heads.
std::vector<float> rotation_signs(int head_dim, uint64_t seed);

struct SealTask {
  const void *rows;  // the block's 128 rows [K | V] of one KV head
  IndexShape shape;
  const float *signs;
  const char *previous;  // record of the block before, for context centring; nullptr for the first
  int block;             // how many blocks lie before it in its context
  char *record;          // record_bytes(shape), aligned to 64 bytes; overwritten, bounds included
  float *scratch;        // seal_scratch_floats(head_dim)
};
constexpr int64_t seal_scratch_floats(int head_dim) { return int64_t{130} * ((head_dim + 31) / 32 * 32); }

// A prepared query head: opaque bytes, aligned to 64.
constexpr int64_t sketch_query_bytes(int head_dim) {
  return index_aligned(2 * head_dim) + int64_t{sketch_groups(head_dim)} * 32 + 64;
}

struct ScanTask {
  const char *records;  // as in StrategyView
  int64_t record_stride;
  const int32_t *blocks;
  int first_block, end_block;  // of the context
  int head_dim, bits;
  const char *queries;  // [heads] prepared queries, sketch_query_bytes apart
  int heads;
  int16_t *scores;  // score of key i for head h at scores[h * score_stride + i]
  int64_t score_stride;
};

struct SketchKernels {
  const char *name;
  void (*seal_bf16)(const SealTask &task);
  void (*seal_f32)(const SealTask &task);
  // query: sketch_query_bytes(head_dim).
  void (*prepare)(const float *q, const float *signs, int head_dim, int bits, float beta, char *query);
  void (*scan)(const ScanTask &task);
};

// The table of the level of this name; nullptr if this build has none.
const SketchKernels *sketch_kernels(const char *level);

}  // namespace sounder
