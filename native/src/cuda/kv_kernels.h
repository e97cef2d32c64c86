// SPDX-License-Identifier: Apache-2.0
//
// What is done to KV blocks besides attending them. slabs [layers]: those of all layers, in device memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace sounder::cuda {

// The first rows of a block over all layers and KV heads become those of another one. row_bytes: of a row
// [K | V], a multiple of 4.
void copy_rows(cudaStream_t stream, char *const *slabs, int layers, int kv_heads, int64_t row_bytes,
               int32_t from, int32_t to, int tokens);

// Where kernels find the rows of positions at a layer: with a table of block ids for each sequence of a step,
// table_width apart.
struct RowPlace {
  char *slab;
  const int32_t *tables;
  int table_width;

  const int32_t *table(int sequence) const { return tables + int64_t{sequence} * table_width; }
};

// The first rows of one block at one layer, for all its KV heads. row_bytes: a multiple of 4.
void copy_block_rows(cudaStream_t stream, const char *from, char *to, int kv_heads, int64_t row_bytes,
                     int tokens);

// Seeded noise as the KV of the positions [first, end) of a context at one layer: the same values as on the
// CPU (fill.cpp). table: its blocks, in device memory.
void fill_noise(cudaStream_t stream, void *slab, int layer, const int32_t *table, int kv_heads, int head_dim,
                bool f32, int first, int end, uint32_t seed);

}  // namespace sounder::cuda
