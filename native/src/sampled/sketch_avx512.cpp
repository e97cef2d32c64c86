// SPDX-License-Identifier: Apache-2.0
#include "sketch_kernels.inc"
#include "sketch_levels.h"

namespace sounder {

const SketchKernels kSketchAvx512 = {"avx512", seal<uint16_t>, seal<float>, prepare, scan};

}  // namespace sounder
