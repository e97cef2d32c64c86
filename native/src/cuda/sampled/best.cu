// SPDX-License-Identifier: Apache-2.0
//
// Each head's best items until its budget of keys is covered, as ../../sampled/best_keys.h says: of equal
// scores the earlier item is better. So an item has a number of 56 bits, its rank above how early it is, no
// two the same, and the least number that is chosen is found digit by digit, as a radix sort would. A thread
// block does so for a head; another kernel lists what is chosen.
#include "chosen.cuh"
#include "strategies.h"

namespace sounder::cuda {

namespace {

constexpr int kFindThreads = kHistogramBins;
constexpr int kPlaceBits = 24, kNumberBits = 32 + kPlaceBits, kDigitBits = 10;
static_assert(1 << kDigitBits == kHistogramBins);

struct FindShared {
  uint32_t bins[kHistogramBins];
  uint32_t warp_sums[kFindThreads / 32];
  uint64_t prefix;  // the digits of the least number that is chosen
  uint32_t wanted;  // keys still to be covered by items that have them
  bool is_found;    // all of these are
};

struct Items {
  const SampledQuery &query;
  int unit;  // keys of an item

  __device__ int count() const { return query.end / unit; }
  // An item that begins in the sink has its other keys alone.
  __device__ uint32_t keys(int item) const {
    return static_cast<uint32_t>(max(0, min(unit, (item + 1) * unit - query.begin)));
  }
};

__device__ inline uint64_t number_of(uint32_t rank, int item) {
  return uint64_t{rank} << kPlaceBits | static_cast<uint64_t>((1 << kPlaceBits) - 1 - item);
}

// Of the items whose digits before this one are the prefix, which digit the least that is chosen has.
__device__ inline void find_digit(int shift, int bits, FindShared &shared) {
  const int bin = kHistogramBins - 1 - static_cast<int>(threadIdx.x);
  const uint32_t own = shared.bins[bin], wanted = shared.wanted;
  uint32_t all = 0;
  const uint32_t above = sum_before(own, shared.warp_sums, &all);
  if (above < wanted && above + own >= wanted) {
    shared.prefix = shared.prefix << bits | static_cast<uint64_t>(bin);
    shared.wanted = wanted - above;
    shared.is_found = shift == 0 || own == shared.wanted;
  }
  __syncthreads();
}

__device__ inline void count_digit(const SampledStep &step, int64_t view, int head, const Items &items,
                                   int shift, int bits, FindShared &shared) {
  const uint64_t prefix = shared.prefix;
  for (int item = static_cast<int>(threadIdx.x); item < items.count(); item += kFindThreads) {
    const int key = item * items.unit;
    const uint64_t number = number_of(words_of(step, view, key / kChunkKeys, head)[key % kChunkKeys], item);
    if (number >> (shift + bits) != prefix) continue;
    uint32_t *bin = shared.bins + (number >> shift & ((1u << bits) - 1));
    const uint32_t keys = items.keys(item);
    if (keys == 1)
      atomicAdd(bin, 1u);  // by a constant lanes of a warp are added up first
    else if (keys > 0)
      atomicAdd(bin, keys);
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kFindThreads) find_kernel(SampledStep step, int unit) {
  __shared__ FindShared shared;
  let_next_start();
  wait_for_previous();
  const int head = static_cast<int>(blockIdx.x), query = static_cast<int>(blockIdx.z);
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), group = step.shape.group();
  const int64_t view = view_index(step, query, kv_head);
  const Items items{step.query[query], unit};
  if (threadIdx.x == 0) {
    shared.prefix = 0;
    shared.wanted = static_cast<uint32_t>(items.query.budget);
    shared.is_found = false;
  }
  int shift = kNumberBits;
  do {
    const int bits = min(kDigitBits, shift);
    shift -= bits;
    shared.bins[threadIdx.x] = 0;
    __syncthreads();
    count_digit(step, view, head, items, shift, bits, shared);
    find_digit(shift, bits, shared);
  } while (!shared.is_found);
  if (threadIdx.x == 0) step.memory.stops[view * group + head] = shared.prefix << shift;
}

// Bit 8 h + i: head h reads the thread's key i.
__device__ inline uint64_t chosen_by_heads(const SampledStep &step, int64_t view, int at, int chunk,
                                           const Items &items) {
  const int group = step.shape.group();
  uint64_t chosen = 0;
  for (int h = 0; h < group && at < items.query.end; ++h) {
    const uint64_t stop = step.memory.stops[view * group + h];
    const uint32_t *words = words_of(step, view, chunk, h);
    for (int i = 0; i < 8; ++i) {
      const int item = (at + i) / items.unit;
      const bool is_read = number_of(words[item * items.unit % kChunkKeys], item) >= stop;
      if (is_read && at + i >= items.query.begin) chosen |= uint64_t{1} << (8 * h + i);
    }
  }
  return chosen;
}

__global__ void __launch_bounds__(kChunkThreads) list_kernel(SampledStep step, int unit) {
  __shared__ WarpCounts warp_counts;
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const int64_t view = view_index(step, query, kv_head);
  const Items items{step.query[query], unit};
  const int group = step.shape.group();
  for (int chunk = static_cast<int>(blockIdx.x); chunk * kChunkKeys < items.query.end;
       chunk += static_cast<int>(gridDim.x)) {
    const int at = chunk * kChunkKeys + 8 * static_cast<int>(threadIdx.x);
    const uint64_t chosen = chosen_by_heads(step, view, at, chunk, items);
    __syncthreads();  // ranks are read: words become offsets
    for (int h = 0; h < group && chosen != 0; ++h)
      for (int i = 0; i < 8; ++i)
        words_of(step, view, chunk, h)[at % kChunkKeys + i] =
            __float_as_uint(chosen >> (8 * h + i) & 1u ? 0.0f : -INFINITY);
    list_by_heads(step, view, chunk, chosen, warp_counts);
  }
}

}  // namespace

void choose_best(const Launcher &launcher, const SampledStep &step, int unit) {
  const dim3 heads{static_cast<unsigned>(step.shape.group()), static_cast<unsigned>(step.served.count()),
                   static_cast<unsigned>(step.queries)};
  launch(launcher, find_kernel, heads, kFindThreads, 0, step, unit);
  launch(launcher, list_kernel, chunk_grid(launcher, step, kChunkKeys, 8), kChunkThreads, 0, step, unit);
}

}  // namespace sounder::cuda
