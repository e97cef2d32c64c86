// SPDX-License-Identifier: Apache-2.0
//
// Enough of CUDA's language to run its kernels on the CPU, so that they are tested on machines without a GPU.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "cuda_runtime_api.h"
#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __constant__ static const
#define __launch_bounds__(...)

struct uint2 {
  uint32_t x, y;
};
struct uint4 {
  uint32_t x, y, z, w;
};
struct int2 {
  int x, y;
};
struct float2 {
  float x, y;
};
struct float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline void __syncthreads() { emulated::meet_block(); }
inline void __syncwarp() { emulated::meet_warp(); }
inline void __threadfence() {}

template <typename T>
T __shfl_sync(unsigned, T value, int source) {
  return emulated::value_of<T>(emulated::exchange(value)[source & 31]);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return __shfl_sync(mask, value, emulated::lane() ^ bits);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int distance) {
  const int own = emulated::lane();
  return __shfl_sync(mask, value, own >= distance ? own - distance : own);
}
inline unsigned __ballot_sync(unsigned, bool value) {
  const emulated::Slot *slots = emulated::exchange(value);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<unsigned>(emulated::value_of<bool>(slots[i])) << i;
  return bits;
}

template <typename T, typename U>
T atomicAdd(T *at, U value) {
  const T before = *at;
  *at = static_cast<T>(before + static_cast<T>(value));
  return before;
}
inline int atomicMax(int *at, int value) {
  const int before = *at;
  *at = value > before ? value : before;
  return before;
}

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline int __float2int_rn(float x) { return static_cast<int>(std::lrint(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline uint32_t __float_as_uint(float x) { return emulated::bits_as<uint32_t>(x); }
inline float __uint_as_float(uint32_t x) { return emulated::bits_as<float>(x); }
inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned select) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<unsigned>(bytes >> (select >> (4 * i) & 7) * 8 & 0xff) << (8 * i);
  return result;
}
template <typename T>
T __ldg(const T *p) {
  return *p;
}
template <typename T>
T __ldcg(const T *p) {
  return *p;
}
template <typename T>
T __ldcs(const T *p) {
  return *p;
}
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
using std::max;
using std::min;
