// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <instructions.cuh>

namespace sounder::cuda {

// The sum over the threads of a block before this one, and over all of them: for blocks of kWarps whole
// warps. of_warp: shared memory, which nobody reads any more when this begins; again so when it returns.
template <typename T, int kWarps>
__device__ inline T sum_before(T own, T (&of_warp)[kWarps], T *all) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  T sum = own;
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const T before = __shfl_up_sync(0xffffffffu, sum, distance);
    if (lane >= distance) sum += before;
  }
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  T before = sum - own;
  *all = 0;
  for (int w = 0; w < kWarps; ++w) {
    before += w < warp ? of_warp[w] : 0;
    *all += of_warp[w];
  }
  __syncthreads();
  return before;
}

}  // namespace sounder::cuda
