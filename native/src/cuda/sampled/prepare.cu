// SPDX-License-Identifier: Apache-2.0
//
// What comes before the scan of a token: RoPE, the new row in its places, the query heads rotated and
// quantised as sketch_kernels.h says, and the accumulators of the kernels to come emptied. A thread block
// serves one query token and slice of a KV head: a warp for each query head, one for K and one for V.
#include "sketch.cuh"

namespace sounder::cuda {

namespace {

constexpr float kLog2E = 0x1.715476p+0f;
// As in ../../sampled/sketch_scan.inc.
constexpr float kSpread = 0.75f;
__device__ inline float code_square(int bits) { return bits == 1 ? 1.0f : bits == 2 ? 3.555f : 35.2f; }
__device__ inline float cos_square(int bits) { return bits == 1 ? 0.6366f : bits == 2 ? 0.8812f : 0.9885f; }

// A lane holds the values [lane * kOwn, …) of a vector, zeros beyond the head dim.
template <typename Dim>
constexpr int kOwn = Dim::kMost / 32;
template <typename Dim>
using Lane = float[kOwn<Dim>];
template <typename Dim>
__device__ inline int first_of_lane() {
  return static_cast<int>(threadIdx.x) % 32 * kOwn<Dim>;
}
// Head dims are whole eights.
template <typename Dim>
__device__ inline bool has_values(int head_dim) {
  return Dim::kIsOwn || first_of_lane<Dim>() < head_dim;
}

// A head's values with what the model does to them before RoPE.
template <typename Dim>
__device__ inline void load_lane(const NewRows &rows, int head_dim, const float *from, int place,
                                 const float *norm, Lane<Dim> &x) {
  const int first = first_of_lane<Dim>(), d = Dim::of(head_dim);
  const bool has = has_values<Dim>(head_dim);
  for (int i = 0; i < kOwn<Dim>; ++i) x[i] = has ? from[first + i] : 0.0f;
  if (!Dim::kIsOwn || rows.is_done) return;
  if (rows.bias != nullptr)
    for (int i = 0; i < kOwn<Dim>; ++i) x[i] += rows.bias[place * d + first + i];
  if (norm == nullptr) return;
  float square = 0.0f;
  for (int i = 0; i < kOwn<Dim>; ++i) square += x[i] * x[i];
  for (int half = 16; half > 0; half /= 2) square += __shfl_xor_sync(kWarp, square, half);
  const float scale = __fdiv_rn(1.0f, __fsqrt_rn(square / static_cast<float>(d) + rows.epsilon));
  for (int i = 0; i < kOwn<Dim>; ++i) x[i] *= scale * norm[first + i];
}

// Dimension i turns with i + pairs, which is in another lane.
template <typename Dim>
__device__ inline void turn(const NewRows &rows, int row, Lane<Dim> &x) {
  if (!Dim::kIsOwn || rows.is_done) return;
  const int first = first_of_lane<Dim>();
  for (int i = 0; i < kOwn<Dim>; ++i) {
    const int j = first + i, partner = j < rows.pairs ? j + rows.pairs : j - rows.pairs;
    // Distances between partners are whole lanes: pairs is a multiple of kOwn.
    const float other = __shfl_sync(kWarp, x[i], partner / kOwn<Dim>);
    if (j >= 2 * rows.pairs) continue;
    const int64_t place = static_cast<int64_t>(row) * rows.pairs + j % rows.pairs;
    const float sine = j < rows.pairs ? -rows.sines[place] : rows.sines[place];
    x[i] = x[i] * rows.cosines[place] + other * sine;
  }
}

// The transform of all lanes' values, whose number is a power of two.
template <typename Dim>
__device__ inline void transform_lanes(Lane<Dim> &x) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int stride = 1; stride < kOwn<Dim>; stride *= 2)
#pragma unroll
    for (int i = 0; i < kOwn<Dim>; ++i) {
      if (i & stride) continue;
      const float a = x[i], b = x[i + stride];
      x[i] = __fadd_rn(a, b);
      x[i + stride] = __fsub_rn(a, b);
    }
  for (int bits = 1; bits < 32; bits *= 2)
#pragma unroll
    for (int i = 0; i < kOwn<Dim>; ++i) {
      const float other = __shfl_xor_sync(kWarp, x[i], bits);
      x[i] = lane & bits ? __fsub_rn(other, x[i]) : __fadd_rn(x[i], other);
    }
  const float scale = scale_of(Dim::kMost);
  for (int i = 0; i < kOwn<Dim>; ++i) x[i] = __fmul_rn(x[i], scale);
}

// Of `size` values, a power of two, by a warp.
__device__ inline void transform_block(float *x, int size) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int stride = 1; stride < size; stride *= 2) {
    for (int p = lane; p < size / 2; p += 32) {
      const int at = p / stride * 2 * stride + p % stride;
      const float a = x[at], b = x[at + stride];
      x[at] = __fadd_rn(a, b);
      x[at + stride] = __fsub_rn(a, b);
    }
    __syncwarp();
  }
  const float scale = scale_of(size);
  for (int i = lane; i < size; i += 32) x[i] = __fmul_rn(x[i], scale);
  __syncwarp();
}

// Blocks whose sizes are the powers of two that the head dim is the sum of. scratch: [256]
template <typename Dim>
__device__ inline void transform(Lane<Dim> &x, int head_dim, bool is_ascending, float *scratch) {
  if constexpr (Dim::kIsOwn) return transform_lanes<Dim>(x);
  const int first = first_of_lane<Dim>();
  for (int i = 0; i < kOwn<Dim>; ++i) scratch[first + i] = x[i];
  __syncwarp();
  for (int n = 0, at = 0; at < head_dim; ++n) {
    const int size = is_ascending ? 1 << n : 256 >> n;
    if (!(head_dim & size)) continue;
    transform_block(scratch + at, size);
    at += size;
  }
  for (int i = 0; i < kOwn<Dim>; ++i) x[i] = scratch[first + i];
  __syncwarp();
}

struct PrepareShared {
  int8_t q5[kMostSlice][256];
  float scratch[kMostSlice][256];
};

// |z|² of a head, in the order of sums over dimensions; all lanes take part.
template <typename Dim>
__device__ inline float sum_squares(const Lane<Dim> &z, int head_dim, float *squares) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = 0; i < kOwn<Dim>; ++i) squares[first_of_lane<Dim>() + i] = __fmul_rn(z[i], z[i]);
  __syncwarp();
  float sum = 0.0f;
  for (int j = lane % 4; j < Dim::of(head_dim); j += 4) sum = __fadd_rn(sum, squares[j]);
  const float first = __fadd_rn(__shfl_sync(kWarp, sum, 0), __shfl_sync(kWarp, sum, 1));
  const float second = __fadd_rn(__shfl_sync(kWarp, sum, 2), __shfl_sync(kWarp, sum, 3));
  return __fadd_rn(first, second);
}

// figures: gain, spread, base_gain of a head whose largest |z| and |z|² these are.
__device__ inline void write_figures(int d, int bits, float beta, float most, float square, float centre,
                                     float *figures) {
  const float unit = __fmul_rn(kScoreUnits * kLog2E, beta), size = static_cast<float>(d);
  const float scale = __fdiv_rn(unit, __fsqrt_rn(size));
  const float lost = __fdiv_rn(__fmul_rn(code_square(bits), __fsub_rn(1.0f, cos_square(bits))),
                               __fmul_rn(cos_square(bits), size));
  figures[0] = __fmul_rn(scale, __fdiv_rn(most, static_cast<float>(kQueryLimit)));
  figures[1] = __fmul_rn(__fmul_rn(__fmul_rn(kSpread, unit), square), lost);
  figures[2] = __fmul_rn(scale, __fdiv_rn(most, static_cast<float>(kMeanLimit)));
  figures[3] = centre;
}

// z becomes R z, zeros if a value of it is broken. All lanes take part.
template <typename Dim>
__device__ inline void rotate(const SampledStep &step, Lane<Dim> &z, float *scratch) {
  const int head_dim = step.shape.head_dim, d = Dim::of(head_dim);
  const bool has = has_values<Dim>(head_dim);
  bool broken = false;
  for (int i = 0; i < kOwn<Dim>; ++i) broken |= !(fabsf(z[i]) < kMostValue);
  broken = __ballot_sync(kWarp, broken) != 0;
  const float *signs = step.constants->signs + first_of_lane<Dim>();
  for (int i = 0; i < kOwn<Dim>; ++i) z[i] = broken || !has ? 0.0f : __fmul_rn(z[i], signs[i]);
  transform<Dim>(z, head_dim, false, scratch);
  for (int i = 0; i < kOwn<Dim>; ++i) z[i] = has ? __fmul_rn(z[i], signs[d + i]) : 0.0f;
  transform<Dim>(z, head_dim, true, scratch);
}

// row: among all heads of all queries; head: in the slice.
template <typename Dim>
__device__ inline void quantise_head(const SampledStep &step, Lane<Dim> &z, float beta, int64_t row, int head,
                                     PrepareShared &shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, bits = step.shape.bits;
  const int first = first_of_lane<Dim>(), d = Dim::of(step.shape.head_dim);
  rotate<Dim>(step, z, shared.scratch[head]);
  float most = 0.0f;
  for (int i = 0; i < kOwn<Dim>; ++i) most = fmaxf(most, fabsf(z[i]));
  most = greatest_of_warp(most);
  const float square = sum_squares<Dim>(z, d, shared.scratch[head]);
  const bool usable = most > kTiny;
  const float inverse = usable ? __fdiv_rn(1.0f, most) : 0.0f;
  int total = 0;
  for (int i = 0; i < kOwn<Dim>; ++i) {
    const float share = __fmul_rn(z[i], inverse);
    const int q5 = static_cast<int>(rounded(__fmul_rn(share, static_cast<float>(kQueryLimit))));
    const float q11 = rounded(__fmul_rn(share, static_cast<float>(kMeanLimit)));
    if (has_values<Dim>(d)) step.memory.q11[row * d + first + i] = static_cast<int16_t>(q11);
    shared.q5[head][first + i] = static_cast<int8_t>(q5);
    total += q5;
  }
  for (int half = 16; half > 0; half /= 2) total += __shfl_xor_sync(kWarp, total, half);
  if (lane != 0) return;
  // The sum of a scan is 4 Σ q5 b over planes, each but the last twice the next: twice <q5, c> and this.
  const float centre = static_cast<float>(2 * ((1 << bits) - 1) * total);
  write_figures(d, bits, beta, usable ? most : 0.0f, usable ? square : 0.0f, centre,
                step.memory.figures + row * 4);
}

// q5 as fragments of B: see scanner.cuh.
template <typename Dim>
__device__ inline void write_fragments(const SampledStep &step, int64_t view, const HeadSlice &slice,
                                       const PrepareShared &shared) {
  const int d = Dim::of(step.shape.head_dim), groups = d / 8;
  const SketchPasses passes{d, step.shape.bits};
  const int words = fragment_words(passes), rounds_of_pair = passes.passes * passes.rounds;
  uint32_t *to = step.memory.fragments + (view * step.shape.slices() + slice.index) * words;
  for (int n = static_cast<int>(threadIdx.x); n < words; n += static_cast<int>(blockDim.x)) {
    const int lane = n % 32, j = n / 32 % 8, column = lane / 4;
    const int round = n / 256 < rounds_of_pair ? n / 256 : n / 256 - rounds_of_pair;
    const int first = round * kSlotsOfRound + lane % 4 * 4;
    // Up to four heads have every other column each, so that each lane of a quad gets the sums of one.
    const int head = slice.most > 4 ? column : column % 2 == 0 ? column / 2 : kMostSlice;
    uint32_t word = 0;
    for (int slot = first; slot < first + 4; ++slot) {
      if (head >= slice.count || slot >= passes.slots) continue;
      // Of a pair the first plane counts twice.
      const int weight = (passes.slots > groups && slot < groups ? 2 : 1) << (2 - j % 3);
      word |= static_cast<uint32_t>(static_cast<uint8_t>(weight * shared.q5[head][slot % groups * 8 + j]))
              << 8 * (slot - first);
    }
    to[n] = word;
  }
}

__device__ inline void empty_accumulators(const SampledStep &step, int64_t view, const HeadSlice &slice) {
  const SampledMemory &m = step.memory;
  const int count = slice.count * kMostSegmentsHere, threads = static_cast<int>(blockDim.x);
  const int64_t first = (view * step.shape.group() + slice.first) * kMostSegmentsHere;
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < count; i += threads) {
    m.maxima[first + i] = INT16_MIN;
    m.weights[first + i] = 0;
  }
  const int64_t place = view * step.shape.group() + slice.first + thread;
  if (thread < slice.count) m.zeros[place] = 0.0f;
  if (thread < slice.count && m.words != nullptr) {
    m.greatest[place] = INT32_MIN;
    m.head_keys[place] = 0;
  }
  if (slice.index > 0) return;
  for (int i = thread; i < kHistogramBins; i += threads) m.histogram[view * kHistogramBins + i] = 0;
  for (int i = thread; i <= kMostSlices; i += threads) m.finished[view * (kMostSlices + 1) + i] = 0;
}

template <typename Dim>
__device__ inline void append(const SampledStep &step, const NewRows &rows, int query, int kv_head,
                              bool is_value) {
  if (!Dim::kIsOwn || rows.is_done) return;
  const SampledQuery &own = step.query[query];
  const SketchShape &s = step.shape;
  const int token = own.position % kIndexTokens, d = Dim::of(s.head_dim);
  const int place = s.heads + (is_value ? s.kv_heads : 0) + kv_head;
  Lane<Dim> x;
  load_lane<Dim>(rows, d, rows.qkv + (static_cast<int64_t>(own.row) * (s.heads + 2 * s.kv_heads) + place) * d,
                 place, is_value ? nullptr : rows.k_norm, x);
  if (!is_value) turn<Dim>(rows, own.row, x);
  auto write = [&](uint16_t *slab, int block) {
    const int64_t view = static_cast<int64_t>(block) * s.kv_heads + kv_head;
    uint16_t *to = slab + (view * kIndexTokens + token) * 2 * d + (is_value ? d : 0) + first_of_lane<Dim>();
    for (int i = 0; i < kOwn<Dim>; ++i) to[i] = static_cast<uint16_t>(bf16_bits(x[i]));
  };
  write(rows.near_rows, own.near_blocks[own.position / kIndexTokens]);
  if (rows.rows != nullptr) write(rows.rows, own.blocks[own.position / kIndexTokens]);
}

template <typename Dim>
__global__ void prepare_kernel(SampledStep step, NewRows rows) {
  __shared__ PrepareShared shared;
  let_next_start();
  wait_for_previous();
  const HeadSlice slice = slice_at<Dim, kMostSlice>(step.shape, 0, static_cast<int>(blockIdx.x));
  const int query = static_cast<int>(blockIdx.y), warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t view = view_index(step, query, slice.kv_head);
  empty_accumulators(step, view, slice);
  if (warp < slice.count) {
    const SketchShape &s = step.shape;
    const int d = Dim::of(s.head_dim), own = slice.first + warp, head = slice.kv_head * s.group() + own;
    const int row = step.query[query].row;
    Lane<Dim> x;
    load_lane<Dim>(rows, d, rows.qkv + (static_cast<int64_t>(row) * (s.heads + 2 * s.kv_heads) + head) * d,
                   head, rows.q_norm, x);
    turn<Dim>(rows, row, x);
    float *q = step.memory.q + (static_cast<int64_t>(query) * s.heads + head) * d + first_of_lane<Dim>();
    if (has_values<Dim>(d))
      for (int i = 0; i < kOwn<Dim>; ++i) q[i] = x[i];
    if (step.strategy.scans)
      quantise_head<Dim>(step, x, step.query[query].beta, view * s.group() + own, warp, shared);
  } else if (slice.index == 0) {
    append<Dim>(step, rows, query, slice.kv_head, warp > slice.count);
  }
  if (!step.strategy.scans) return;
  __syncthreads();
  write_fragments<Dim>(step, view, slice, shared);
}

}  // namespace

void launch_prepare(const Launcher &launcher, const SampledStep &step, const NewRows &rows) {
  const SketchShape &s = step.shape;
  check_shape(has_attend_kernels(s) && (rows.is_done || can_turn(s.head_dim, rows.pairs)));
  const dim3 grid{static_cast<unsigned>(s.kv_heads * s.slices()), static_cast<unsigned>(step.queries), 1};
  const int threads = 32 * (s.heads_of_slice() + 2);
  if (s.head_dim == 64) return launch(launcher, prepare_kernel<Own<64>>, grid, threads, 0, step, rows);
  if (s.head_dim == 128) return launch(launcher, prepare_kernel<Own<128>>, grid, threads, 0, step, rows);
  launch(launcher, prepare_kernel<UpTo<256>>, grid, threads, 0, step, rows);
}

}  // namespace sounder::cuda
