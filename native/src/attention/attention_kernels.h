// SPDX-License-Identifier: Apache-2.0
//
// The attention kernels, one table of them for each instruction level, named like the levels of Kernels.
// A kernel does one chunk: some queries of one KV head's group against a range of its keys.
//
// Logits are kept in units of log 2: q·k · log2(e) / sqrt(head_dim), so that exp is exp2.
#pragma once

#include <cstdint>

namespace sounder {

constexpr int kKeysInBlock = 128;  // kBlockTokens of attention.h

struct AttentionTask {
  // Keys and values of one KV head: token t of block b has its row [K | V] at
  // rows + (b * block_stride + t * 2 * head_dim) values.
  const void *rows;
  int64_t block_stride;
  const int32_t *blocks;
  int key_begin;  // a multiple of kKeysInBlock
  int key_end;    // none of these keys is read before key_begin, at or after key_end

  // Query (t, h), t < tokens and h < heads, lies at q + t * q_stride + h * head_dim and attends the keys
  // up to position + t, and if window > 0 only the last `window` of them.
  const float *q;
  int64_t q_stride;
  int tokens, heads, head_dim, position, window;

  // Stream kernels do so many KV heads, block after block, in the order in which memory lies: the next head's
  // rows of a block follow this one's, and its queries and results are `heads` further on.
  int kv_heads = 1;

  // Either the finished rows at output + t * output_stride + h * head_dim, or, if partial is not null,
  // the partial states (see partial.h) at partial + t * partial_token_stride + h * partial_head_stride.
  float *output;
  int64_t output_stride;
  float *partial;
  int64_t partial_token_stride, partial_head_stride;

  float *scratch;  // attention_scratch_floats(head_dim) floats, aligned to 64 bytes
};

struct AttentionKernels {
  const char *name;
  // Queries (tokens * heads) that a tile kernel takes at once, ≤ kMostTileRows.
  int tile_rows_bf16, tile_rows_f32;
  // Few queries (tokens * heads ≤ kMostStreamRows): bound by the memory that the rows come from.
  void (*stream_bf16)(const AttentionTask &task);
  void (*stream_f32)(const AttentionTask &task);
  // Many queries: bound by arithmetic.
  void (*tile_bf16)(const AttentionTask &task);
  void (*tile_f32)(const AttentionTask &task);
};

constexpr int kMostStreamRows = 16;
constexpr int kMostStreamHeads = 8;  // KV heads of one task
constexpr int kMostTileRows = 256;
constexpr int kMostHeadDim = 256;

// The largest need of any level, so that memory can be planned before the level is known; the kernels
// check at compile time or in comments that they stay below it.
constexpr int64_t attention_scratch_floats(int head_dim) {
  int64_t padded = (head_dim + 31) / 32 * 32;
  return 512 * padded + 17408;
}

// The table of the level of this name; nullptr if this build has none.
const AttentionKernels *attention_kernels(const char *level);

}  // namespace sounder
