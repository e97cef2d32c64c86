// SPDX-License-Identifier: Apache-2.0
#include "exact_scores.inc"
#include "exact_scores_levels.h"

namespace sounder {

const ExactScoreKernels kExactScoresAvx512 = {"avx512", score_keys<uint16_t>, score_keys<float>,
                                              score_pages<uint16_t>, score_pages<float>};

}  // namespace sounder
