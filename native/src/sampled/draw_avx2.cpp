// SPDX-License-Identifier: Apache-2.0
#include "draw_kernels.inc"
#include "draw_levels.h"

namespace sounder {

const DrawKernels kDrawAvx2 = {"avx2", maximum, weigh, count, combine, draw};

}  // namespace sounder
