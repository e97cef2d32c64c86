// SPDX-License-Identifier: Apache-2.0
#include "attention_plan.h"

#include <algorithm>

namespace sounder {

static_assert(kKeysInBlock == kBlockTokens);

namespace {

// More segments balance better, fewer merge faster. A segment shorter than 512 keys isn't worth its start.
constexpr int kMostSegments = 32;
constexpr int kLeastBlocksInSegment = 4;
// Chunks of a job for each thread that are enough to balance: beyond them, a chunk takes more KV heads.
constexpr int kEnoughChunks = 4;

int divide_up(int64_t x, int64_t by) { return static_cast<int>((x + by - 1) / by); }

// A thread that reads all KV heads of a block reads memory in one piece, and fewer pages' beginnings.
int kv_heads_in_chunk(const JobCut &cut, int kv_heads, int threads) {
  if (!cut.is_stream() || cut.parts > 1 || cut.tiles > 1) return 1;
  const int most = std::clamp(cut.segments * kv_heads / (kEnoughChunks * threads), 1, kMostStreamHeads);
  return divide_up(kv_heads, divide_up(kv_heads, most));
}

}  // namespace

JobCut cut_job(const AttentionShape &shape, const AttentionKernels &kernels, int threads, int tokens,
               int position) {
  JobCut cut;
  const int group = shape.heads / shape.kv_heads;
  const int rows = shape.kv_is_f32 ? kernels.tile_rows_f32 : kernels.tile_rows_bf16;
  cut.parts = divide_up(group, rows);
  cut.heads_in_part = divide_up(group, cut.parts);
  cut.parts = divide_up(group, cut.heads_in_part);
  cut.tiles = divide_up(tokens, std::max(1, rows / cut.heads_in_part));
  cut.tokens_in_tile = divide_up(tokens, cut.tiles);
  cut.tiles = divide_up(tokens, cut.tokens_in_tile);

  const int first_key = shape.sliding_window > 0 ? std::max(0, position + 1 - shape.sliding_window) : 0;
  cut.first_block = first_key / kBlockTokens;
  cut.end_block = divide_up(int64_t{position} + tokens, kBlockTokens);
  const int blocks = cut.end_block - cut.first_block;
  const int most_segments = std::clamp(kMostPartials / tokens, 1, kMostSegments);
  cut.blocks_in_segment = std::max(divide_up(blocks, most_segments), kLeastBlocksInSegment);
  cut.segments = most_segments == 1 ? 1 : divide_up(blocks, cut.blocks_in_segment);
  if (cut.segments == 1) cut.blocks_in_segment = blocks;

  cut.kv_heads_in_chunk = kv_heads_in_chunk(cut, shape.kv_heads, threads);
  cut.chunks = cut.tiles * divide_up(shape.kv_heads, cut.kv_heads_in_chunk) * cut.parts * cut.segments;
  cut.work = int64_t{cut.tokens_in_tile} * cut.kv_heads_in_chunk * cut.heads_in_part * cut.blocks_in_segment *
             kBlockTokens;
  return cut;
}

Chunk chunk_of(const JobCut &cut, int kv_heads, int index) {
  Chunk chunk;
  chunk.segment = index % cut.segments;
  index /= cut.segments;
  chunk.part = index % cut.parts;
  index /= cut.parts;
  const int groups = divide_up(kv_heads, cut.kv_heads_in_chunk);
  chunk.kv_head = index % groups * cut.kv_heads_in_chunk;
  chunk.kv_heads = std::min(cut.kv_heads_in_chunk, kv_heads - chunk.kv_head);
  chunk.tile = cut.tiles - 1 - index / groups;
  return chunk;
}

}  // namespace sounder
