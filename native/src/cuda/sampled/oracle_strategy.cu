// SPDX-License-Identifier: Apache-2.0
//
// Sampling by true scores, as ../../sampled/oracle_strategy.cpp has it: the sketch's Poisson draw, or
// independent draws with replacement for each head. Scores are counted from a head's greatest.
#include "../../random.h"
#include "chosen.cuh"
#include "ranks.cuh"
#include "rows.cuh"
#include "sounder.h"
#include "strategies.h"

namespace sounder::cuda {

namespace {

// ---- one draw for a group --------------------------------------------------------------------------------

__device__ inline int as_integer(float below) {
  return below >= -32767.0f ? __float2int_rn(fminf(below, 0.0f)) : -32767;
}

// Two keys' scores as one word; of keys before `begin` the least there is.
__device__ inline uint32_t integers_of(const uint32_t *words, float most, int key, int begin) {
  uint32_t pair = 0;
  for (int i = 0; i < 2; ++i) {
    const int score = key + i < begin ? INT16_MIN : as_integer(__uint_as_float(words[i]) - most);
    pair |= static_cast<uint32_t>(score & 0xffff) << 16 * i;
  }
  return pair;
}

__device__ inline int greatest_of(uint32_t pair) {
  return max(static_cast<int>(static_cast<int16_t>(pair & 0xffffu)), static_cast<int32_t>(pair) >> 16);
}

// A segment ends within a chunk, but not within a KV block: 16 threads.
__device__ inline void report(const SampledStep &step, const SampledQuery &query, int64_t place, int at,
                              int most) {
  for (int bits = 8; bits > 0; bits /= 2) most = max(most, __shfl_xor_sync(kWarp, most, bits));
  if (at < query.end && threadIdx.x % 16 == 0)
    atomicMax(step.memory.maxima + place * kMostSegmentsHere + at / query.segment_keys, most);
}

__global__ void __launch_bounds__(kChunkThreads) integers_kernel(SampledStep step) {
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const int64_t view = view_index(step, query, kv_head);
  const SampledQuery &own = step.query[query];
  const int group = step.shape.group(), first = 8 * static_cast<int>(threadIdx.x);
  for (int chunk = static_cast<int>(blockIdx.x); chunk * kChunkKeys < own.end;
       chunk += static_cast<int>(gridDim.x)) {
    const int at = chunk * kChunkKeys + first;
    for (int h = 0; h < group; ++h) {
      const int64_t place = view * group + h;
      const float zero = of_ordered(step.memory.greatest[place]);
      if (at == 0) step.memory.zeros[place] = zero / kScoreUnits;
      uint32_t pairs[4] = {};
      int most = INT16_MIN;
      for (int i = 0; i < 4 && at < own.end; ++i) {
        const uint32_t *words = words_of(step, view, chunk, h) + first + 2 * i;
        pairs[i] = integers_of(words, zero, at + 2 * i, own.begin);
        most = max(most, greatest_of(pairs[i]));
      }
      if (at < own.end)
        *reinterpret_cast<uint4 *>(step.memory.scores + place * step.memory.keys + at) =
            make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
      report(step, own, place, at, most);
    }
  }
}

void choose_by_group(const Launcher &launcher, const SampledStep &step) {
  launch(launcher, integers_kernel, chunk_grid(launcher, step, kChunkKeys, 8), kChunkThreads, 0, step);
  launch_weigh(launcher, step);
  launch_combine(launcher, step);
  launch_draw(launcher, step);
}

// ---- draws for each head ---------------------------------------------------------------------------------

using WarpSums = uint64_t[kChunkThreads / 32];

__device__ inline uint32_t as_weight(float below) {
  if (!(below > -32.0f * kScoreUnits)) return 1;
  const double power = exp2(static_cast<double>(fminf(below, 0.0f)) / kScoreUnits);
  return static_cast<uint32_t>(fmax(1.0, round(power * 4294967295.0)));
}

// Scores → weights, of which those before the range are 0; and the sums of each chunk.
__global__ void __launch_bounds__(kChunkThreads) weights_kernel(SampledStep step) {
  __shared__ WarpSums sums;
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const int64_t view = view_index(step, query, kv_head), chunks = step.memory.keys / kChunkKeys;
  const SampledQuery &own = step.query[query];
  const int group = step.shape.group(), first = 8 * static_cast<int>(threadIdx.x);
  for (int chunk = static_cast<int>(blockIdx.x); chunk * kChunkKeys < own.end;
       chunk += static_cast<int>(gridDim.x)) {
    for (int h = 0; h < group; ++h) {
      const float most = of_ordered(step.memory.greatest[view * group + h]);
      uint32_t *words = words_of(step, view, chunk, h) + first;
      uint64_t sum = 0, all = 0;
      for (int i = 0; i < 8; ++i) {
        const int key = chunk * kChunkKeys + first + i;
        const bool may = key >= own.begin && key < own.end;
        words[i] = may ? as_weight(__uint_as_float(words[i]) - most) : 0;
        sum += words[i];
      }
      sum_before(sum, sums, &all);
      if (threadIdx.x == 0) step.memory.chunk_sums[(view * group + h) * chunks + chunk] = all;
    }
  }
}

struct DrawsShared {
  WarpSums sums;
  uint64_t ends[kChunkKeys];  // the sums of weights up to each key, this one with it
  uint32_t counts[kChunkKeys];
  WarpCounts warp_counts;
};

// Sums of the weights of the chunks before this one, and of all.
__device__ inline uint64_t sum_chunks(const uint64_t *sums, int chunk, int count, WarpSums &warp_sums,
                                      uint64_t *all) {
  uint64_t before = 0, every = 0, sum = 0;
  for (int c = static_cast<int>(threadIdx.x); c < count; c += kChunkThreads) {
    every += sums[c];
    if (c < chunk) before += sums[c];
  }
  sum_before(every, warp_sums, all);
  sum_before(before, warp_sums, &sum);
  return sum;
}

// The first key whose end lies above a sum that is below the last end.
__device__ inline int key_at(const uint64_t *ends, uint64_t at) {
  int low = 0, high = kChunkKeys - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (ends[middle] > at)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// counts[i]: how often a head draws key i of the chunk.
__device__ inline void count_draws(uint64_t seed, int head, int draws, uint64_t from, uint64_t all,
                                   DrawsShared &shared) {
  for (int b = static_cast<int>(threadIdx.x); b < draws; b += kChunkThreads) {
    const uint64_t bits = random_bits(seed, static_cast<uint64_t>(head), static_cast<uint64_t>(b));
    const auto at = static_cast<uint64_t>(static_cast<unsigned __int128>(bits) * all >> 64);
    if (from <= at && at < shared.ends[kChunkKeys - 1])
      atomicAdd(shared.counts + key_at(shared.ends, at), 1u);
  }
}

// A head's draws in a chunk: bits of the thread's keys that are drawn, whose words become -log2 of expected /
// actual count.
__device__ inline uint32_t draw_chunk(const SampledStep &step, const SampledQuery &query, int64_t view,
                                      uint64_t seed, int chunk, int head, DrawsShared &shared) {
  const int first = 8 * static_cast<int>(threadIdx.x), group = step.shape.group();
  const int chunks = (query.end + kChunkKeys - 1) / kChunkKeys;
  const uint64_t *sums = step.memory.chunk_sums + (view * group + head) * (step.memory.keys / kChunkKeys);
  uint32_t *words = words_of(step, view, chunk, head) + first;
  uint64_t all = 0, own = 0, unused = 0;
  const uint64_t from = sum_chunks(sums, chunk, chunks, shared.sums, &all);
  for (int i = 0; i < 8; ++i) own += words[i];
  uint64_t end = from + sum_before(own, shared.sums, &unused);
  for (int i = 0; i < 8; ++i) {
    shared.ends[first + i] = end += words[i];
    shared.counts[first + i] = 0;
  }
  __syncthreads();
  count_draws(seed, head, query.draws, from, all, shared);
  __syncthreads();
  const double expected = log2(static_cast<double>(all)) - log2(static_cast<double>(query.draws));
  const int64_t place = view * group + head;
  if (chunk == 0 && threadIdx.x == 0)
    step.memory.figures[place * 4 + 1] =
        static_cast<float>(expected - 32) + of_ordered(step.memory.greatest[place]) / kScoreUnits;
  uint32_t chosen = 0;
  for (int i = 0; i < 8; ++i) {
    const uint32_t count = shared.counts[first + i];
    const double share = static_cast<double>(words[i]) / count;
    words[i] = __float_as_uint(count > 0 ? static_cast<float>(expected - log2(share)) : -INFINITY);
    if (count > 0) chosen |= 1u << i;
  }
  __syncthreads();
  return chosen;
}

__global__ void __launch_bounds__(kChunkThreads) draws_kernel(SampledStep step) {
  __shared__ DrawsShared shared;
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const int64_t view = view_index(step, query, kv_head);
  const SampledQuery &own = step.query[query];
  const uint64_t seed = draw_seed(step, query, kv_head);
  for (int chunk = static_cast<int>(blockIdx.x); chunk * kChunkKeys < own.end;
       chunk += static_cast<int>(gridDim.x)) {
    uint64_t chosen = 0;
    for (int h = 0; h < step.shape.group(); ++h)
      chosen |= uint64_t{draw_chunk(step, own, view, seed, chunk, h, shared)} << 8 * h;
    list_by_heads(step, view, chunk, chosen, shared.warp_counts);
  }
}

void choose_by_heads(const Launcher &launcher, const SampledStep &step) {
  const dim3 grid = chunk_grid(launcher, step, kChunkKeys, 8);
  launch(launcher, weights_kernel, grid, kChunkThreads, 0, step);
  launch(launcher, draws_kernel, grid, kChunkThreads, 0, step);
}

// In the units of scores.
void look(const Launcher &launcher, const SampledStep &step) {
  launch_near(launcher, step);
  const double scale = kScoreUnits * 1.4426950408889634 / std::sqrt(double(step.shape.head_dim));
  launch_scores(launcher, step, static_cast<float>(scale), false);
}

}  // namespace

const DeviceStrategy &oracle_strategy() {
  static constexpr DeviceStrategy kStrategy{SOUNDER_ATTENTION_ORACLE, false, false, true, false, false, look,
                                            choose_by_group};
  return kStrategy;
}

const DeviceStrategy &oracle_draws_strategy() {
  static constexpr DeviceStrategy kStrategy{SOUNDER_ATTENTION_ORACLE, true, false, true, true, false, look,
                                            choose_by_heads};
  return kStrategy;
}

}  // namespace sounder::cuda
