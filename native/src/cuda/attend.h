// SPDX-License-Identifier: Apache-2.0
//
// Exact attention over KV blocks in device memory: causal, grouped query heads, with a sliding window or
// without. In bf16 on the matrix units, tile by tile with online softmax (attend_tiles.cu); in float32, for
// tests, key by key (attend_rows.cu).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

#include "attention/attention.h"
#include "row_kernels.h"

namespace sounder::cuda {

// New tokens of one context; their rows follow each other.
struct AttendJob {
  int first_row;
  int tokens;
  int position;  // of the first
  int sequence;  // row of the table of blocks
};

// Queries that one thread block answers. A KV head's queries are packed: m stands for token m / group and
// query head m % group of the job's tokens.
struct AttendTile {
  int32_t first_row;
  int32_t tokens;
  int32_t position;
  int32_t sequence;
  int32_t first_m;
  int32_t padding[3];
};

// How the tiles of a step are cut: small ones (decode, 16 queries) and large ones (prefill, 64 or 128). Each
// reads its keys in so many splits, whose partial states are merged.
struct AttendPlan {
  std::vector<AttendTile> small, large;
  int first_tile = 0;  // of `small`, where all tiles lie; `large` follow
  int small_splits = 1, large_splits = 1;
  int large_queries;  // of a large tile
};

// Queries of a tile; hopper tiles are for attend_hopper.
constexpr int kSmallTile = 16, kLargeTile = 64, kHopperTile = 128;
// Thread blocks that fill a device, for each multiprocessor.
constexpr int kBlocksPerProcessor = 3;
constexpr int kMostSplits = 64;

// splits depend on the number of tiles alone, so that a captured graph serves contexts of any length.
AttendPlan plan_attention(const AttentionShape &shape, const std::vector<AttendJob> &jobs, int processors,
                          int large_queries);

// Whether all of a job's queries go into small tiles.
bool fits_small_tiles(const AttentionShape &shape, int tokens);
// For tiles of so many queries that are launched by themselves.
int attention_splits(const AttentionShape &shape, size_t tiles, int queries, int processors);

struct AttendCall {
  const void *q;          // [R, H D] of T
  const void *slab;       // of the layer
  const int32_t *tables;  // [sequences, table_width]
  int table_width;
  void *output;    // [R, H D] of T
  char *partials;  // room for kDevicePartials of D + 2 floats
};

// tiles: those of a plan, in device memory. queries: kSmallTile or kLargeTile.
void attend_tiles(cudaStream_t stream, const AttentionShape &shape, const AttendCall &call,
                  const AttendTile *tiles, int count, int queries, int splits);

// The same for tiles of kHopperTile queries, on devices of compute capability 9 (attend_hopper.cu).
bool can_attend_hopper(const AttentionShape &shape, int major);
void attend_hopper(cudaStream_t stream, const AttentionShape &shape, const AttendCall &call,
                   const AttendTile *tiles, int count, int splits);

// The same for float32: one thread block a row and query head.
void attend_rows(cudaStream_t stream, const AttentionShape &shape, const AttendCall &call, const Row *rows,
                 int count);

}  // namespace sounder::cuda
