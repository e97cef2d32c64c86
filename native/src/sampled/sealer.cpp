// SPDX-License-Identifier: Apache-2.0
#include "sealer.h"

#include "sounder.h"

namespace sounder {

Sealer::Sealer(ThreadTeam &team, const char *level, const IndexShape &shape, int kv_heads,
               uint64_t index_seed)
    : team_(team),
      kernels_(*sketch_kernels(level)),
      shape_(shape),
      kv_heads_(kv_heads),
      signs_(rotation_signs(shape.head_dim, index_seed)),
      scratch_(static_cast<size_t>(seal_scratch_floats(shape.head_dim) * team.size())) {}

int64_t Sealer::workspace_bytes(int head_dim, int threads) {
  return 4 * seal_scratch_floats(head_dim) * threads;
}

void Sealer::seal(KvBlocks &blocks, int layer, const Job &job, int block, int kv_head, int thread) {
  SealTask task;
  task.rows = blocks.row(layer, job.blocks[block], kv_head, 0);
  task.shape = shape_;
  task.signs = signs_.data();
  task.previous = block == 0 ? nullptr : blocks.record(layer, job.blocks[block - 1], kv_head);
  task.block = block;
  task.record = blocks.record(layer, job.blocks[block], kv_head);
  task.scratch = scratch_.data() + thread * seal_scratch_floats(shape_.head_dim);
  (shape_.kv_is_f32 ? kernels_.seal_f32 : kernels_.seal_bf16)(task);
}

void Sealer::run(KvBlocks &blocks, int layer, const std::vector<Job> &jobs) {
  // With the mean of the context so far, a block needs the record of the one before it.
  const bool in_order = shape_.centring == SOUNDER_CENTRING_CONTEXT;
  int chunks = 0;
  for (const Job &job : jobs) chunks += (in_order ? 1 : job.end_block - job.first_block) * kv_heads_;
  auto body = [&](int chunk, int thread) {
    for (const Job &job : jobs) {
      const int count = job.end_block - job.first_block, own = (in_order ? 1 : count) * kv_heads_;
      if (chunk >= own) {
        chunk -= own;
        continue;
      }
      const int kv_head = chunk % kv_heads_, first = job.first_block + chunk / kv_heads_;
      const int end = in_order ? job.end_block : first + 1;
      for (int block = first; block < end; ++block) seal(blocks, layer, job, block, kv_head, thread);
      return;
    }
  };
  team_.run(chunks, body);
}

}  // namespace sounder
