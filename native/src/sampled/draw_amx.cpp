// SPDX-License-Identifier: Apache-2.0
#include "draw_kernels.inc"
#include "draw_levels.h"

namespace sounder {

const DrawKernels kDrawAmx = {"amx", maximum, weigh, count, combine, draw};

}  // namespace sounder
