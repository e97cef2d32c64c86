// SPDX-License-Identifier: Apache-2.0
//
// What kernels take from the machine beyond CUDA C++. Kernels include this by its name alone, so that tests
// without a GPU can put their own in its place (tests/native/emulated_cuda).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../launcher.h"

namespace sounder::cuda {

// Dynamic shared memory that every kernel gets without being asked: with its own it takes no more than the 48
// KiB that need no attribute. (The most that one has of its own is 37 KiB.)
constexpr size_t kUnaskedShared = 8 * 1024;

template <typename... P, typename... A>
void launch(const Launcher &launcher, void (*kernel)(P...), dim3 grid, int threads, size_t shared_bytes,
            A... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = launcher.stream;
  config.attrs = &attribute;
  config.numAttrs = launcher.overlap ? 1 : 0;
  cudaError_t error = cudaSuccess;
  if (shared_bytes > kUnaskedShared)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes));
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
  check(error, "launch a kernel");
}

#if defined(__CUDACC__)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
__device__ inline void wait_for_previous() {}
__device__ inline void let_next_start() {}
#else
__device__ inline void wait_for_previous() { cudaGridDependencySynchronize(); }
__device__ inline void let_next_start() { cudaTriggerProgrammaticLaunchCompletion(); }
#endif

template <typename T>
__device__ inline T *dynamic_shared() {
  extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[];
  return reinterpret_cast<T *>(dynamic_shared_bytes);
}

// 16 bytes that nobody will read again soon: what is in the second cache stays there, code above all. Not by
// the read-only path: with kernels that overlap, the kernel before may still have been writing when this one
// began.
__device__ inline uint4 load_once(const void *p) {
  uint64_t policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  uint4 x;
  asm volatile("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(p), "l"(policy));
  return x;
}

// d = c + a · b of 16 × 32 unsigned and 32 × 8 signed bytes: PTX's m16n8k32.
__device__ inline void mma_u8_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                 const int (&c)[4]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "r"(c[0]), "r"(c[1]), "r"(c[2]),
        "r"(c[3]));
}

// Maxima of the two int16 of a word.
__device__ inline uint32_t max_shorts(uint32_t a, uint32_t b) { return __vmaxs2(a, b); }

#endif

}  // namespace sounder::cuda
