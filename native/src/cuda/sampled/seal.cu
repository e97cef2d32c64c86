// SPDX-License-Identifier: Apache-2.0
//
// Sealing: the sketches of a full block. One thread block makes the record of one block and KV head, each
// thread that of one key; the bytes are those of the CPU's sketch_seal.inc. Of head dims that the kernel
// knows the key's values lie in registers, of others in local memory.
#include "sketch.cuh"

namespace sounder::cuda {

namespace {

constexpr int kColumn = kIndexTokens + 1;  // so that a column's readers use all banks
// The step of the quantiser.
__device__ inline float step_of(int bits) { return bits == 1 ? 1.0f : bits == 2 ? 0.9957f : 0.3352f; }

// Dimensions whose columns lie in shared memory at once.
template <typename Dim>
constexpr int kSlab = Dim::kIsOwn ? Dim::kMost : 64;
// Of loops over groups of 8 dimensions.
template <typename Dim>
constexpr int kUnroll = Dim::kIsOwn ? Dim::kMost / 8 : 1;

template <typename Dim>
struct SealShared {
  float z[kSlab<Dim> * kColumn];
  float centre[Dim::kMost];
  float parts[kIndexTokens / 32];
};

template <typename Dim>
using Key = float[Dim::kMost];

template <int D>
__device__ inline void transform_own(float (&x)[D]) {
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

// The butterflies of strides stride, 2 stride … below kRadix stride.
template <int kRadix>
__device__ inline void butterflies_at(float *x, int size, int stride) {
  for (int base = 0; base < size; base += kRadix * stride)
    for (int at = base; at < base + stride; ++at) {
      float v[kRadix];
#pragma unroll
      for (int r = 0; r < kRadix; ++r) v[r] = x[at + r * stride];
#pragma unroll
      for (int half = 1; half < kRadix; half *= 2)
#pragma unroll
        for (int r = 0; r < kRadix; ++r) {
          if (r & half) continue;
          const float a = v[r], b = v[r + half];
          v[r] = __fadd_rn(a, b);
          v[r + half] = __fsub_rn(a, b);
        }
#pragma unroll
      for (int r = 0; r < kRadix; ++r) x[at + r * stride] = v[r];
    }
}

// Of `size` values, a power of two.
__device__ inline void transform_block(float *x, int size) {
  int stride = 1;
  for (; 8 * stride <= size; stride *= 8) butterflies_at<8>(x, size, stride);
  if (4 * stride == size) butterflies_at<4>(x, size, stride);
  if (2 * stride == size) butterflies_at<2>(x, size, stride);
  const float scale = scale_of(size);
  for (int i = 0; i < size; ++i) x[i] = __fmul_rn(x[i], scale);
}

// Blocks whose sizes are the powers of two that the head dim is the sum of.
template <typename Dim>
__device__ inline void transform(Key<Dim> &x, int head_dim, bool is_ascending) {
  if constexpr (Dim::kIsOwn) {
    transform_own(x);
  } else {
    for (int n = 0, at = 0; at < head_dim; ++n) {
      const int size = is_ascending ? 1 << n : 256 >> n;
      if (!(head_dim & size)) continue;
      transform_block(x + at, size);
      at += size;
    }
  }
}

template <typename Dim>
__device__ inline void load_key(const uint16_t *row, const float *signs, int d, Key<Dim> &x) {
  bool usable = true;
#pragma unroll kUnroll < Dim>
  for (int g = 0; g < d / 8; ++g) {
    const uint4 words = load_once(row + 8 * g);
    const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x[8 * g + i] = of_bf16(i % 2 ? pairs[i / 2] >> 16 : pairs[i / 2]);
      usable &= fabsf(x[8 * g + i]) < kMostValue;
    }
  }
#pragma unroll kUnroll < Dim>
  for (int g = 0; g < d / 8; ++g)
#pragma unroll
    for (int j = 8 * g; j < 8 * g + 8; ++j) x[j] = usable ? __fmul_rn(x[j], signs[j]) : 0.0f;
}

template <typename Dim>
__device__ inline void rotate_key(const float *signs, int d, Key<Dim> &x) {
  transform<Dim>(x, d, false);
#pragma unroll kUnroll < Dim>
  for (int g = 0; g < d / 8; ++g)
#pragma unroll
    for (int j = 8 * g; j < 8 * g + 8; ++j) x[j] = __fmul_rn(x[j], signs[d + j]);
  transform<Dim>(x, d, true);
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

// centre becomes the means of the block's keys.
template <typename Dim>
__device__ inline void find_means(const Key<Dim> &z, int d, SealShared<Dim> &shared) {
  const int key = static_cast<int>(threadIdx.x);
  for (int first = 0; first < d; first += kSlab<Dim>) {
#pragma unroll kSlab < Dim>
    for (int j = 0; j < kSlab<Dim>; ++j)
      if (Dim::kIsOwn || first + j < d) shared.z[j * kColumn + key] = z[first + j];
    __syncthreads();
    if (key < kSlab<Dim> && first + key < d)
      shared.centre[first + key] = mean_of_column(shared.z + key * kColumn);
    __syncthreads();
  }
}

// Writes the front of the record; centre becomes what its integers stand for.
template <typename Dim>
__device__ inline void find_centre(const SealStep &step, int block, const char *previous, char *record,
                                   SealShared<Dim> &shared) {
  const int thread = static_cast<int>(threadIdx.x), d = Dim::of(step.shape.head_dim);
  float most = 0.0f;
  for (int j = thread; j < d; j += kIndexTokens) {
    float mean = shared.centre[j];
    if (step.shape.centring == kCentringContext && previous != nullptr) {
      const float before = static_cast<float>(block), all = static_cast<float>(block + 1);
      const float last = __fmul_rn(static_cast<float>(reinterpret_cast<const int16_t *>(previous)[j]),
                                   *reinterpret_cast<const float *>(previous + 2 * d));
      mean = __fdiv_rn(__fadd_rn(__fmul_rn(last, before), mean), all);
      shared.centre[j] = mean;
    }
    most = fmaxf(most, fabsf(mean));
  }
  most = block_max(most, shared.parts);
  const bool usable = most > kTiny && step.shape.centring != kCentringOff;
  const float scale = usable ? __fdiv_rn(most, static_cast<float>(kMeanLimit)) : 0.0f;
  const float inverse = usable ? __fdiv_rn(1.0f, scale) : 0.0f;
  for (int i = 2 * d + 4 * thread; i < sketch_scales_place(d); i += 4 * kIndexTokens)
    *reinterpret_cast<float *>(record + i) = i == 2 * d ? scale : 0.0f;
  const float limit = static_cast<float>(kMeanLimit);
  for (int j = thread; j < d; j += kIndexTokens) {
    const float whole = rounded(__fmul_rn(shared.centre[j], inverse));
    const float bounded = fminf(fmaxf(whole, -limit), limit);
    reinterpret_cast<int16_t *>(record)[j] = static_cast<int16_t>(bounded);
    shared.centre[j] = __fmul_rn(bounded, scale);
  }
}

// parts: sums over dimensions j mod 4.
__device__ inline float sum_of(const float (&parts)[4]) {
  return __fadd_rn(__fadd_rn(parts[0], parts[1]), __fadd_rn(parts[2], parts[3]));
}

// Bytes of the key's planes at 8 dimensions, whose codes these are; code i at 4 i.
__device__ inline void store_planes(uint32_t codes, int bits, uint8_t *planes, int64_t plane_bytes) {
  for (int p = 0; p < bits; ++p) {
    const uint32_t own = codes >> (bits - 1 - p) & 0x11111111u;
    uint32_t byte = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) byte |= (own >> 3 * i) & 1u << i;
    planes[p * plane_bytes] = static_cast<uint8_t>(byte);
  }
}

template <typename Dim>
__device__ inline void quantise(const Key<Dim> &z, int d, int bits, const float *centre, uint8_t *planes,
                                uint16_t *scales) {
  float parts[4] = {}, products[4] = {}, squares[4] = {};
#pragma unroll kUnroll < Dim>
  for (int g = 0; g < d / 8; ++g)
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float x = __fsub_rn(z[8 * g + i], centre[8 * g + i]);
      parts[i % 4] = __fadd_rn(parts[i % 4], __fmul_rn(x, x));
    }
  const float square = sum_of(parts), half = static_cast<float>(1 << (bits - 1));
  const bool usable = __fsub_rn(square, kTiny) > 0.0f;
  const float gain = __fdiv_rn(__fsqrt_rn(static_cast<float>(d)), step_of(bits));
  const float inverse_step = usable ? __fdiv_rn(gain, __fsqrt_rn(square)) : 0.0f;
#pragma unroll kUnroll < Dim>
  for (int g = 0; g < d / 8; ++g) {
    uint32_t codes = 0;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float x = __fsub_rn(z[8 * g + i], centre[8 * g + i]);
      const float whole = fminf(fmaxf(floorf(__fmul_rn(x, inverse_step)), -half), half - 1.0f);
      const float c = __fadd_rn(__fadd_rn(whole, whole), 1.0f);
      products[i % 4] = __fadd_rn(products[i % 4], __fmul_rn(c, x));
      squares[i % 4] = __fadd_rn(squares[i % 4], __fmul_rn(c, c));
      codes |= static_cast<uint32_t>(static_cast<int>(whole + half)) << 4 * i;
    }
    store_planes(codes, bits, planes + g * kIndexTokens, int64_t{d / 8} * kIndexTokens);
  }
  const float f = __fdiv_rn(sum_of(products), sum_of(squares));
  *scales = usable ? static_cast<uint16_t>(bf16_bits(f)) : 0;
}

template <typename Dim>
__device__ inline void seal_block(const SealStep &step, int place, int kv_head, SealShared<Dim> &shared) {
  const int key = static_cast<int>(threadIdx.x), d = Dim::of(step.shape.head_dim);
  const int64_t row_view = int64_t{step.row_blocks[place]} * step.kv_heads + kv_head;
  Key<Dim> z;
  load_key<Dim>(step.rows + (row_view * kIndexTokens + key) * 2 * d, step.signs, d, z);
  rotate_key<Dim>(step.signs, d, z);
  find_means<Dim>(z, d, shared);
  auto record_of = [&](int block) {
    return step.records + (int64_t{block} * step.kv_heads + kv_head) * step.record_stride;
  };
  char *record = record_of(step.blocks[place]);
  const int32_t *before = place > 0 ? step.blocks + place - 1 : step.previous;
  const bool has_previous = place > 0 || (step.first > 0 && before != nullptr);
  find_centre<Dim>(step, step.first + place, has_previous ? record_of(*before) : nullptr, record, shared);
  __syncthreads();
  quantise<Dim>(z, d, step.shape.sketch_bits, shared.centre,
                reinterpret_cast<uint8_t *>(record + sketch_planes_place(d)) + key,
                reinterpret_cast<uint16_t *>(record + sketch_scales_place(d)) + key);
  __syncthreads();
}

template <typename Dim>
__global__ void __launch_bounds__(kIndexTokens) seal_kernel(SealStep step) {
  let_next_start();
  wait_for_previous();
  auto &shared = *dynamic_shared<SealShared<Dim>>();
  const int kv_head = static_cast<int>(blockIdx.y);
  // With one block of the grid, blocks are sealed in order: each may need the record before.
  for (int place = static_cast<int>(blockIdx.x); place < step.count; place += static_cast<int>(gridDim.x)) {
    seal_block<Dim>(step, place, kv_head, shared);
    __threadfence();
  }
}

template <typename Dim>
void launch_with(const Launcher &launcher, const SealStep &step) {
  const bool in_order = step.shape.centring == kCentringContext;
  const dim3 grid{in_order ? 1u : static_cast<unsigned>(step.count), static_cast<unsigned>(step.kv_heads), 1};
  launch(launcher, seal_kernel<Dim>, grid, kIndexTokens, sizeof(SealShared<Dim>), step);
}

}  // namespace

void launch_seal(const Launcher &launcher, const SealStep &step) {
  check_shape(has_seal_kernels(step.shape));
  if (step.shape.head_dim == 64) return launch_with<Own<64>>(launcher, step);
  if (step.shape.head_dim == 128) return launch_with<Own<128>>(launcher, step);
  launch_with<UpTo<256>>(launcher, step);
}

}  // namespace sounder::cuda
