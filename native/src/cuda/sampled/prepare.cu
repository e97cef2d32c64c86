// SPDX-License-Identifier: Apache-2.0
//
// What comes before the scan of a token: RoPE, the new row in its places, the query heads rotated and
// quantised as sketch_kernels.h says, and the accumulators of the kernels to come emptied. A thread block
// serves one query token and KV head: a warp for each query head, one for K and one for V.
#include "sketch.cuh"

namespace sounder::cuda {

namespace {

constexpr float kLog2E = 0x1.715476p+0f;
// As in ../../sampled/sketch_scan.inc.
constexpr float kSpread = 0.75f;
__device__ inline float code_square(int bits) { return bits == 1 ? 1.0f : 3.555f; }
__device__ inline float cos_square(int bits) { return bits == 1 ? 0.6366f : 0.8812f; }

// A lane holds the values [lane * D / 32, …) of a vector.
template <int D>
using Lane = float[D / 32];

// A head's values with what the model does to them before RoPE.
template <int D>
__device__ inline void load_lane(const NewRows &rows, const float *from, int place, const float *norm,
                                 Lane<D> &x) {
  const int first = static_cast<int>(threadIdx.x) % 32 * (D / 32);
  for (int i = 0; i < D / 32; ++i) x[i] = from[first + i];
  if (rows.is_done) return;
  if (rows.bias != nullptr)
    for (int i = 0; i < D / 32; ++i) x[i] += rows.bias[place * D + first + i];
  if (norm == nullptr) return;
  float square = 0.0f;
  for (int i = 0; i < D / 32; ++i) square += x[i] * x[i];
  for (int half = 16; half > 0; half /= 2) square += __shfl_xor_sync(kWarp, square, half);
  const float scale = __fdiv_rn(1.0f, __fsqrt_rn(square / D + rows.epsilon));
  for (int i = 0; i < D / 32; ++i) x[i] *= scale * norm[first + i];
}

// Dimension i turns with i + pairs, which is in another lane.
template <int D>
__device__ inline void turn(const NewRows &rows, int row, Lane<D> &x) {
  if (rows.is_done) return;
  const int first = static_cast<int>(threadIdx.x) % 32 * (D / 32);
  for (int i = 0; i < D / 32; ++i) {
    const int j = first + i, partner = j < rows.pairs ? j + rows.pairs : j - rows.pairs;
    // Distances between partners are whole lanes: pairs is a multiple of D / 32.
    const float other = __shfl_sync(kWarp, x[i], (partner & (D - 1)) / (D / 32));
    if (j >= 2 * rows.pairs) continue;
    const int64_t place = static_cast<int64_t>(row) * rows.pairs + j % rows.pairs;
    const float sine = j < rows.pairs ? -rows.sines[place] : rows.sines[place];
    x[i] = x[i] * rows.cosines[place] + other * sine;
  }
}

template <int D>
__device__ inline void transform(Lane<D> &x) {
  constexpr int kOwn = D / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int stride = 1; stride < kOwn; stride *= 2)
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (i & stride) continue;
      const float a = x[i], b = x[i + stride];
      x[i] = __fadd_rn(a, b);
      x[i + stride] = __fsub_rn(a, b);
    }
  for (int bits = 1; bits < 32; bits *= 2)
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const float other = __shfl_xor_sync(kWarp, x[i], bits);
      x[i] = lane & bits ? __fsub_rn(other, x[i]) : __fadd_rn(x[i], other);
    }
  const float scale = scale_of(D);
  for (int i = 0; i < kOwn; ++i) x[i] = __fmul_rn(x[i], scale);
}

struct PrepareShared {
  int8_t q5[kMostGroup][256];
  float squares[kMostGroup][256];
};

// |z|² of a head, in the order of sums over dimensions; all lanes take part.
template <int D>
__device__ inline float sum_squares(const Lane<D> &z, float *squares) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = 0; i < D / 32; ++i) squares[lane * (D / 32) + i] = __fmul_rn(z[i], z[i]);
  __syncwarp();
  float sum = 0.0f;
  for (int j = lane % 4; j < D; j += 4) sum = __fadd_rn(sum, squares[j]);
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

template <int D>
__device__ inline void quantise_head(const SampledStep &step, Lane<D> &z, float beta, int64_t view, int head,
                                     PrepareShared &shared) {
  constexpr int kOwn = D / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32, bits = step.shape.bits;
  bool broken = false;
  for (int i = 0; i < kOwn; ++i) broken |= !(fabsf(z[i]) < kMostValue);
  broken = __ballot_sync(kWarp, broken) != 0;
  const float *signs = step.constants->signs + lane * kOwn;
  for (int i = 0; i < kOwn; ++i) z[i] = broken ? 0.0f : __fmul_rn(z[i], signs[i]);
  transform<D>(z);
  for (int i = 0; i < kOwn; ++i) z[i] = __fmul_rn(z[i], signs[D + i]);
  transform<D>(z);
  float most = 0.0f;
  for (int i = 0; i < kOwn; ++i) most = fmaxf(most, fabsf(z[i]));
  most = greatest_of_warp(most);
  const float square = sum_squares<D>(z, shared.squares[head]);
  const bool usable = most > kTiny;
  const float inverse = usable ? __fdiv_rn(1.0f, most) : 0.0f;
  int total = 0;
  int16_t *q11 = step.memory.q11 + (view * step.shape.group() + head) * D + lane * kOwn;
  for (int i = 0; i < kOwn; ++i) {
    const float share = __fmul_rn(z[i], inverse);
    const int q5 = static_cast<int>(rounded(__fmul_rn(share, static_cast<float>(kQueryLimit))));
    q11[i] = static_cast<int16_t>(rounded(__fmul_rn(share, static_cast<float>(kMeanLimit))));
    shared.q5[head][lane * kOwn + i] = static_cast<int8_t>(q5);
    total += q5;
  }
  for (int half = 16; half > 0; half /= 2) total += __shfl_xor_sync(kWarp, total, half);
  if (lane != 0) return;
  // The sum of a scan is 4 Σ q5 b over planes, the first of two doubled: twice <q5, c> and this.
  const float centre = static_cast<float>(2 * ((1 << bits) - 1) * total);
  float *figures = step.memory.figures + (view * step.shape.group() + head) * 4;
  write_figures(D, bits, beta, usable ? most : 0.0f, usable ? square : 0.0f, centre, figures);
}

// q5 as fragments of B: see scan.cu.
template <int D>
__device__ inline void write_fragments(const SampledStep &step, int64_t view, const PrepareShared &shared) {
  constexpr int kGroups = D / 8;
  const int bits = step.shape.bits, group = step.shape.group(), slots = bits * kGroups;
  const int words = fragment_words(D, bits);
  uint32_t *to = step.memory.fragments + view * words;
  for (int n = static_cast<int>(threadIdx.x); n < words; n += static_cast<int>(blockDim.x)) {
    const int lane = n % 32, j = n / 32 % 8, round = n / 256, column = lane / 4;
    // Up to four heads have every other column each, so that each lane of a quad gets the sums of one.
    const int head = group > 4 ? column : column % 2 == 0 ? column / 2 : kMostGroup;
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      const int slot = kSlotsOfRound * round + lane % 4 * 4 + i;
      if (head >= group || slot >= slots) continue;
      const int weight = (bits == 2 && slot < kGroups ? 2 : 1) << (2 - j % 3);
      word |= static_cast<uint32_t>(static_cast<uint8_t>(weight * shared.q5[head][slot % kGroups * 8 + j]))
              << 8 * i;
    }
    to[n] = word;
  }
}

__device__ inline void empty_accumulators(const SampledStep &step, int64_t view) {
  const SampledMemory &m = step.memory;
  const int count = step.shape.group() * kMostSegmentsHere, threads = static_cast<int>(blockDim.x);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += threads) {
    m.maxima[view * count + i] = INT16_MIN;
    m.weights[view * count + i] = 0;
  }
  for (int i = static_cast<int>(threadIdx.x); i < kHistogramBins; i += threads)
    m.histogram[view * kHistogramBins + i] = 0;
  if (threadIdx.x < 2) m.finished[view * 2 + threadIdx.x] = 0;
}

template <int D>
__device__ inline void append(const SampledStep &step, const NewRows &rows, int query, int kv_head,
                              bool is_value) {
  const SampledQuery &own = step.query[query];
  const SketchShape &s = step.shape;
  if (rows.is_done) return;
  const int lane = static_cast<int>(threadIdx.x) % 32, token = own.position % kIndexTokens;
  const int place = s.heads + (is_value ? s.kv_heads : 0) + kv_head;
  float x[D / 32];
  load_lane<D>(rows, rows.qkv + (static_cast<int64_t>(own.row) * (s.heads + 2 * s.kv_heads) + place) * D,
               place, is_value ? nullptr : rows.k_norm, x);
  if (!is_value) turn<D>(rows, own.row, x);
  auto write = [&](uint16_t *slab, int block) {
    uint16_t *to =
        slab + ((static_cast<int64_t>(block) * s.kv_heads + kv_head) * kIndexTokens + token) * 2 * D;
    for (int i = 0; i < D / 32; ++i)
      to[(is_value ? D : 0) + lane * (D / 32) + i] = static_cast<uint16_t>(bf16_bits(x[i]));
  };
  write(rows.near_rows, own.near_blocks[own.position / kIndexTokens]);
  if (rows.rows != nullptr) write(rows.rows, own.blocks[own.position / kIndexTokens]);
}

template <int D>
__global__ void prepare_kernel(SampledStep step, NewRows rows) {
  __shared__ PrepareShared shared;
  let_next_start();
  wait_for_previous();
  const int kv_head = static_cast<int>(blockIdx.x), query = static_cast<int>(blockIdx.y);
  const int group = step.shape.group(), warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t view = view_index(step, query, kv_head);
  empty_accumulators(step, view);
  if (warp < group) {
    const SketchShape &s = step.shape;
    const int head = kv_head * group + warp, lane = static_cast<int>(threadIdx.x) % 32;
    const int row = step.query[query].row;
    float x[D / 32];
    load_lane<D>(rows, rows.qkv + (static_cast<int64_t>(row) * (s.heads + 2 * s.kv_heads) + head) * D, head,
                 rows.q_norm, x);
    turn<D>(rows, row, x);
    float *q = step.memory.q + (static_cast<int64_t>(query) * s.heads + head) * D + lane * (D / 32);
    for (int i = 0; i < D / 32; ++i) q[i] = x[i];
    quantise_head<D>(step, x, step.query[query].beta, view, warp, shared);
  } else {
    append<D>(step, rows, query, kv_head, warp > group);
  }
  __syncthreads();
  write_fragments<D>(step, view, shared);
}

}  // namespace

void launch_prepare(const Launcher &launcher, const SampledStep &step, const NewRows &rows) {
  check_shape(has_sketch_kernels(step.shape) && (rows.is_done || can_turn(step.shape.head_dim, rows.pairs)));
  const dim3 grid{static_cast<unsigned>(step.shape.kv_heads), static_cast<unsigned>(step.queries), 1};
  const int threads = 32 * (step.shape.group() + 2);
  if (step.shape.head_dim == 64) launch(launcher, prepare_kernel<64>, grid, threads, 0, step, rows);
  if (step.shape.head_dim == 128) launch(launcher, prepare_kernel<128>, grid, threads, 0, step, rows);
}

}  // namespace sounder::cuda
