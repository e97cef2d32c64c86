// SPDX-License-Identifier: Apache-2.0
//
// Signatures of keys: the mean that a context's keys are centred on, and the signs of their projections, a
// product of float32 whose sums are in the CPU's order (../../sampled/lsh_kernels.inc), so that codes are the
// same there. A thread block makes those of a tile of one KV head's keys, 128 or 64, against 128 projections
// at a time, each thread a square of them.
#include "../../sampled/lsh_kernels.h"
#include "sketch.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 256;

// ---- the mean --------------------------------------------------------------------------------------------

constexpr int kMeanDims = 8;  // of a thread block, in each of its threads: 16 bytes of a key

__device__ inline const uint16_t *key_row(const SignStep &step, int kv_head, int key) {
  const int64_t view = int64_t{step.row_blocks[key / kIndexTokens]} * step.kv_heads + kv_head;
  return step.rows + (view * kIndexTokens + key % kIndexTokens) * 2 * step.signature.head_dim;
}
__device__ inline char *place_at(const SignStep &step, int kv_head, int block) {
  return step.signatures + (int64_t{step.places[block]} * step.kv_heads + kv_head) * step.signature.bytes();
}
__device__ inline float *mean_of(const SignStep &step, int kv_head) {
  return reinterpret_cast<float *>(place_at(step, kv_head, 0) + step.signature.mean_place());
}

// In double, whose sums of so many values of 8 bits are exact but for the smallest, whatever their order.
__global__ void __launch_bounds__(kThreads) mean_kernel(SignStep step) {
  __shared__ double shared[kThreads * kMeanDims];
  let_next_start();
  wait_for_previous();
  const int first = static_cast<int>(blockIdx.x) * kMeanDims, kv_head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), keys = step.centred ? step.mean_end : 0;
  double sums[kMeanDims] = {};
#pragma unroll 4
  for (int key = thread; key < keys; key += kThreads) {
    const uint4 raw = *reinterpret_cast<const uint4 *>(key_row(step, kv_head, key) + first);
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
    for (int i = 0; i < kMeanDims; ++i) sums[i] += of_bf16(i % 2 ? words[i / 2] >> 16 : words[i / 2]);
  }
  for (int i = 0; i < kMeanDims; ++i) shared[thread * kMeanDims + i] = sums[i];
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    for (int i = thread; i < half * kMeanDims; i += kThreads) shared[i] += shared[half * kMeanDims + i];
  }
  __syncthreads();
  if (thread < kMeanDims)
    mean_of(step, kv_head)[first + thread] = keys > 0 ? static_cast<float>(shared[thread] / keys) : 0.0f;
}

// ---- signs -----------------------------------------------------------------------------------------------

constexpr int kColumns = 128;   // projections at a time: four planes
constexpr int kDepth = 32;      // dimensions of them
constexpr int kOwnColumns = 8;  // of a thread
constexpr int kColumnThreads = kColumns / kOwnColumns;
constexpr int kRowThreads = kThreads / kColumnThreads;
constexpr int kLoads = kColumns * kDepth / 4 / kThreads;  // of 16 bytes

// kRows: keys of a thread, in fours that lie 4 * kRowThreads apart.
template <int kRows>
struct Tile {
  static constexpr int kKeys = kRows * kRowThreads;
  static constexpr int kParts = kThreads / kKeys;  // threads of a key, while it is loaded

  float *projections;  // [kDepth][kColumns]
  float *mean;         // [head_dim]
  float *squares;      // [kParts][kKeys]
  float *keys;         // [head_dim][kKeys] centred
  __device__ Tile(float *memory, int d)
      : projections(memory), mean(memory + kDepth * kColumns), squares(mean + d), keys(squares + kThreads) {}
  static size_t bytes(int d) {
    return sizeof(float) * (static_cast<size_t>(kDepth) * kColumns + d + kThreads + size_t(d) * kKeys);
  }
};

// The tile's keys less the mean, or zeros where they are as good as equal; and their inverse norms.
template <int kRows>
__device__ inline void centre(const SignStep &step, int kv_head, int first, Tile<kRows> &tile) {
  using T = Tile<kRows>;
  const int d = step.signature.head_dim, thread = static_cast<int>(threadIdx.x);
  const int own = thread % T::kKeys, part = thread / T::kKeys, key = first + own;
  for (int k = thread; k < d; k += kThreads) tile.mean[k] = mean_of(step, kv_head)[k];
  __syncthreads();
  float near = 0.0f, square = 0.0f;
  for (int k = 0; k < d; ++k) near = __fmaf_rn(tile.mean[k], tile.mean[k], near);
  const uint16_t *row = key_row(step, kv_head, key);
  for (int k = 8 * part; k < d; k += 8 * T::kParts) {
    const uint4 raw = load_once(row + k);
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float value = of_bf16(i % 2 ? words[i / 2] >> 16 : words[i / 2]);
      const float x = __fsub_rn(value, tile.mean[k + i]);
      tile.keys[(k + i) * T::kKeys + own] = x;
      square = __fmaf_rn(x, x, square);
    }
  }
  tile.squares[part * T::kKeys + own] = square;
  __syncthreads();
  square = 0.0f;
  for (int p = 0; p < T::kParts; ++p) square = __fadd_rn(square, tile.squares[p * T::kKeys + own]);
  constexpr float kLeast = kLshLeastNorm * kLshLeastNorm;
  const bool usable = square >= kLeast && square > __fmul_rn(kLshLeastDistance * kLshLeastDistance, near);
  if (!usable)
    for (int k = 8 * part; k < d; k += 8 * T::kParts)
      for (int i = 0; i < 8; ++i) tile.keys[(k + i) * T::kKeys + own] = 0.0f;
  if (part > 0) return;
  auto *norms = reinterpret_cast<uint16_t *>(place_at(step, kv_head, key / kIndexTokens) +
                                             step.signature.norms_place());
  const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(square));
  norms[key % kIndexTokens] = usable ? static_cast<uint16_t>(bf16_bits(inverse)) : 0;
}

// Of four planes from `plane` on, kDepth dimensions from k on: what a thread loads, zeros beyond the last.
__device__ inline void load_projections(const SignStep &step, int plane, int k, float4 (&held)[kLoads]) {
  const int d = step.signature.head_dim, planes = step.signature.planes();
#pragma unroll
  for (int n = 0; n < kLoads; ++n) {
    const int at = (n * kThreads + static_cast<int>(threadIdx.x)) * 4, column = at % kColumns;
    const int row = k + at / kColumns, own = plane + column / 32;
    held[n] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (own < planes && row < d)
      held[n] =
          *reinterpret_cast<const float4 *>(step.projections + (int64_t{own} * d + row) * 32 + column % 32);
  }
}
__device__ inline void put_projections(const float4 (&held)[kLoads], float *projections) {
#pragma unroll
  for (int n = 0; n < kLoads; ++n)
    reinterpret_cast<float4 *>(projections)[n * kThreads + static_cast<int>(threadIdx.x)] = held[n];
}

// sums += keys · projections over `depth` dimensions.
template <int kRows>
__device__ inline void multiply(const Tile<kRows> &tile, const float *keys, int depth,
                                float (&sums)[kRows][kOwnColumns]) {
  const int column = static_cast<int>(threadIdx.x) % kColumnThreads * kOwnColumns;
  const int row = static_cast<int>(threadIdx.x) / kColumnThreads * 4;
#pragma unroll 4
  for (int k = 0; k < depth; ++k) {
    float x[kRows], w[kOwnColumns];
#pragma unroll
    for (int i = 0; i < kRows; i += 4) {
      const float4 four =
          *reinterpret_cast<const float4 *>(keys + k * Tile<kRows>::kKeys + i * kRowThreads + row);
      x[i] = four.x;
      x[i + 1] = four.y;
      x[i + 2] = four.z;
      x[i + 3] = four.w;
    }
#pragma unroll
    for (int i = 0; i < kOwnColumns; i += 4) {
      const float4 four = *reinterpret_cast<const float4 *>(tile.projections + k * kColumns + column + i);
      w[i] = four.x;
      w[i + 1] = four.y;
      w[i + 2] = four.z;
      w[i + 3] = four.w;
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kOwnColumns; ++j) sums[i][j] = __fmaf_rn(x[i], w[j], sums[i][j]);
  }
}

// Four threads have the 32 projections of a plane's word between them.
template <int kRows>
__device__ inline void store_signs(const SignStep &step, char *place, int plane, int first,
                                   const float (&sums)[kRows][kOwnColumns]) {
  const int thread = static_cast<int>(threadIdx.x), quarter = thread % 4;
  const int own = plane + thread % kColumnThreads / 4, row = thread / kColumnThreads * 4;
  uint32_t words[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    uint32_t bits = 0;
#pragma unroll
    for (int j = 0; j < kOwnColumns; ++j) bits |= (sums[i][j] > 0.0f ? 1u : 0u) << j;
    bits <<= 8 * quarter;
    bits |= __shfl_xor_sync(kWarp, bits, 1);
    words[i] = bits | __shfl_xor_sync(kWarp, bits, 2);
  }
  if (own >= step.signature.planes()) return;
  auto *to = reinterpret_cast<uint32_t *>(place) + int64_t{own} * kIndexTokens + first % kIndexTokens + row;
#pragma unroll
  for (int i = 0; i < kRows; i += 4)
    if (quarter == i / 4)
      *reinterpret_cast<uint4 *>(to + i * kRowThreads) =
          make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]);
}

template <int kRows>
__global__ void __launch_bounds__(kThreads, 2) sign_kernel(SignStep step) {
  let_next_start();
  wait_for_previous();
  const int d = step.signature.head_dim, kv_head = static_cast<int>(blockIdx.y);
  const int first = step.begin + static_cast<int>(blockIdx.x) * Tile<kRows>::kKeys;
  Tile<kRows> tile(dynamic_shared<float>(), d);
  char *place = place_at(step, kv_head, first / kIndexTokens);
  centre<kRows>(step, kv_head, first, tile);
  float4 held[kLoads];
  load_projections(step, 0, 0, held);
  for (int plane = 0; plane < step.signature.planes(); plane += kColumns / 32) {
    float sums[kRows][kOwnColumns] = {};
    for (int k = 0; k < d; k += kDepth) {
      __syncthreads();
      put_projections(held, tile.projections);
      __syncthreads();
      const bool is_last = k + kDepth >= d;  // of these planes
      load_projections(step, is_last ? plane + kColumns / 32 : plane, is_last ? 0 : k + kDepth, held);
      multiply<kRows>(tile, tile.keys + k * Tile<kRows>::kKeys, min(kDepth, d - k), sums);
    }
    store_signs<kRows>(step, place, plane, first, sums);
  }
}

template <int kRows>
void launch_with(const Launcher &launcher, const SignStep &step) {
  const dim3 grid{static_cast<unsigned>((step.end - step.begin) / Tile<kRows>::kKeys),
                  static_cast<unsigned>(step.kv_heads), 1};
  launch(launcher, sign_kernel<kRows>, grid, kThreads, Tile<kRows>::bytes(step.signature.head_dim), step);
}

}  // namespace

void launch_sign(const Launcher &launcher, const SignStep &step) {
  const int d = step.signature.head_dim;
  check_shape(d % 8 == 0 && d <= 256 && step.signature.bits > 0);
  if (step.mean_end > 0)
    launch(launcher, mean_kernel, dim3(static_cast<unsigned>(d / kMeanDims), unsigned(step.kv_heads), 1),
           kThreads, 0, step);
  if (d <= 128) return launch_with<8>(launcher, step);
  launch_with<4>(launcher, step);
}

}  // namespace sounder::cuda
