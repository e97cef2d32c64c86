// SPDX-License-Identifier: Apache-2.0
//
// Attention over the rows that were chosen, read from wherever they lie. The rows of a query and KV head are
// shared out evenly over thread blocks, whatever part of the context they come from; the last block that is
// done merges what the others found with sink and tail.
#include "../block_scan.cuh"
#include "../stage_marks.h"
#include "rows.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;

// Rows that a lane has under way.
template <typename Dim>
constexpr int kLoads = Dim::kMost > 128 ? 4 : 8;

template <typename Dim, int H>
struct AttendShared {
  float states[shared_state_floats<Dim, H>(kWarps)];
  MergeFactors factors;
  int warp_counts[kWarps];
  bool is_last;
};

// starts[c] = rows of the chunks before c, up to starts[chunks], which is returned.
__device__ inline int find_starts(const int32_t *counts, int chunks, int *starts,
                                  int (&warp_counts)[kWarps]) {
  const int thread = static_cast<int>(threadIdx.x);
  int before = 0, all = 0;
  for (int from = 0; from < chunks; from += kThreads, before += all) {
    const int own = from + thread < chunks ? counts[from + thread] : 0;
    const int place = before + sum_before(own, warp_counts, &all);
    if (from + thread < chunks) starts[from + thread] = place;
  }
  if (thread == 0) starts[chunks] = before;
  __syncthreads();
  return before;
}

// The chunk that has row i.
__device__ inline int chunk_of(const int *starts, int chunks, int i) {
  int low = 0, high = chunks - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (starts[middle] <= i)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// True in the last of a slice's blocks, to which the others' states are there.
__device__ inline bool is_last_block(const SampledStep &step, int64_t view, const HeadSlice &slice,
                                     bool &shared) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    uint32_t *finished = step.memory.finished + view * (kMostSlices + 1) + slice.index;
    shared = atomicAdd(finished, 1u) + 1 == static_cast<unsigned>(step.memory.splits);
  }
  __syncthreads();
  __threadfence();
  return shared;
}

// A head's merged state → output and statistics, by a warp; as finish_sampled of ../../sampled/gather.cpp.
template <typename Dim>
__device__ inline void finish_head(const SampledStep &step, const float *state, uint64_t seed, int rows,
                                   int keys, int64_t output, float *statistics) {
  const int lane = static_cast<int>(threadIdx.x) % 32, d = Dim::of(step.shape.head_dim);
  const float sum = state[d], *errors = state + d + 2;
  float y = 0.0f, square = 0.0f;
  for (int i = lane; i < d; i += 32) {
    const float value = sum != 0.0f ? state[i] / sum : 0.0f;
    if (step.output != nullptr) step.output[output + i] = value;
    if (step.narrow_output != nullptr)
      step.narrow_output[output + i] = static_cast<uint16_t>(bf16_bits(value));
    y += value * error_sign(seed, i);
    square += value * value;
  }
  for (int half = 16; half > 0; half /= 2) {
    y += __shfl_xor_sync(kWarp, y, half);
    square += __shfl_xor_sync(kWarp, square, half);
  }
  if (lane != 0 || statistics == nullptr) return;
  const double scale = sum != 0.0f ? 1.0 / sum : 0.0, along = y;
  const double spread =
      fmax(0.0, errors[2] - 2 * along * errors[1] + along * along * errors[0]) * scale * scale;
  statistics[0] += static_cast<float>(rows);
  statistics[1] += static_cast<float>(errors[0] * scale * scale);
  statistics[2] += square > 0 ? static_cast<float>(spread / square) : 0.0f;
  statistics[4] += static_cast<float>(keys);
}

// The states of all blocks, and those of sink and tail behind them, become the output.
template <typename Dim, int H>
__device__ inline void finish(const SampledStep &step, int query, const HeadSlice &slice, int parts, int rows,
                              AttendShared<Dim, H> &shared) {
  const int group = step.shape.group(), d = Dim::of(step.shape.head_dim), floats = state_floats(d);
  const int64_t view = view_index(step, query, slice.kv_head), all = group * floats;
  auto read = [](const float *p) { return __ldcg(p); };
  merge_states<Dim>(
      step.memory.states + view * (step.memory.splits + kNearParts) * all + slice.first * floats, parts, all,
      slice.count, step.shape.head_dim, shared.factors, shared.states, read);
  __syncthreads();
  const SampledQuery &own = step.query[query];
  for (int h = static_cast<int>(threadIdx.x) / 32; h < slice.count; h += kWarps) {
    const int64_t head = int64_t{slice.kv_head} * group + slice.first + h;
    float *statistics = nullptr;
    if (step.statistics != nullptr && own.statistics >= 0)
      statistics = step.statistics + (int64_t{own.statistics} * step.shape.heads + head) * kStatistics;
    const int keys = step.strategy.by_head ? step.memory.head_keys[view * group + slice.first + h] : rows;
    finish_head<Dim>(step, shared.states + h * floats, draw_seed(step, query, slice.kv_head), rows, keys,
                     (int64_t{own.row} * step.shape.heads + head) * d, statistics);
  }
}

// The slice's heads' states of one of a view's `splits + kNearParts` parts.
__device__ inline float *state_of_part(const SampledStep &step, int64_t view, const HeadSlice &slice,
                                       int part) {
  const int floats = state_floats(step.shape.head_dim);
  const int64_t place = view * (step.memory.splits + kNearParts) + part;
  return step.memory.states + (place * step.shape.group() + slice.first) * floats;
}

// Where the words of a chosen row are, from those of the view's first chunk and head on.
__device__ inline uint32_t word_of(int key, int group) {
  return static_cast<uint32_t>(key / kChunkKeys * group * kChunkKeys + key % kChunkKeys);
}

template <typename Dim, int H, bool kByHead>
__global__ void __launch_bounds__(kThreads, 1) attend_kernel(SampledStep step) {
  __shared__ AttendShared<Dim, H> shared;
  let_next_start();
  wait_for_previous();
  const HeadSlice slice = slice_at<Dim, H>(step.shape, step.served.first, static_cast<int>(blockIdx.y));
  const int query = static_cast<int>(blockIdx.z), kv_head = slice.kv_head;
  const SampledQuery &own = step.query[query];
  const SampledMemory &m = step.memory;
  const int64_t view = view_index(step, query, kv_head);
  const int chunks = (own.end + kChunkKeys - 1) / kChunkKeys, splits = m.splits;
  int *starts = dynamic_shared<int>();
  const int rows = find_starts(m.counts + view * (m.keys / kChunkKeys), chunks, starts, shared.warp_counts);
  auto row_at = [&](int i) {
    const int chunk = chunk_of(starts, chunks, i);
    const ChosenRow chosen = m.chosen[view * m.keys + int64_t{chunk} * kChunkKeys + (i - starts[chunk])];
    return ReadRow{row_of<Dim>(step, step.rows, own.blocks, kv_head, chosen.key),
                   kByHead ? __uint_as_float(word_of(chosen.key, step.shape.group()))
                           : step.constants->draw.offsets[chosen.distance]};
  };
  attend_block<Dim, H, kLoads<Dim>, kByHead>(
      step, query, slice, static_cast<int>(blockIdx.x), splits, rows, shared.states, shared.factors,
      state_of_part(step, view, slice, static_cast<int>(blockIdx.x)), row_at);
  // Sink and tail go where more blocks' states would.
  if (blockIdx.x == 0) {
    const int floats = slice.count * state_floats(Dim::of(step.shape.head_dim));
    const int stride = step.shape.group() * state_floats(Dim::of(step.shape.head_dim));
    const float *exact =
        m.exact + view * kNearParts * stride + slice.first * state_floats(Dim::of(step.shape.head_dim));
    float *to = state_of_part(step, view, slice, splits);
    for (int part = 0; part < kNearParts; ++part)
      for (int i = static_cast<int>(threadIdx.x); i < floats; i += kThreads)
        to[part * stride + i] = exact[part * stride + i];
  }
  if (is_last_block(step, view, slice, shared.is_last))
    finish<Dim, H>(step, query, slice, splits + kNearParts, rows, shared);
}

template <typename Dim, int H>
__global__ void __launch_bounds__(kThreads, 1) exact_kernel(SampledStep step) {
  __shared__ AttendShared<Dim, H> shared;
  let_next_start();
  wait_for_previous();
  const HeadSlice slice = slice_at<Dim, H>(step.shape, step.served.first, static_cast<int>(blockIdx.y));
  const int query = static_cast<int>(blockIdx.z), kv_head = slice.kv_head;
  const SampledQuery &own = step.query[query];
  const int64_t view = view_index(step, query, kv_head);
  const int splits = step.memory.splits, keys = own.position + 1;
  auto row_at = [&](int key) {
    return ReadRow{row_of<Dim>(step, step.near_rows, own.near_blocks, kv_head, key), 0.0f};
  };
  attend_block<Dim, H, kLoads<Dim>>(step, query, slice, static_cast<int>(blockIdx.x), splits, keys,
                                    shared.states, shared.factors,
                                    state_of_part(step, view, slice, static_cast<int>(blockIdx.x)), row_at);
  SampledStep quiet = step;
  quiet.statistics = nullptr;
  if (is_last_block(step, view, slice, shared.is_last))
    finish<Dim, H>(quiet, query, slice, splits, keys, shared);
}

template <typename Dim, int H>
void launch_with(const Launcher &launcher, const SampledStep &step, bool is_exact) {
  const dim3 grid{static_cast<unsigned>(step.memory.splits),
                  static_cast<unsigned>(step.served.count() * step.shape.slices()),
                  static_cast<unsigned>(step.queries)};
  const size_t starts = sizeof(int) * static_cast<size_t>(step.memory.keys / kChunkKeys + 1);
  if (!is_exact && step.strategy.by_head)
    return launch(launcher, attend_kernel<Dim, H, true>, grid, kThreads, starts, step);
  if (!is_exact) return launch(launcher, attend_kernel<Dim, H, false>, grid, kThreads, starts, step);
  if constexpr (Dim::kIsOwn) launch(launcher, exact_kernel<Dim, H>, grid, kThreads, 0, step);
}

template <typename Dim>
void launch_with_heads(const Launcher &launcher, const SampledStep &step, bool is_exact) {
  const int heads = step.shape.heads_of_slice();
  if (heads == 1) return launch_with<Dim, 1>(launcher, step, is_exact);
  if constexpr (Dim::kIsOwn)
    if (heads == 2) return launch_with<Dim, 2>(launcher, step, is_exact);
  if (heads <= 4) return launch_with<Dim, 4>(launcher, step, is_exact);
  if constexpr (Dim::kMost <= 128) launch_with<Dim, 8>(launcher, step, is_exact);
}

void launch_rows(const Launcher &launcher, const SampledStep &step, bool is_exact) {
  check_shape(has_attend_kernels(step.shape) && (!is_exact || is_own_dim(step.shape.head_dim)));
  const int d = step.shape.head_dim;
  if (d == 64) return launch_with_heads<Own<64>>(launcher, step, is_exact);
  if (d == 128) return launch_with_heads<Own<128>>(launcher, step, is_exact);
  if (d < 128) return launch_with_heads<UpTo<128>>(launcher, step, is_exact);
  launch_with_heads<UpTo<256>>(launcher, step, is_exact);
}

}  // namespace

void launch_attend(const Launcher &launcher, const SampledStep &step) { launch_rows(launcher, step, false); }
void launch_exact_attention(const Launcher &launcher, const SampledStep &step) {
  launch_rows(launcher, step, true);
}

void launch_sampled_attention(const Launcher &launcher, const SampledStep &step, const NewRows &rows) {
  launch_prepare(launcher, step, rows);
  mark(launcher, SOUNDER_STAGE_OTHER);
  const int heads = step.served.count();
  const int long_enough = launcher.marks != nullptr ? 1 : step.context / launcher.keys_of_part;
  const int parts = long_enough < 4 ? 1 : min(min(heads, launcher.branch_count + 1), long_enough);
  Launcher own = launcher;
  for (int p = 0; p < parts; ++p) {
    SampledStep part = step;
    part.served = {step.served.first + heads * p / parts, step.served.first + heads * (p + 1) / parts};
    step.strategy.look(own, part);
    const Launcher next = p + 1 < parts ? branch_off(launcher, own, p) : own;
    step.strategy.choose(own, part);
    mark(launcher, SOUNDER_STAGE_CHOOSING);
    launch_attend(own, part);
    mark(launcher, SOUNDER_STAGE_ATTENTION);
    own = next;
  }
  for (int p = 0; p + 1 < parts; ++p) join_branch(launcher, p);
}

}  // namespace sounder::cuda
