// SPDX-License-Identifier: Apache-2.0
//
// Where KV lies: as on the CPU (kv_blocks.h). A layer's slab is [block][KV head][128 tokens][K | V].
#pragma once

#include <cstdint>

#include "attention/attention.h"

namespace sounder::cuda {

// The row [K | V] of a position. table: the ids of its context's blocks.
template <typename T>
__device__ inline T *kv_row(T *slab, const int32_t *table, int kv_heads, int kv_head, int dim, int position) {
  const int64_t block = table[position / kBlockTokens];
  return slab + ((block * kv_heads + kv_head) * kBlockTokens + position % kBlockTokens) * 2 * dim;
}

}  // namespace sounder::cuda
