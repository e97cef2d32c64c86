// SPDX-License-Identifier: Apache-2.0
//
// Sealing: the sketches of a full block. One thread block makes the record of one block and KV head, each
// thread that of one key; the bytes are those of the CPU's sketch_seal.inc.
#include "sketch.cuh"

namespace sounder::cuda {

namespace {

constexpr int kColumn = kIndexTokens + 1;  // so that a column's readers use all banks
// The step of the quantiser.
__device__ inline float step_of(int bits) { return bits == 1 ? 1.0f : 0.9957f; }

template <int D>
struct SealShared {
  float z[D * kColumn];
  float centre[D];
  float parts[kIndexTokens / 32];
};

template <int D>
__device__ inline void transform(float (&x)[D]) {
#pragma unroll
  for (int stride = 1; stride < D; stride *= 2)
#pragma unroll
    for (int i = 0; i < D; ++i) {
      if (i & stride) continue;
      const float a = x[i], b = x[i + stride];
      x[i] = __fadd_rn(a, b);
      x[i + stride] = __fsub_rn(a, b);
    }
  const float scale = scale_of(D);
#pragma unroll
  for (int i = 0; i < D; ++i) x[i] = __fmul_rn(x[i], scale);
}

template <int D>
__device__ inline void load_key(const uint16_t *row, const float *signs, float (&x)[D]) {
  bool usable = true;
#pragma unroll
  for (int i = 0; i < D / 8; ++i) {
    const uint4 words = load_once(row + 8 * i);
    const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      x[8 * i + 2 * j] = of_bf16(pairs[j]);
      x[8 * i + 2 * j + 1] = of_bf16(pairs[j] >> 16);
    }
  }
#pragma unroll
  for (int i = 0; i < D; ++i) usable &= fabsf(x[i]) < kMostValue;
#pragma unroll
  for (int i = 0; i < D; ++i) x[i] = usable ? __fmul_rn(x[i], signs[i]) : 0.0f;
}

// Of dimension j over the block's keys: 16 sums of every 16th, then halves onto halves.
__device__ inline float mean_of_column(const float *column) {
  float sums[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) sums[i] = column[i];
  for (int from = 16; from < kIndexTokens; from += 16)
#pragma unroll
    for (int i = 0; i < 16; ++i) sums[i] = __fadd_rn(sums[i], column[from + i]);
#pragma unroll
  for (int half = 8; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; ++i) sums[i] = __fadd_rn(sums[i], sums[i + half]);
  return __fmul_rn(sums[0], 1.0f / kIndexTokens);
}

__device__ inline float block_max(float x, float *parts) {
  x = greatest_of_warp(x);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  for (int i = 0; i < kIndexTokens / 32; ++i) x = fmaxf(x, parts[i]);
  return x;
}

// Writes the front of the record; centre becomes what its integers stand for.
template <int D>
__device__ inline void find_centre(const SealStep &step, int block, const char *previous, char *record,
                                   SealShared<D> &shared) {
  const int j = static_cast<int>(threadIdx.x);
  float mean = 0.0f;
  if (j < D) {
    mean = mean_of_column(shared.z + j * kColumn);
    if (step.shape.centring == kCentringContext && previous != nullptr) {
      const float before = static_cast<float>(block), all = static_cast<float>(block + 1);
      const float last = __fmul_rn(static_cast<float>(reinterpret_cast<const int16_t *>(previous)[j]),
                                   *reinterpret_cast<const float *>(previous + 2 * D));
      mean = __fdiv_rn(__fadd_rn(__fmul_rn(last, before), mean), all);
    }
  }
  const float most = block_max(fabsf(mean), shared.parts);
  const bool usable = most > kTiny && step.shape.centring != kCentringOff;
  const float scale = usable ? __fdiv_rn(most, static_cast<float>(kMeanLimit)) : 0.0f;
  const float inverse = usable ? __fdiv_rn(1.0f, scale) : 0.0f;
  for (int i = 2 * D + 4 * j; i < sketch_scales_place(D); i += 4 * kIndexTokens)
    *reinterpret_cast<float *>(record + i) = i == 2 * D ? scale : 0.0f;
  if (j >= D) return;
  const float whole = rounded(__fmul_rn(mean, inverse)), limit = static_cast<float>(kMeanLimit);
  const float bounded = fminf(fmaxf(whole, -limit), limit);
  reinterpret_cast<int16_t *>(record)[j] = static_cast<int16_t>(bounded);
  shared.centre[j] = __fmul_rn(bounded, scale);
}

// parts: sums over dimensions j mod 4.
__device__ inline float sum_of(const float (&parts)[4]) {
  return __fadd_rn(__fadd_rn(parts[0], parts[1]), __fadd_rn(parts[2], parts[3]));
}

template <int D>
__device__ inline void quantise(const float (&z)[D], int bits, const float *centre, uint8_t *planes,
                                uint16_t *scales) {
  float parts[4] = {}, products[4] = {}, squares[4] = {};
#pragma unroll
  for (int j = 0; j < D; ++j) {
    const float x = __fsub_rn(z[j], centre[j]);
    parts[j % 4] = __fadd_rn(parts[j % 4], __fmul_rn(x, x));
  }
  const float square = sum_of(parts), half = static_cast<float>(1 << (bits - 1));
  const bool usable = __fsub_rn(square, kTiny) > 0.0f;
  const float gain = __fdiv_rn(__fsqrt_rn(static_cast<float>(D)), step_of(bits));
  const float inverse_step = usable ? __fdiv_rn(gain, __fsqrt_rn(square)) : 0.0f;
#pragma unroll
  for (int g = 0; g < D / 8; ++g) {
    uint32_t first = 0, second = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int j = 8 * g + i;
      const float x = __fsub_rn(z[j], centre[j]);
      const float whole = fminf(fmaxf(floorf(__fmul_rn(x, inverse_step)), -half), half - 1.0f);
      const float c = __fadd_rn(__fadd_rn(whole, whole), 1.0f);
      products[j % 4] = __fadd_rn(products[j % 4], __fmul_rn(c, x));
      squares[j % 4] = __fadd_rn(squares[j % 4], __fmul_rn(c, c));
      const uint32_t code = static_cast<uint32_t>(static_cast<int>(whole + half));
      first |= (code >> (bits - 1) & 1u) << i;
      second |= (code & 1u) << i;
    }
    planes[g * kIndexTokens] = static_cast<uint8_t>(first);
    if (bits == 2) planes[(D / 8 + g) * kIndexTokens] = static_cast<uint8_t>(second);
  }
  const float f = __fdiv_rn(sum_of(products), sum_of(squares));
  *scales = usable ? static_cast<uint16_t>(bf16_bits(f)) : 0;
}

template <int D>
__device__ inline void seal_block(const SealStep &step, int place, int kv_head, SealShared<D> &shared) {
  const int key = static_cast<int>(threadIdx.x);
  const int64_t row_view = int64_t{step.row_blocks[place]} * step.kv_heads + kv_head;
  float z[D];
  load_key<D>(step.rows + (row_view * kIndexTokens + key) * 2 * D, step.signs, z);
  transform<D>(z);
#pragma unroll
  for (int j = 0; j < D; ++j) z[j] = __fmul_rn(z[j], step.signs[D + j]);
  transform<D>(z);
#pragma unroll
  for (int j = 0; j < D; ++j) shared.z[j * kColumn + key] = z[j];
  __syncthreads();
  auto record_of = [&](int block) {
    return step.records + (int64_t{block} * step.kv_heads + kv_head) * step.record_stride;
  };
  char *record = record_of(step.blocks[place]);
  const int32_t *before = place > 0 ? step.blocks + place - 1 : step.previous;
  const bool has_previous = place > 0 || (step.first > 0 && before != nullptr);
  find_centre<D>(step, step.first + place, has_previous ? record_of(*before) : nullptr, record, shared);
  __syncthreads();
  quantise<D>(z, step.shape.sketch_bits, shared.centre,
              reinterpret_cast<uint8_t *>(record + sketch_planes_place(D)) + key,
              reinterpret_cast<uint16_t *>(record + sketch_scales_place(D)) + key);
  __syncthreads();
}

template <int D>
__global__ void __launch_bounds__(kIndexTokens) seal_kernel(SealStep step) {
  let_next_start();
  wait_for_previous();
  auto &shared = *dynamic_shared<SealShared<D>>();
  const int kv_head = static_cast<int>(blockIdx.y);
  // With one block of the grid, blocks are sealed in order: each may need the record before.
  for (int place = static_cast<int>(blockIdx.x); place < step.count; place += static_cast<int>(gridDim.x)) {
    seal_block<D>(step, place, kv_head, shared);
    __threadfence();
  }
}

}  // namespace

void launch_seal(const Launcher &launcher, const SealStep &step) {
  check_shape(has_seal_kernels(step.shape));
  const bool in_order = step.shape.centring == kCentringContext;
  const dim3 grid{in_order ? 1u : static_cast<unsigned>(step.count), static_cast<unsigned>(step.kv_heads), 1};
  if (step.shape.head_dim == 64)
    launch(launcher, seal_kernel<64>, grid, kIndexTokens, sizeof(SealShared<64>), step);
  if (step.shape.head_dim == 128)
    launch(launcher, seal_kernel<128>, grid, kIndexTokens, sizeof(SealShared<128>), step);
}

}  // namespace sounder::cuda
