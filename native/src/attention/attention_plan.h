// SPDX-License-Identifier: Apache-2.0
//
// How the attention of one job is cut into chunks. Segments depend on the job and the shape alone, never on
// the other jobs or on the number of threads: what else is in a batch does not change a result. How many KV
// heads share a chunk depends on the threads too, and changes none.
#pragma once

#include "attention.h"
#include "attention_kernels.h"

namespace sounder {

// A chunk is (tile of tokens) × (KV heads) × (part of their groups' query heads) × (segment of key blocks).
struct JobCut {
  int tiles, tokens_in_tile;
  int kv_heads_in_chunk;
  int parts, heads_in_part;
  int first_block, end_block;  // that any query of the job attends
  int segments, blocks_in_segment;
  int chunks;
  int64_t work;  // of the largest chunk, in products of a query and a key

  // Few queries: bound by memory, which is read in the order in which it lies.
  bool is_stream() const { return tokens_in_tile * heads_in_part <= kMostStreamRows; }
  // One segment: kernels write finished rows. More: partial states, merged by whoever finishes last.
  bool is_split() const { return segments > 1; }
};

struct Chunk {
  int tile, kv_head, kv_heads, part, segment;
};

// Partial states of one query head that a job needs at most: tokens · segments ≤ this.
constexpr int kMostPartials = 128;

JobCut cut_job(const AttentionShape &shape, const AttentionKernels &kernels, int threads, int tokens,
               int position);

// Chunks come largest first: the last tile attends the most keys.
Chunk chunk_of(const JobCut &cut, int kv_heads, int index);

}  // namespace sounder
