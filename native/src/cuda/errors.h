// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include "failure.h"
#include "sounder.h"

namespace sounder::cuda {

// Whether every later call of this process fails too: of these errors CUDA's manual says that "the process
// must be terminated and relaunched".
inline bool is_lasting(cudaError_t status) {
  switch (status) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
      return true;
    default:
      return false;
  }
}

// Every call of the runtime goes through here: a failure becomes a sentence with what was being done.
inline void check(cudaError_t status, const char *what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next launch would be blamed for it
  const bool memory = status == cudaErrorMemoryAllocation;
  fail(memory               ? SOUNDER_OUT_OF_MEMORY
       : is_lasting(status) ? SOUNDER_LOST
                            : SOUNDER_INTERNAL,
       "The GPU failed to %s: %s.", what, cudaGetErrorString(status));
}

// Kernels fail to start without a return value.
inline void check_launch(const char *what) { check(cudaGetLastError(), what); }

}  // namespace sounder::cuda
