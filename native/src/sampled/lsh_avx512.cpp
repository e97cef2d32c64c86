// SPDX-License-Identifier: Apache-2.0
#include "lsh_kernels.inc"
#include "lsh_levels.h"

namespace sounder {

const LshKernels kLshAvx512 = {"avx512", centre<uint16_t>, centre<float>, hash, retrieve};

}  // namespace sounder
