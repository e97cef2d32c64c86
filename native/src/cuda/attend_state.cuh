// SPDX-License-Identifier: Apache-2.0
//
// What attention of a tile keeps of its queries, whatever multiplies: running maximum m, sum l and output o
// in registers, as fragments of accumulators (mma.cuh): 16 queries a warp.
#pragma once

#include <cmath>
#include <mma.cuh>

#include "attend.h"
#include "values.cuh"

namespace sounder::cuda {

struct TileArgs {
  const bf16 *q;
  const bf16 *slab;
  const int32_t *tables;
  const AttendTile *tiles;
  bf16 *output;
  float *partial_outputs;  // [tile, KV head, split, M, D]
  float2 *partial_sums;    // [tile, KV head, split, M]: m in powers of two, l
  int table_width, heads, kv_heads, dim, window, splits;
  float scale;  // log2(e) / sqrt(D)
};

// What a lane holds of its warp's 16 queries: two rows, r = 0 and 1, eight apart.
template <int DIM>
struct State {
  float output[DIM / 8][4] = {};
  float m[2] = {-INFINITY, -INFINITY};
  float l[2] = {};
};

// Keys that a query must not see get a score of minus infinity.
template <int KEYS>
__device__ inline void mask(float (&scores)[KEYS / 8][4], int first_key, const int (&positions)[2],
                            int window) {
#pragma unroll
  for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_key + n * 8 + threadIdx.x % 4 * 2 + i % 2, position = positions[i / 2];
      if (key > position || (window > 0 && key <= position - window)) scores[n][i] = -INFINITY;
    }
  }
}

// From scores to weights exp2(scale * score - m), and the sum l, with the new maximum m. Returns by what the
// output of either row shrinks.
template <int DIM, int KEYS>
__device__ inline float2 weigh(float (&scores)[KEYS / 8][4], float scale, State<DIM> &state) {
  float shrinks[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float low = -INFINITY, high = -INFINITY;
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
      low = fmaxf(low, scores[n][2 * r]);
      high = fmaxf(high, scores[n][2 * r + 1]);
    }
    float most = fmaxf(low, high);
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    const float m = fmaxf(state.m[r], most * scale);
    const float base = m == -INFINITY ? 0.0f : m;  // nothing seen yet: all weights are 0
    shrinks[r] = exp2_of(state.m[r] - base);
    state.m[r] = m;
    float sums[2] = {};
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float &own = scores[n][2 * r + i];
        own = exp2_of(own * scale - base);
        sums[i] += own;
      }
    }
    state.l[r] = state.l[r] * shrinks[r] + (sums[0] + sums[1]);
  }
  return make_float2(shrinks[0], shrinks[1]);
}

template <int DIM>
__device__ inline void shrink_output(State<DIM> &state, float2 shrink) {
#pragma unroll
  for (int d = 0; d < DIM / 8; ++d) {
    state.output[d][0] *= shrink.x;
    state.output[d][1] *= shrink.x;
    state.output[d][2] *= shrink.y;
    state.output[d][3] *= shrink.y;
  }
}

// The rows of a lane's state as output, or as partial states where the keys are split.
template <int DIM, int M>
__device__ inline void store(const TileArgs &args, const AttendTile &tile, int kv_head, int warp,
                             State<DIM> &state) {
  const int lane = threadIdx.x % 32, group = args.heads / args.kv_heads, packed = tile.tokens * group;
  const int64_t part = (int64_t{blockIdx.z} * args.kv_heads + kv_head) * args.splits + blockIdx.x;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float l = state.l[r] + __shfl_xor_sync(0xffffffffu, state.l[r], 1);
    l += __shfl_xor_sync(0xffffffffu, l, 2);
    const int own = warp * 16 + r * 8 + lane / 4, m = tile.first_m + own;
    if (m >= packed) continue;
    const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
    const bool split = args.splits > 1;
    if (split && lane % 4 == 0) args.partial_sums[part * M + own] = make_float2(state.m[r], l);
#pragma unroll
    for (int d = 0; d < DIM / 8; ++d) {
      const int column = d * 8 + lane % 4 * 2;
      if (column >= args.dim) continue;
      const float low = state.output[d][2 * r], high = state.output[d][2 * r + 1];
      if (split) {
        float *to = args.partial_outputs + (part * M + own) * args.dim + column;
        *reinterpret_cast<float2 *>(to) = make_float2(low, high);
      } else {
        bf16 *to = args.output + (row * args.heads + head) * args.dim + column;
        *reinterpret_cast<__nv_bfloat162 *>(to) = __floats2bfloat162_rn(low / l, high / l);
      }
    }
  }
}

// The keys that a split of a tile reads, [first, end); `first` is a multiple of KEYS.
template <int KEYS>
__device__ inline int2 keys_of(const TileArgs &args, const AttendTile &tile, int first_token,
                               int last_token) {
  const int end = tile.position + last_token + 1;
  const int seen = args.window > 0 ? max(0, tile.position + first_token - args.window + 1) : 0;
  const int first = seen / KEYS * KEYS, tiles = (end - first + KEYS - 1) / KEYS;
  const int each = (tiles + args.splits - 1) / args.splits * KEYS;
  const int own = first + int(blockIdx.x) * each;
  return make_int2(min(own, end), min(own + each, end));
}

// What kernels get for a list of tiles, and what brings their splits together.
TileArgs tile_args(const AttentionShape &shape, const AttendCall &call, const AttendTile *tiles, int count,
                   int queries, int splits);
void merge_splits(cudaStream_t stream, const TileArgs &args, int count, int queries);

}  // namespace sounder::cuda
