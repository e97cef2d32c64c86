// SPDX-License-Identifier: Apache-2.0
#include "sketch_levels.h"
#include "sketch_scan.inc"
#include "sketch_seal.inc"

namespace sounder {

const SketchKernels kSketchAvx512 = {"avx512", seal<uint16_t>, seal<float>, prepare, scan};

}  // namespace sounder
