// SPDX-License-Identifier: Apache-2.0
//
// The tables of the level files, for the look-up by name.
#pragma once

#include "exact_scores.h"

namespace sounder {

extern const ExactScoreKernels kExactScoresScalar, kExactScoresAvx2, kExactScoresAvx512, kExactScoresAmx;

}  // namespace sounder
