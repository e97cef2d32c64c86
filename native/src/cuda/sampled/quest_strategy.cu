// SPDX-License-Identifier: Apache-2.0
//
// Whole pages with the best upper bound of q·k (../../sampled/quest_strategy.cpp), and these bounds, which
// are made when a block is sealed.
#include "ranks.cuh"
#include "sounder.h"
#include "strategies.h"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kBlocksAtOnce = 8;  // of a multiprocessor

__device__ inline const uint32_t *bounds_of(const SampledStep &step, int block, int kv_head, int page) {
  const char *record =
      step.records + (static_cast<int64_t>(block) * step.shape.kv_heads + kv_head) * step.record_stride;
  const int64_t place = sketch_bytes(step.shape.head_dim, step.shape.bits);
  return reinterpret_cast<const uint32_t *>(record + place) +
         static_cast<int64_t>(page) * step.shape.head_dim;
}

// Sums over dimensions of max(q least, q greatest), by a warp: → lane h has head h's.
__device__ inline float bound_of_page(const uint32_t *least, const float *q, int d, int group) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t *greatest = least + d / 2;
  float sums[kMostSlice] = {};
  for (int pair = lane; pair < d / 2; pair += 32) {
    const uint32_t low = least[pair], high = greatest[pair];
#pragma unroll
    for (int h = 0; h < kMostSlice; ++h) {
      if (h >= group) continue;
      const float first = q[h * d + 2 * pair], second = q[h * d + 2 * pair + 1];
      sums[h] += fmaxf(first * of_bf16(low), first * of_bf16(high));
      sums[h] +=
          fmaxf(second * __uint_as_float(low & 0xffff0000u), second * __uint_as_float(high & 0xffff0000u));
    }
  }
  float own = 0.0f;
#pragma unroll
  for (int h = 0; h < kMostSlice; ++h) {
    if (h >= group) continue;
    for (int bits = 16; bits > 0; bits /= 2) sums[h] += __shfl_xor_sync(kWarp, sums[h], bits);
    if (lane == h) own = sums[h];
  }
  return own;
}

__global__ void __launch_bounds__(kThreads) page_kernel(SampledStep step) {
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const SampledQuery &own = step.query[query];
  const int d = step.shape.head_dim, group = step.shape.group(), page = step.quest_page;
  const int lane = static_cast<int>(threadIdx.x) % 32, pages = kIndexTokens / page;
  const int64_t view = view_index(step, query, kv_head);
  const float *q = step.memory.q + (int64_t{query} * step.shape.heads + int64_t{kv_head} * group) * d;
  for (int i = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / 32; i < own.end / page;
       i += static_cast<int>(gridDim.x) * kWarps) {
    const float bound =
        bound_of_page(bounds_of(step, own.blocks[i / pages], kv_head, i % pages), q, d, group);
    const int key = i * page;
    if (lane < group) words_of(step, view, key / kChunkKeys, lane)[key % kChunkKeys] = rank_of(bound);
  }
}

void look(const Launcher &launcher, const SampledStep &step) {
  check_shape(has_word_kernels(step.shape) && step.quest_page > 0 && step.memory.words != nullptr);
  launch_near(launcher, step);
  const int views = step.queries * step.served.count(), pages = step.context / step.quest_page + 1;
  const int useful = (kBlocksAtOnce * launcher.multiprocessors + views - 1) / views;
  const dim3 grid{static_cast<unsigned>(min((pages + kWarps - 1) / kWarps, useful)),
                  static_cast<unsigned>(step.served.count()), static_cast<unsigned>(step.queries)};
  launch(launcher, page_kernel, grid, kThreads, 0, step);
}

void choose(const Launcher &launcher, const SampledStep &step) {
  choose_best(launcher, step, step.quest_page);
}

// A thread block has a block's pages at one KV head, a thread one dimension at a time. NaN is passed over,
// unless it comes first in its page.
__global__ void __launch_bounds__(kThreads) bounds_kernel(SealStep step) {
  let_next_start();
  wait_for_previous();
  const int place = static_cast<int>(blockIdx.x), kv_head = static_cast<int>(blockIdx.y);
  const int d = step.shape.head_dim, page = step.shape.quest_page, thread = static_cast<int>(threadIdx.x);
  const uint16_t *rows =
      step.rows + (int64_t{step.row_blocks[place]} * step.kv_heads + kv_head) * kIndexTokens * 2 * d;
  char *record = step.records + (int64_t{step.blocks[place]} * step.kv_heads + kv_head) * step.record_stride;
  auto *bounds = reinterpret_cast<uint16_t *>(record + quest_place(step.shape));
  for (int n = thread; n < kIndexTokens / page * d; n += kThreads) {
    const int first = n / d * page, j = n % d;
    float least = of_bf16(rows[int64_t{first} * 2 * d + j]), greatest = least;
    for (int i = 1; i < page; ++i) {
      const float x = of_bf16(rows[int64_t{first + i} * 2 * d + j]);
      least = x < least ? x : least;
      greatest = x > greatest ? x : greatest;
    }
    bounds[n / d * 2 * d + j] = static_cast<uint16_t>(bf16_bits(least));
    bounds[n / d * 2 * d + d + j] = static_cast<uint16_t>(bf16_bits(greatest));
  }
  const int values = kIndexTokens / page * 2 * d;
  for (int n = values + thread; n < quest_bytes(step.shape) / 2; n += kThreads) bounds[n] = 0;
}

}  // namespace

void launch_seal_bounds(const Launcher &launcher, const SealStep &step) {
  check_shape(step.shape.quest_page > 0 && !step.shape.kv_is_f32);
  const dim3 grid{static_cast<unsigned>(step.count), static_cast<unsigned>(step.kv_heads), 1};
  launch(launcher, bounds_kernel, grid, kThreads, 0, step);
}

const DeviceStrategy &quest_strategy() {
  static constexpr DeviceStrategy kStrategy{
      SOUNDER_ATTENTION_QUEST, false, false, true, true, false, look, choose};
  return kStrategy;
}

}  // namespace sounder::cuda
