// SPDX-License-Identifier: Apache-2.0
//
// The tables of the level files, for the look-up by name.
#pragma once

#include "sketch_kernels.h"

namespace sounder {

extern const SketchKernels kSketchScalar, kSketchAvx2, kSketchAvx512, kSketchAmx;

}  // namespace sounder
