// SPDX-License-Identifier: Apache-2.0
//
// Sampled attention of single query tokens at one layer: strategies choose keys between the sink and the
// tail, one kernel attends them, sink and tail are attended exactly, and partial states merge.
//
// Work is cut by (query token, KV head, segment of keys), so that one sequence uses all threads and many
// share them. The cut and every draw depend on the query token alone: neither the rest of the batch nor the
// number of threads changes which keys are read.
#pragma once

#include <cstdint>
#include <memory>

#include "../attention/attention.h"
#include "../cpu/kernels.h"
#include "../threads.h"
#include "lsh.h"
#include "sampled_range.h"
#include "strategy.h"

namespace sounder {

struct SampledJob {
  const float *q;  // [heads * head_dim] after RoPE, not scaled
  float *output;   // [heads * head_dim]
  int position;    // attends keys 0 .. position, which lie in the blocks
  const int32_t *blocks;
  const SampledParams *params;
  const LshTables *lsh;  // of this context, for that strategy
  SampledStatistics *statistics;
  int first_kv_head = 0;  // those before it are somebody else's: neither their outputs nor their figures
};

class SampledAttention {
 public:
  SampledAttention(ThreadTeam &team, const Kernels &kernels, const SampledShape &shape,
                   int max_step_sequences, int max_context);
  ~SampledAttention();

  // Each job's range exists. records: the layer's index (KvBlocks::records), whose data is nullptr if it has
  // none.
  void run(int layer, const void *slab, const LayerRecords &records, const SampledJob *jobs, int job_count);

  static int64_t workspace_bytes(const AttentionShape &shape, int threads, int max_step_sequences,
                                 int max_context);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sounder
