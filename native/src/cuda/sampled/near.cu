// SPDX-License-Identifier: Apache-2.0
//
// Sink and tail, for strategies whose first kernel does not attend them itself.
#include "rows.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 128;

template <typename Dim, int H>
__global__ void __launch_bounds__(kThreads) near_kernel(SampledStep step) {
  __shared__ float shared[shared_state_floats<Dim, H>(kThreads / 32)];
  __shared__ MergeFactors factors;
  let_next_start();
  wait_for_previous();
  const HeadSlice slice = slice_at<Dim, H>(step.shape, step.served.first, static_cast<int>(blockIdx.y));
  attend_near<Dim, H>(step, static_cast<int>(blockIdx.z), slice, static_cast<int>(blockIdx.x), shared,
                      factors);
}

template <typename Dim>
void launch_with_heads(const Launcher &launcher, const SampledStep &step) {
  const dim3 grid{kNearParts, static_cast<unsigned>(step.served.count() * step.shape.slices()),
                  static_cast<unsigned>(step.queries)};
  const int heads = step.shape.heads_of_slice();
  if (heads == 1) return launch(launcher, near_kernel<Dim, 1>, grid, kThreads, 0, step);
  if (heads <= 4) return launch(launcher, near_kernel<Dim, 4>, grid, kThreads, 0, step);
  if constexpr (Dim::kMost <= 128) launch(launcher, near_kernel<Dim, 8>, grid, kThreads, 0, step);
}

}  // namespace

void launch_near(const Launcher &launcher, const SampledStep &step) {
  check_shape(has_attend_kernels(step.shape));
  const int d = step.shape.head_dim;
  if (d == 64) return launch_with_heads<Own<64>>(launcher, step);
  if (d == 128) return launch_with_heads<Own<128>>(launcher, step);
  if (d < 128) return launch_with_heads<UpTo<128>>(launcher, step);
  launch_with_heads<UpTo<256>>(launcher, step);
}

}  // namespace sounder::cuda
