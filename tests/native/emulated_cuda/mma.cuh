// SPDX-License-Identifier: Apache-2.0
//
// In place of native/src/cuda/gpu/mma.cuh where kernels run on the CPU: fragments lie as there.
#pragma once

#include <cstdint>

#include "cuda_bf16.h"
#include "cuda_runtime.h"

namespace sounder::cuda {

// Copies that were not waited for have not come: they are made when their group is.
void copy_async(void *to, const void *from, bool there);
inline void copy_once(void *to, const void *from) { copy_async(to, from, true); }
void commit_copies();
void wait_copies_until(int pending);
template <int kPending>
void wait_copies() {
  wait_copies_until(kPending);
}

inline void load_matrices(uint32_t (&to)[4], const void *row) {
  const emulated::Slot *rows = emulated::exchange(row);
  const int lane = emulated::lane();
  for (int i = 0; i < 4; ++i)
    std::memcpy(&to[i], emulated::value_of<const char *>(rows[8 * i + lane / 4]) + lane % 4 * 4, 4);
}
inline void load_transposed(uint32_t (&to)[4], const void *row) {
  const emulated::Slot *rows = emulated::exchange(row);
  const int lane = emulated::lane();
  for (int i = 0; i < 4; ++i) {
    uint16_t pair[2];
    for (int j = 0; j < 2; ++j) {
      const char *from = emulated::value_of<const char *>(rows[8 * i + lane % 4 * 2 + j]);
      std::memcpy(&pair[j], from + lane / 4 * 2, 2);
    }
    std::memcpy(&to[i], pair, 4);
  }
}

void multiply_add(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

inline float exp2_of(float x) { return exp2f(x); }

inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return emulated::bits_as<uint32_t>(both);
}

}  // namespace sounder::cuda
