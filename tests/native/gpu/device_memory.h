// SPDX-License-Identifier: Apache-2.0
//
// Device memory for tests of kernels.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "cuda/branches.h"

namespace device_memory {

inline void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

// Empty where there is a GPU.
inline std::string why_no_device() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  return error != cudaSuccess ? cudaGetErrorString(error) : count == 0 ? "no device" : "";
}
inline int multiprocessors() {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0));
  return count;
}
inline void *take(size_t bytes) {
  void *p = nullptr;
  check(cudaMalloc(&p, bytes));
  return p;
}
inline void give_back(void *p) { check(cudaFree(p)); }
inline void copy(void *to, const void *from, size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault));
}
inline void finish() { check(cudaDeviceSynchronize()); }

using Branches = sounder::cuda::Branches;

}  // namespace device_memory
