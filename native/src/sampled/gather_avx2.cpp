// SPDX-License-Identifier: Apache-2.0
#include "gather.inc"
#include "gather_levels.h"

namespace sounder {

const GatherKernels kGatherAvx2 = {"avx2", gather<uint16_t>, gather<float>};

}  // namespace sounder
