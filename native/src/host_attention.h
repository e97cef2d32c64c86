// SPDX-License-Identifier: Apache-2.0
//
// Attention by the CPU for a device whose layers have their KV in host memory: the rows that sample there.
// The device writes their K and V into the slabs here and hands over their queries; what they attend goes
// back to it. Rows are attended whole, sink and tail included, with whichever strategy: sketches and bounds
// lie beside the slabs (KvBlocks), lsh tables with their contexts.
#pragma once

#include <cstdint>
#include <vector>

#include "attention/attention.h"
#include "kv_blocks.h"
#include "model.h"
#include "sampled/sampled_attention.h"
#include "sampled/sealer.h"
#include "threads.h"

namespace sounder {

class HostAttention {
 public:
  HostAttention(const ModelConfig &config, KvBlocks &blocks, ThreadTeam &team, const Kernels &kernels);

  // A row that samples at a layer: it has keys to choose from (sampled_range).
  struct Row {
    const float *q;  // [H D] after RoPE
    void *output;    // [H D] in the values of KV: bf16, or float32 with such an engine
    int position;
    const int32_t *blocks;
    const SampledParams *params;
    const LshTables *lsh;  // nullptr: it has none
    SampledStatistics *statistics;
    bool may_verify;  // where its request asks for it; all heads are the CPU's then
  };
  // The KV heads [first_kv_head, G) of some rows at a layer whose KV lies here.
  void attend(int layer, const Row *rows, int count, int first_kv_head = 0);

  // What an output is as float32, [H D].
  void widen(const void *output, float *values) const;

  // Blocks that became full, whose rows lie here at this layer.
  void seal(int layer, const std::vector<Sealer::Job> &jobs);
  // Extends tables over the keys before `until`, whose rows lie here: at a layer, or at all.
  void extend(LshTables &tables, int layer, const int32_t *blocks, int until);
  void extend(LshTables &tables, const int32_t *blocks, int until);

 private:
  void attend_some(int layer, const Row *rows, int count, int first_kv_head);
  void verify(int layer, const Row &row, const float *output);
  void hand_back(const Row &row, const float *output, int first_kv_head) const;

  const ModelConfig &config_;
  KvBlocks &blocks_;
  ThreadTeam &team_;
  const Kernels &kernels_;
  SampledAttention sampled_;
  Attention attention_;  // of rows that are verified
  Sealer sealer_;
  std::vector<SampledJob> jobs_;
  std::vector<float> outputs_;  // [max_step_sequences, H D]
  std::vector<float> exact_;    // [H D]
};

}  // namespace sounder
