// SPDX-License-Identifier: Apache-2.0
//
// Values of both precisions: a kernel is a template of the type T of weights, KV and activations, bf16 or
// float32, and computes in float32.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace sounder::cuda {

using bf16 = __nv_bfloat16;

__device__ inline float widen(float value) { return value; }
__device__ inline float widen(bf16 value) { return __bfloat162float(value); }

template <typename T>
__device__ inline T narrow(float value);
template <>
__device__ inline float narrow<float>(float value) {
  return value;
}
template <>
__device__ inline bf16 narrow<bf16>(float value) {
  return __float2bfloat16_rn(value);
}

// 16 bytes of T, widened.
template <typename T>
struct Vector;
template <>
struct Vector<float> {
  static constexpr int kValues = 4;
  __device__ static void widen(const uint4 &bits, float *values) {
    values[0] = __uint_as_float(bits.x);
    values[1] = __uint_as_float(bits.y);
    values[2] = __uint_as_float(bits.z);
    values[3] = __uint_as_float(bits.w);
  }
};
template <>
struct Vector<bf16> {
  static constexpr int kValues = 8;
  // A bf16 is the upper half of a float32.
  __device__ static void widen(const uint4 &bits, float *values) {
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      values[2 * i] = __uint_as_float(words[i] << 16);
      values[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  }
};

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ inline float warp_max(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

}  // namespace sounder::cuda
