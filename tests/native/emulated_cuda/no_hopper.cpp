// SPDX-License-Identifier: Apache-2.0
//
// In place of attend_hopper.cu: the emulated device has a compute capability of 8.0.
#include <cstdlib>

#include "cuda/attend.h"

namespace sounder::cuda {

bool can_attend_hopper(const AttentionShape &, int) { return false; }

void attend_hopper(cudaStream_t, const AttentionShape &, const AttendCall &, const AttendTile *, int, int) {
  std::abort();
}

}  // namespace sounder::cuda
