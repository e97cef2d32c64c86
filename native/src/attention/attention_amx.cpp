// SPDX-License-Identifier: Apache-2.0
#include "attention_kernels.inc"
#include "attention_levels.h"

namespace sounder {
#include "attention_amx_tile.inc"

const AttentionKernels kAttentionAmx = {"amx",         kAmxTileRows, kTileRows,         stream<uint16_t>,
                                        stream<float>, attend_amx,   attend_tile<float>};

}  // namespace sounder
