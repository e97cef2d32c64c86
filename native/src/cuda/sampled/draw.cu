// SPDX-License-Identifier: Apache-2.0
//
// From scores to rows, as ../../sampled/draw_group.h says: what each head attends in all, u, the threshold of
// the budget, the draw. Everything but the logarithms is integers, whose sums have no order.
#include "chosen.cuh"
#include "rows.cuh"

namespace sounder::cuda {

namespace {

constexpr int kPieceKeys = 1024;  // of `weigh`: a warp's, within a segment
constexpr int kWeighWarps = 4;
constexpr uint32_t kNotShrunk = 65536, kMostShrunk = 4095;

__device__ inline int segments_of(const SampledQuery &query) {
  return (query.end + query.segment_keys - 1) / query.segment_keys;
}
// Whole octaves, as in ../../sampled/draw_group.cpp.
__device__ inline int weight_reference(int most) { return (most + kScoreUnits - 1) & -kScoreUnits; }

__device__ inline int low_short(uint32_t x) { return static_cast<int16_t>(x & 0xffffu); }
__device__ inline int high_short(uint32_t x) { return static_cast<int32_t>(x) >> 16; }
__device__ inline int short_of(const uint4 &x, int i) {
  const uint32_t word = i < 2 ? x.x : i < 4 ? x.y : i < 6 ? x.z : x.w;
  return i % 2 ? high_short(word) : low_short(word);
}

__device__ inline uint64_t warp_sum(uint64_t x) {
  for (int half = 16; half > 0; half /= 2) x += __shfl_xor_sync(kWarp, x, half);
  return x;
}

// ---- weigh -----------------------------------------------------------------------------------------------

// Lane k: 2^(22 - k / 32) as DrawKernels::weigh has it.
__device__ inline uint32_t weight_of_lane() {
  constexpr uint32_t kHigh[8] = {2048, 1878, 1722, 1579, 1448, 1328, 1218, 1117};
  constexpr uint32_t kLow[4] = {2048, 2004, 1961, 1919};
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t high = 0, low = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) high = lane / 4 == i ? kHigh[i] : high;
#pragma unroll
  for (int i = 0; i < 4; ++i) low = lane % 4 == i ? kLow[i] : low;
  return high * low;
}

// What the scores [first, end) of a head weigh: this lane's part. At most kPieceKeys of them: 2^27.
template <bool kShrinks>
__device__ inline uint32_t weigh_piece(const int16_t *scores, int first, int end, int reference,
                                       uint32_t shrink) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint32_t own = weight_of_lane();
  uint32_t sum = 0;
  for (int from = first / 8 * 8; from < end; from += 256) {
    const int at = from + 8 * lane;
    const bool is_whole = from >= first && from + 256 <= end;
    uint4 words = make_uint4(0, 0, 0, 0);
    if (at < end) words = *reinterpret_cast<const uint4 *>(scores + at);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      auto k = static_cast<uint32_t>(reference - short_of(words, i));
      if (kShrinks) k = (min(k, kMostShrunk) * shrink + 32768u) >> 16;
      const uint32_t weight = __shfl_sync(kWarp, own, static_cast<int>(k & 31u)) >> min(k >> 5, 31u);
      if (is_whole || (at + i >= first && at + i < end)) sum += weight;
    }
  }
  return sum;
}

__global__ void __launch_bounds__(32 * kWeighWarps) weigh_kernel(SampledStep step) {
  let_next_start();
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const SampledQuery &own = step.query[query];
  const SampledMemory &m = step.memory;
  const int group = step.shape.group(), pieces = (own.segment_keys + kPieceKeys - 1) / kPieceKeys;
  const int64_t view = view_index(step, query, kv_head);
  for (int i = static_cast<int>(blockIdx.x); i < segments_of(own) * pieces;
       i += static_cast<int>(gridDim.x)) {
    const int segment = i / pieces, start = segment * own.segment_keys + i % pieces * kPieceKeys;
    const int first = max(start, own.begin);
    const int end = min(min(own.end, (segment + 1) * own.segment_keys), start + kPieceKeys);
    for (int h = static_cast<int>(threadIdx.x) / 32; h < group; h += kWeighWarps) {
      const int64_t place = (view * group + h) * kMostSegmentsHere + segment;
      const int16_t *scores = m.scores + (view * group + h) * m.keys;
      const int reference = weight_reference(m.maxima[place]);
      uint64_t sum = own.beta_shrink == kNotShrunk
                         ? weigh_piece<false>(scores, first, end, reference, kNotShrunk)
                         : weigh_piece<true>(scores, first, end, reference, own.beta_shrink);
      sum = warp_sum(sum);
      if (threadIdx.x % 32 == 0 && sum != 0)
        atomicAdd(reinterpret_cast<unsigned long long *>(m.weights + place), sum);
    }
  }
}

// ---- combine ---------------------------------------------------------------------------------------------

__device__ inline double warp_max_double(double x) {
  for (int half = 16; half > 0; half /= 2) x = fmax(x, __shfl_xor_sync(kWarp, x, half));
  return x;
}

// The threshold of a head: log2 of all it attends, in units of scores. By one warp.
__device__ inline int head_threshold(const SampledStep &step, const SampledQuery &query, int64_t view,
                                     int head) {
  const int lane = static_cast<int>(threadIdx.x) % 32, group = step.shape.group(), d = step.shape.head_dim;
  const SampledMemory &m = step.memory;
  const double unit = kScoreUnits * static_cast<double>(query.beta);
  const int64_t place = (view * group + head) * kMostSegmentsHere + lane;
  const bool is_segment = lane < segments_of(query);
  double weight = is_segment ? static_cast<double>(m.weights[place]) * kWeightUnit : 0.0;
  double exponent = is_segment ? weight_reference(m.maxima[place]) / unit : 0.0;
  if (lane < kNearParts) {  // sink and tail come with the first segments
    const float *exact = m.exact + ((view * kNearParts + lane) * group + head) * state_floats(d);
    const double sum = exact[d], most = static_cast<double>(exact[d + 1]) - m.zeros[view * group + head];
    if (sum > 0 && weight == 0) {
      weight = sum;
      exponent = most;
    } else if (sum > 0) {
      const double higher = fmax(exponent, most);
      weight = weight * exp2(exponent - higher) + sum * exp2(most - higher);
      exponent = higher;
    }
  }
  const double most = warp_max_double(weight > 0 ? exponent : -INFINITY);
  double total = weight != 0 ? weight * exp2(exponent - most) : 0.0;
  for (int half = 16; half > 0; half /= 2) total += __shfl_xor_sync(kWarp, total, half);
  const double threshold = (most + log2(total)) * unit;
  if (!(threshold > INT16_MIN)) return INT16_MIN;
  return static_cast<int>(rint(fmin(threshold, static_cast<double>(INT16_MAX))));
}

struct Thresholds {
  int of_head[kMostGroup];
  int above[kMostGroup];  // greatest score less the threshold
};

// By all warps; a group of one head draws by its scores as they are.
__device__ inline void find_thresholds(const SampledStep &step, const SampledQuery &query, int64_t view,
                                       Thresholds &thresholds) {
  const int lane = static_cast<int>(threadIdx.x) % 32, group = step.shape.group();
  for (int h = static_cast<int>(threadIdx.x) / 32; h < group; h += kChunkThreads / 32) {
    const int threshold = group == 1 ? 0 : head_threshold(step, query, view, h);
    int most = lane < segments_of(query) ? step.memory.maxima[(view * group + h) * kMostSegmentsHere + lane]
                                         : INT16_MIN;
    for (int half = 16; half > 0; half /= 2) most = max(most, __shfl_xor_sync(kWarp, most, half));
    if (lane == 0) {
      thresholds.of_head[h] = threshold;
      thresholds.above[h] = most - threshold;
    }
  }
  __syncthreads();
}

__device__ inline int reference_of(const Thresholds &thresholds, int group) {
  int most = INT16_MIN;
  for (int h = 0; h < group; ++h) most = max(most, thresholds.above[h]);
  return min(most, INT16_MAX);
}

// u of 8 keys, and their places in the histogram.
__device__ inline uint4 combine_keys(const SampledStep &step, int64_t view, int at,
                                     const Thresholds &thresholds) {
  const int group = step.shape.group();
  int u[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) u[i] = INT16_MIN;
  for (int h = 0; h < group; ++h) {
    const auto scores =
        *reinterpret_cast<const uint4 *>(step.memory.scores + (view * group + h) * step.memory.keys + at);
#pragma unroll
    for (int i = 0; i < 8; ++i) u[i] = max(u[i], short_of(scores, i) - thresholds.of_head[h]);
  }
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    words[i] = static_cast<uint32_t>(min(u[2 * i], INT16_MAX) & 0xffff) |
               static_cast<uint32_t>(min(u[2 * i + 1], INT16_MAX)) << 16;
  return make_uint4(words[0], words[1], words[2], words[3]);
}

struct CombineShared {
  Thresholds thresholds;
  uint32_t bins[kHistogramBins];
  uint32_t last[kMostDistance + 1];
  uint64_t expected[kChunkThreads / 32];
  bool is_last;
};

// A lane's bins: every 32nd.
using Bins = uint32_t[kHistogramBins / 32];

// expected_rows of ../../sampled/draw.h, by one warp.
__device__ inline uint64_t expected_rows_of_warp(const Bins &bins, const uint32_t *last, int place) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint64_t sums[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < kHistogramBins / 32; ++i) {
    const int distance = min(max(32 * i + lane - place, 0), kMostDistance);
    sums[i % 2] += bins[i] * (uint64_t{last[distance]} + 1);
  }
  return warp_sum(sums[0] + sums[1]);
}

// threshold_place of ../../sampled/draw.h: the warps try as many places at once.
__device__ inline int find_place(const Bins &bins, CombineShared &shared, uint64_t rows) {
  constexpr int kWarps = kChunkThreads / 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  // What is sought lies in [low, high]; low does, whatever its sum.
  int low = -kMostDistance, high = kHistogramBins - 1;
  while (low < high) {
    const int step = (high - low + kWarps) / (kWarps + 1);
    const int place = min(low + step * (warp + 1), high);
    const uint64_t expected = expected_rows_of_warp(bins, shared.last, place);
    if (threadIdx.x % 32 == 0) shared.expected[warp] = expected;
    __syncthreads();
    int fits = 0;
    while (fits < kWarps && shared.expected[fits] <= rows) ++fits;
    const int next = min(low + step * (fits + 1), high) - 1;
    low = min(low + step * fits, high);
    if (fits < kWarps) high = max(next, low);
    __syncthreads();
  }
  return low;
}

// The last of a view's blocks, to which the histogram is whole, finds the threshold of the draw.
__device__ inline void find_draw(const SampledStep &step, const SampledQuery &query, int64_t view,
                                 int reference, CombineShared &shared) {
  const int thread = static_cast<int>(threadIdx.x), chunks = (query.end + kChunkKeys - 1) / kChunkKeys;
  __threadfence();
  __syncthreads();
  if (thread == 0)
    shared.is_last = atomicAdd(step.memory.finished + view * (kMostSlices + 1) + kMostSlices, 1u) + 1 ==
                     static_cast<unsigned>(min(chunks, static_cast<int>(gridDim.x)));
  __syncthreads();
  if (!shared.is_last) return;
  __threadfence();
  Bins bins;
#pragma unroll
  for (int i = 0; i < kHistogramBins / 32; ++i)
    bins[i] = __ldcg(step.memory.histogram + view * kHistogramBins + 32 * i + thread % 32);
  const int place = find_place(bins, shared, static_cast<uint64_t>(query.budget) << 32);
  int32_t *thresholds = step.memory.thresholds + view * (kMostGroup + 2);
  if (thread < step.shape.group()) thresholds[thread] = shared.thresholds.of_head[thread];
  if (thread == 0) thresholds[kMostGroup] = reference;
  if (thread == 0) thresholds[kMostGroup + 1] = reference - place;
}

__global__ void __launch_bounds__(kChunkThreads) combine_kernel(SampledStep step) {
  __shared__ CombineShared shared;
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), group = step.shape.group();
  for (int i = thread; i <= kMostDistance; i += kChunkThreads) shared.last[i] = step.constants->draw.last[i];
  for (int i = thread; i < kHistogramBins; i += kChunkThreads) shared.bins[i] = 0;
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const SampledQuery &own = step.query[query];
  const SampledMemory &m = step.memory;
  const int64_t view = view_index(step, query, kv_head);
  if (static_cast<int>(blockIdx.x) * kChunkKeys >= own.end) return;
  find_thresholds(step, own, view, shared.thresholds);
  const int reference = reference_of(shared.thresholds, group);
  for (int chunk = static_cast<int>(blockIdx.x); chunk * kChunkKeys < own.end;
       chunk += static_cast<int>(gridDim.x)) {
    const int at = chunk * kChunkKeys + 8 * thread;
    if (at >= own.end) continue;
    const uint4 u = combine_keys(step, view, at, shared.thresholds);
    *reinterpret_cast<uint4 *>(m.combined + view * m.keys + at) = u;
#pragma unroll
    for (int i = 0; i < 8; ++i)
      if (at + i >= own.begin)
        atomicAdd(shared.bins + min(reference - min(short_of(u, i), reference), kHistogramBins - 1), 1u);
  }
  __syncthreads();
  for (int i = thread; i < kHistogramBins; i += kChunkThreads)
    if (shared.bins[i] != 0) atomicAdd(m.histogram + view * kHistogramBins + i, shared.bins[i]);
  find_draw(step, own, view, reference, shared);
}

// ---- draw ------------------------------------------------------------------------------------------------

struct DrawShared {
  uint32_t last[kMostDistance + 1];
  WarpCounts warp_counts;
};

__device__ inline uint32_t draw_hash(uint32_t key, DrawKey k) {
  uint32_t x = key ^ k.first;
  x = (x ^ x >> 17) * 0xed5ad4bbu;
  x = (x ^ x >> 11) + k.second;
  x *= 0xac4c1b51u;
  x = (x ^ x >> 15) * 0x31848babu;
  return x ^ x >> 14;
}

__device__ inline void draw_chunk(const SampledStep &step, const SampledQuery &query, int64_t view, int chunk,
                                  int threshold, DrawKey key, DrawShared &shared) {
  const SampledMemory &m = step.memory;
  const int at = chunk * kChunkKeys + 8 * static_cast<int>(threadIdx.x);
  uint4 u = make_uint4(0, 0, 0, 0);
  if (at < query.end) u = *reinterpret_cast<const uint4 *>(m.combined + view * m.keys + at);
  uint32_t chosen = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int distance = min(max(threshold - short_of(u, i), 0), kMostDistance);
    const bool is_read = draw_hash(static_cast<uint32_t>(at + i), key) <= shared.last[distance];
    if (is_read && at + i >= query.begin && at + i < query.end) chosen |= 1u << i;
  }
  list_chosen(step, view, chunk, chosen, shared.warp_counts,
              [&](int i) { return min(max(threshold - short_of(u, i), 0), kMostDistance); });
}

__global__ void __launch_bounds__(kChunkThreads) draw_kernel(SampledStep step) {
  __shared__ DrawShared shared;
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i <= kMostDistance; i += kChunkThreads) shared.last[i] = step.constants->draw.last[i];
  wait_for_previous();
  const int kv_head = step.served.first + static_cast<int>(blockIdx.y), query = static_cast<int>(blockIdx.z);
  const SampledQuery &own = step.query[query];
  const int64_t view = view_index(step, query, kv_head);
  if (static_cast<int>(blockIdx.x) * kChunkKeys >= own.end) return;
  const int threshold = step.memory.thresholds[view * (kMostGroup + 2) + kMostGroup + 1];
  __syncthreads();
  const DrawKey key = draw_key(draw_seed(step, query, kv_head));
  for (int chunk = static_cast<int>(blockIdx.x); chunk * kChunkKeys < own.end;
       chunk += static_cast<int>(gridDim.x))
    draw_chunk(step, own, view, chunk, threshold, key, shared);
}

}  // namespace

void launch_weigh(const Launcher &launcher, const SampledStep &step) {
  if (step.shape.group() == 1) return;
  launch(launcher, weigh_kernel, chunk_grid(launcher, step, kPieceKeys, 16), 32 * kWeighWarps, 0, step);
}
void launch_combine(const Launcher &launcher, const SampledStep &step) {
  launch(launcher, combine_kernel, chunk_grid(launcher, step, kChunkKeys, 8), kChunkThreads, 0, step);
}
void launch_draw(const Launcher &launcher, const SampledStep &step) {
  launch(launcher, draw_kernel, chunk_grid(launcher, step, kChunkKeys, 8), kChunkThreads, 0, step);
}

}  // namespace sounder::cuda
