// SPDX-License-Identifier: Apache-2.0
//
// True scores of all keys, in float32. A thread block takes a KV block at a time, a thread one of its keys,
// for all heads of the group; keys come by way of shared memory, so that lines are read whole.
#include "ranks.cuh"
#include "strategies.h"

namespace sounder::cuda {

namespace {

constexpr int kThreads = kIndexTokens;
constexpr int kPiece = 64;                 // dimensions of a key at a time: a line
constexpr int kKeyWords = kPiece / 2 + 1;  // so that readers of a word of all keys use all banks
constexpr int kLoadsOfPiece = kPiece / 8;  // of 16 bytes
constexpr int kBlocksAtOnce = 8;           // of a multiprocessor

struct ScoreShared {
  uint32_t keys[kIndexTokens * kKeyWords];
  float4 q[kMostSlice * kPiece / 4];
};

// Dimensions [first, first + count) of the block's keys and of the group's queries; count a multiple of 8.
__device__ inline void load_piece(const uint16_t *rows, const float *q, int d, int group, int first,
                                  int count, ScoreShared &shared) {
  const int thread = static_cast<int>(threadIdx.x);
  for (int n = thread; n < kIndexTokens * kLoadsOfPiece; n += kThreads) {
    const int key = n / kLoadsOfPiece, at = n % kLoadsOfPiece * 8;
    if (at >= count) continue;
    const uint4 words = load_once(rows + int64_t{key} * 2 * d + first + at);
    uint32_t *to = shared.keys + key * kKeyWords + at / 2;
    to[0] = words.x;
    to[1] = words.y;
    to[2] = words.z;
    to[3] = words.w;
  }
  float *to = &shared.q[0].x;
  for (int n = thread; n < group * count; n += kThreads)
    to[n / count * kPiece + n % count] = q[n / count * d + first + n % count];
}

template <int H>
__device__ inline void add_piece(const ScoreShared &shared, int count, float (&sums)[H]) {
  const uint32_t *key = shared.keys + static_cast<int>(threadIdx.x) * kKeyWords;
  for (int i = 0; i < count / 4; ++i) {
    const uint32_t low = key[2 * i], high = key[2 * i + 1];
    const float k[4] = {of_bf16(low), __uint_as_float(low & 0xffff0000u), of_bf16(high),
                        __uint_as_float(high & 0xffff0000u)};
#pragma unroll
    for (int h = 0; h < H; ++h) {
      const float4 q = shared.q[h * (kPiece / 4) + i];
      sums[h] = __fmaf_rn(q.x, k[0], sums[h]);
      sums[h] = __fmaf_rn(q.y, k[1], sums[h]);
      sums[h] = __fmaf_rn(q.z, k[2], sums[h]);
      sums[h] = __fmaf_rn(q.w, k[3], sums[h]);
    }
  }
}

// The greatest scores of this block's threads.
template <int H>
__device__ inline void report(const SampledStep &step, int64_t view, const int32_t (&most)[H]) {
  const int group = step.shape.group();
#pragma unroll
  for (int h = 0; h < H; ++h) {
    int32_t x = most[h];
    for (int bits = 16; bits > 0; bits /= 2) x = max(x, __shfl_xor_sync(kWarp, x, bits));
    if (threadIdx.x % 32 == 0 && h < group) atomicMax(step.memory.greatest + view * group + h, x);
  }
}

template <int H>
__global__ void __launch_bounds__(kThreads) score_kernel(SampledStep step, float scale, bool ranks) {
  __shared__ ScoreShared shared;
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const SampledQuery &own = step.query[query];
  const int d = step.shape.head_dim, group = step.shape.group(), thread = static_cast<int>(threadIdx.x);
  const int64_t view = view_index(step, query, kv_head);
  const float *q = step.memory.q + (int64_t{query} * step.shape.heads + int64_t{kv_head} * group) * d;
  int32_t most[H];
#pragma unroll
  for (int h = 0; h < H; ++h) most[h] = INT32_MIN;
  for (int block = static_cast<int>(blockIdx.x); block < own.end / kIndexTokens;
       block += static_cast<int>(gridDim.x)) {
    const int64_t place = int64_t{own.blocks[block]} * step.shape.kv_heads + kv_head;
    float sums[H] = {};
    for (int first = 0; first < d; first += kPiece) {
      const int count = min(kPiece, d - first);
      __syncthreads();
      load_piece(step.rows + place * kIndexTokens * 2 * d, q, d, group, first, count, shared);
      __syncthreads();
      add_piece<H>(shared, count, sums);
    }
    const int key = block * kIndexTokens + thread;
#pragma unroll
    for (int h = 0; h < H; ++h) {
      if (h >= group) continue;
      const float score = __fmul_rn(scale, sums[h]);
      words_of(step, view, key / kChunkKeys, h)[key % kChunkKeys] =
          ranks ? rank_of(score) : __float_as_uint(score);
      if (key >= own.begin) most[h] = max(most[h], as_ordered(score));
    }
  }
  report<H>(step, view, most);
}

template <int H>
void launch_with(const Launcher &launcher, const SampledStep &step, float scale, bool ranks) {
  const int views = step.queries * step.served.count(), blocks = (step.context + kThreads - 1) / kThreads;
  const int useful = (kBlocksAtOnce * launcher.multiprocessors + views - 1) / views;
  const dim3 grid{static_cast<unsigned>(min(blocks, useful)), static_cast<unsigned>(step.served.count()),
                  static_cast<unsigned>(step.queries)};
  launch(launcher, score_kernel<H>, grid, kThreads, 0, step, scale, ranks);
}

}  // namespace

void launch_scores(const Launcher &launcher, const SampledStep &step, float scale, bool ranks) {
  check_shape(has_word_kernels(step.shape) && step.memory.words != nullptr);
  const int group = step.shape.group();
  if (group == 1) return launch_with<1>(launcher, step, scale, ranks);
  if (group == 2) return launch_with<2>(launcher, step, scale, ranks);
  if (group <= 4) return launch_with<4>(launcher, step, scale, ranks);
  launch_with<8>(launcher, step, scale, ranks);
}

}  // namespace sounder::cuda
