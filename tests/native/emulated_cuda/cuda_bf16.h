// SPDX-License-Identifier: Apache-2.0
//
// bf16 as CUDA has it, on the CPU.
#pragma once

#include <cstdint>

#include "fibers.h"

struct __nv_bfloat16 {
  uint16_t bits;
};
struct __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  return emulated::bits_as<float>(uint32_t{value.bits} << 16);
}
inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  const uint32_t u = emulated::bits_as<uint32_t>(value);
  const uint32_t rounded = value != value ? 0x7fffu : (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
  return {static_cast<uint16_t>(rounded)};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
