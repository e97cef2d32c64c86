// SPDX-License-Identifier: Apache-2.0
//
// Makes the index records of blocks that are full.
#pragma once

#include <cstdint>
#include <vector>

#include "../kv_blocks.h"
#include "../threads.h"
#include "sketch_kernels.h"

namespace sounder {

class Sealer {
 public:
  // level: the name of the instruction level.
  Sealer(ThreadTeam &team, const char *level, const IndexShape &shape, int kv_heads, uint64_t index_seed);

  // The blocks [first_block, end_block) of one context became full.
  struct Job {
    const int32_t *blocks;  // of the context
    int first_block, end_block;
  };
  // At one layer, whose rows are all there.
  void run(KvBlocks &blocks, int layer, const std::vector<Job> &jobs);

  // Bytes of scratch, a part of the memory formula.
  static int64_t workspace_bytes(int head_dim, int threads);

 private:
  void seal(KvBlocks &blocks, int layer, const Job &job, int block, int kv_head, int thread);

  ThreadTeam &team_;
  const SketchKernels &kernels_;
  IndexShape shape_;
  int kv_heads_;
  std::vector<float> signs_;
  std::vector<float> scratch_;
};

}  // namespace sounder
