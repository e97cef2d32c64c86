// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "failure.h"
#include "sounder.h"

namespace sounder::cuda {

// Every call of the runtime goes through here: a failure becomes a sentence with what was being done.
inline void check(cudaError_t status, const char *what) {
  if (status == cudaSuccess) return;
  fail(status == cudaErrorMemoryAllocation ? SOUNDER_OUT_OF_MEMORY : SOUNDER_INTERNAL,
       "The GPU failed to %s: %s.", what, cudaGetErrorString(status));
}

// Kernels fail to start without a return value.
inline void check_launch(const char *what) { check(cudaGetLastError(), what); }

}  // namespace sounder::cuda
