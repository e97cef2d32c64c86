// SPDX-License-Identifier: Apache-2.0
//
// The exact result beside the sampled one: how far they are apart. A warp compares those of a query head.
#include "sketch.cuh"

namespace sounder::cuda {

namespace {

__device__ inline float warp_total(float x) {
  for (int half = 16; half > 0; half /= 2) x += __shfl_xor_sync(kWarp, x, half);
  return x;
}

__global__ void verify_kernel(SampledStep step, const uint16_t *exact) {
  let_next_start();
  wait_for_previous();
  const SampledQuery &own = step.query[blockIdx.y];
  if (own.verify == 0 || own.statistics < 0) return;
  const int head = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x),
            d = step.shape.head_dim;
  const int64_t place = (int64_t{own.row} * step.shape.heads + head) * d;
  float difference = 0.0f, size = 0.0f;
  for (int i = lane; i < d; i += 32) {
    const float x = of_bf16(exact[place + i]), apart = of_bf16(step.narrow_output[place + i]) - x;
    difference += apart * apart;
    size += x * x;
  }
  difference = warp_total(difference);
  size = warp_total(size);
  float *statistics = step.statistics + (int64_t{own.statistics} * step.shape.heads + head) * kStatistics;
  if (lane == 0 && size > 0) statistics[3] += difference / size;
}

}  // namespace

void launch_verify(const Launcher &launcher, const SampledStep &step, const uint16_t *exact) {
  const dim3 grid{static_cast<unsigned>(step.shape.heads), static_cast<unsigned>(step.queries), 1};
  launch(launcher, verify_kernel, grid, 32, 0, step, exact);
}

}  // namespace sounder::cuda
