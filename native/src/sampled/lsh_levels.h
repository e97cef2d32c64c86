// SPDX-License-Identifier: Apache-2.0
//
// The tables of the level files, for the look-up by name.
#pragma once

#include "lsh_kernels.h"

namespace sounder {

extern const LshKernels kLshScalar, kLshAvx2, kLshAvx512, kLshAmx;

}  // namespace sounder
