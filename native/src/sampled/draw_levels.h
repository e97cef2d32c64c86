// SPDX-License-Identifier: Apache-2.0
//
// The tables of the level files, for the look-up by name.
#pragma once

#include "draw_kernels.h"

namespace sounder {

extern const DrawKernels kDrawScalar, kDrawAvx2, kDrawAvx512, kDrawAmx;

}  // namespace sounder
