// SPDX-License-Identifier: Apache-2.0
#include "attention_kernels.inc"
#include "attention_levels.h"

namespace sounder {

const AttentionKernels kAttentionAmx = {
    "amx", kTileRows, kTileRows, stream<uint16_t>, stream<float>, attend_tile<uint16_t>, attend_tile<float>};

}  // namespace sounder
