// SPDX-License-Identifier: Apache-2.0
//
// In place of *_hopper.cu: the emulated device has a compute capability of 8.0.
#include <cstdlib>

#include "cuda/attend.h"
#include "cuda/products.h"

namespace sounder::cuda {

bool can_attend_hopper(const AttentionShape &, int) { return false; }

void attend_hopper(cudaStream_t, const AttentionShape &, const AttendCall &, const AttendTile *, int, int) {
  std::abort();
}

bool can_stream_hopper(const WeightMatrix &, int, int) { return false; }

void stream_hopper(const Launcher &, const WeightMatrix &, const Activations &, int, Into, void *) {
  std::abort();
}

}  // namespace sounder::cuda
