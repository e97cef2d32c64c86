// SPDX-License-Identifier: Apache-2.0
//
// What kernels take from the machine beyond CUDA C++. Kernels include this by its name alone, so that tests
// without a GPU can put their own in its place (tests/native/emulated_cuda).
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace sounder::cuda {

// A stream beside the launcher's, and events to go there and come back by.
struct Branch {
  cudaStream_t stream;
  cudaEvent_t begins, ends;
};

// Where kernels are launched, and how many multiprocessors there are to fill.
struct Launcher {
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  // From compute capability 9.0 on: a kernel's blocks may come up before the kernel before it in the stream
  // ends; each one calls wait_for_previous before it touches what an earlier one writes or reads. Among the
  // kernels of sampled attention this was slower (0.3 ms a token of 32 layers, H100); for the product behind
  // them it pays.
  bool overlap = false;
  const Branch *branches = nullptr;
  int branch_count = 0;
  int keys_of_part = 49152;  // fewer take no longer than the kernels of a branch take to begin
};

// A launcher on a branch, whose kernels come after those launched by `from`.
inline Launcher branch_off(const Launcher &launcher, const Launcher &from, int branch) {
  const Branch &own = launcher.branches[branch];
  if (cudaEventRecord(own.begins, from.stream) != cudaSuccess ||
      cudaStreamWaitEvent(own.stream, own.begins, 0) != cudaSuccess)
    throw std::runtime_error("Cannot launch kernels beside others");
  Launcher made = launcher;
  made.stream = own.stream;
  return made;
}
// What the launcher launches next comes after the branch.
inline void join_branch(const Launcher &launcher, int branch) {
  const Branch &own = launcher.branches[branch];
  if (cudaEventRecord(own.ends, own.stream) != cudaSuccess ||
      cudaStreamWaitEvent(launcher.stream, own.ends, 0) != cudaSuccess)
    throw std::runtime_error("Cannot wait for kernels beside others");
}

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
  if (shared_bytes > 48 * 1024)
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_bytes));
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("Cannot launch a kernel: ") + cudaGetErrorString(error));
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
