// SPDX-License-Identifier: Apache-2.0
//
// The tables of the level files, for the look-up by name.
#pragma once

#include "gather.h"

namespace sounder {

extern const GatherKernels kGatherScalar, kGatherAvx2, kGatherAvx512, kGatherAmx;

}  // namespace sounder
