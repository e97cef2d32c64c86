// SPDX-License-Identifier: Apache-2.0
#include "gather.inc"
#include "gather_levels.h"

namespace sounder {

const GatherKernels kGatherAvx512 = {"avx512", gather<uint16_t>, gather<float>};

}  // namespace sounder
