// SPDX-License-Identifier: Apache-2.0
//
// The list of rows that are read, which kernels of all strategies end in: a thread block lists those of a
// chunk of keys, each thread looking at 8 that follow each other.
#pragma once

#include "../block_scan.cuh"
#include "sketch.cuh"

namespace sounder::cuda {

constexpr int kChunkThreads = kChunkKeys / 8;

using WarpCounts = int[kChunkThreads / 32];

// chosen: bit i for key i of the thread's 8; distance_of(i): of DrawTable.
template <typename F>
__device__ inline void list_chosen(const SampledStep &step, int64_t view, int chunk, uint32_t chosen,
                                   WarpCounts &warp_counts, F distance_of) {
  const SampledMemory &m = step.memory;
  const int at = chunk * kChunkKeys + 8 * static_cast<int>(threadIdx.x);
  int all = 0;
  int place = sum_before(__popc(chosen), warp_counts, &all);
  ChosenRow *to = m.chosen + view * m.keys + int64_t{chunk} * kChunkKeys;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    if (chosen >> i & 1u) to[place++] = {at + i, distance_of(i)};
  if (threadIdx.x == 0) m.counts[view * (m.keys / kChunkKeys) + chunk] = all;
}

// chosen: bit 8 h + i where head h reads key i of the thread's 8. What it weighs is in the words.
__device__ inline void list_by_heads(const SampledStep &step, int64_t view, int chunk, uint64_t chosen,
                                     WarpCounts &warp_counts) {
  uint32_t any = 0;
  for (int h = 0; h < step.shape.group(); ++h) {
    const auto own = static_cast<uint32_t>(chosen >> 8 * h & 0xffu);
    any |= own;
    int keys = __popc(own);
    for (int bits = 16; bits > 0; bits /= 2) keys += __shfl_xor_sync(kWarp, keys, bits);
    if (threadIdx.x % 32 == 0 && keys > 0)
      atomicAdd(step.memory.head_keys + view * step.shape.group() + h, keys);
  }
  list_chosen(step, view, chunk, any, warp_counts, [](int) { return 0; });
}

// The grid of kernels whose blocks look at chunks of a query's and KV head's keys, every gridDim.x-th.
inline dim3 chunk_grid(const Launcher &launcher, const SampledStep &step, int chunk, int blocks_at_once) {
  const int views = step.queries * step.served.count(), chunks = (step.context + chunk - 1) / chunk;
  const int useful = (blocks_at_once * launcher.multiprocessors + views - 1) / views;
  return {static_cast<unsigned>(min(chunks, useful)), static_cast<unsigned>(step.served.count()),
          static_cast<unsigned>(step.queries)};
}

}  // namespace sounder::cuda
