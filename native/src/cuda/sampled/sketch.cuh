// SPDX-License-Identifier: Apache-2.0
//
// What kernels of sketches share. Floats are rounded one by one, in the order that sketch_kernels.h gives.
#pragma once

#include <instructions.cuh>
#include <stdexcept>

#include "../../sampled/sketch_kernels.h"
#include "sampled_cuda.h"

namespace sounder::cuda {

constexpr unsigned kWarp = 0xffffffffu;

inline void check_shape(bool has_kernels) {
  if (!has_kernels)
    throw std::invalid_argument(
        "Cannot sample attention on a GPU: there are no kernels for this shape; head dims of whole eights "
        "up to 256, sketches of 1, 2 and 4 bits and groups of up to 128 heads have them");
}

__device__ inline float scale_of(int size) { return __fdiv_rn(1.0f, __fsqrt_rn(static_cast<float>(size))); }
// To the nearest, ties to even; |x| < 2^22.
__device__ inline float rounded(float x) { return __fsub_rn(__fadd_rn(x, 12582912.0f), 12582912.0f); }

__device__ inline float of_bf16(uint32_t bits) { return __uint_as_float(bits << 16); }
__device__ inline uint32_t bf16_bits(float x) {
  const uint32_t u = __float_as_uint(x);
  return x != x ? 0x7fc0u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}

__device__ inline float greatest_of_warp(float x) {
  for (int bits = 16; bits > 0; bits /= 2) x = fmaxf(x, __shfl_xor_sync(kWarp, x, bits));
  return x;
}

// Head dims of a kernel: one that it knows, or all up to one.
template <int kDim>
struct Own {
  static constexpr int kMost = kDim;
  static constexpr bool kIsOwn = true;
  __device__ static constexpr int of(int) { return kDim; }
};
template <int kDim>
struct UpTo {
  static constexpr int kMost = kDim;
  static constexpr bool kIsOwn = false;
  __device__ static constexpr int of(int head_dim) { return head_dim; }
};

// Of a query and a KV head.
__device__ inline int64_t view_index(const SampledStep &step, int query, int kv_head) {
  return static_cast<int64_t>(query) * step.shape.kv_heads + kv_head;
}

// The words of a head for the keys of a chunk.
__device__ inline uint32_t *words_of(const SampledStep &step, int64_t view, int chunk, int head) {
  const SampledMemory &m = step.memory;
  return m.words + ((view * (m.keys / kChunkKeys) + chunk) * step.shape.group() + head) * kChunkKeys;
}

// Heads first .. first + count - 1 of a KV head's group; no slice of it has more than `most`.
struct HeadSlice {
  int kv_head, index, first, count, most;
};
// Whether there may be several slices where the largest has at most kHeads heads: a larger group's have more
// than half of kMostSlice.
template <typename Dim, int kHeads>
constexpr bool kIsSliced = !Dim::kIsOwn || kHeads > kMostSlice / 2;

template <typename Dim, int kHeads>
__device__ inline int slices_of(const SketchShape &shape) {
  return kIsSliced<Dim, kHeads> ? shape.slices() : 1;
}
// unit: of the slices of the KV heads from `first_kv_head` on.
template <typename Dim, int kHeads>
__device__ inline HeadSlice slice_at(const SketchShape &shape, int first_kv_head, int unit) {
  const int group = shape.group(), slices = slices_of<Dim, kHeads>(shape);
  if (slices == 1) return {first_kv_head + unit, 0, 0, group, group};
  const int index = unit % slices, most = shape.heads_of_slice();
  return {first_kv_head + unit / slices, index, index * most, min(most, group - index * most), most};
}

}  // namespace sounder::cuda
