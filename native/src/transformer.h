// SPDX-License-Identifier: Apache-2.0
//
// The forward on the CPU: the new tokens of all contexts of a step, concatenated into rows.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "batch.h"
#include "forward.h"
#include "kv_blocks.h"
#include "matmul.h"
#include "memory.h"
#include "model.h"
#include "sampled/sampled_attention.h"
#include "sampled/sealer.h"

namespace sounder {

class Transformer : public Forward {
 public:
  Transformer(const ModelConfig &config, const ModelWeights &weights, KvBlocks &blocks, ThreadTeam &team,
              const Kernels &kernels);

  void run(Batch &batch, const UseLogits &use_logits) override;
  void attend_alone(int layer, const AttendRequest &request) override;
  void fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) override;
  void extend_lsh_of(LshTables &tables, const int32_t *blocks, int until) override;
  std::string description() const override;

 private:
  // The last layer goes on only where logits or hidden states are needed: the rows of x and q close up.
  void keep_needed(Batch &batch);
  // Between layers: the rows of x and of the RoPE table close up. False when no row is left.
  bool drop_cancelled(Batch &batch);

  void embed(Batch &batch);
  void rotate_table(const Batch &batch);
  void layer(Batch &batch, int index);
  void rotate_and_append(Batch &batch, int index);
  void store_row(const float *k, const float *v, char *to) const;
  void rotate_row(float *row, const LayerWeights &weights, int64_t table_row);
  void seal_blocks(const Batch &batch, int index);
  void extend_lsh(Batch &batch, int index);
  int exact_rows(const BatchSequence &sequence, int index) const;
  void plan_sampled_rows(BatchSequence &sequence, int exact);
  void attend(Batch &batch, int index);
  void verify(Batch &batch, int index);
  void feed_forward(Batch &batch, const LayerWeights &weights);
  void output(Batch &batch, const UseLogits &use_logits);
  void add_hidden(Batch &batch);
  void capture(Batch &batch, int what, int layer, const float *rows, int64_t stride);

  const ModelConfig &config_;
  const ModelWeights &weights_;
  KvBlocks &blocks_;
  ThreadTeam &team_;
  const Kernels &kernels_;
  Matmul matmul_;
  Attention attention_;
  std::vector<AttentionJob> jobs_;

  SampledShape shape_;
  // Where some layer can sample; nullptr otherwise.
  std::unique_ptr<SampledAttention> sampled_;
  std::unique_ptr<Sealer> sealer_;
  std::vector<SampledJob> sampled_jobs_;
  std::vector<Sealer::Job> seal_jobs_;
  std::vector<BatchSequence *> verified_;
  std::vector<float> exact_;      // [max_step_sequences, H D]: exact results beside sampled ones
  SampledStatistics other_rows_;  // of rows that are not the last of their sequence

  Mapping memory_;
  float *x_;         // [T, C] the residual stream
  float *normed_;    // [T, C] its norm, and what a block adds to it
  float *cosine_;    // [T, P]
  float *sine_;      // [T, P]
  float *qkv_;       // [T, (H + 2 G) D]
  float *attended_;  // [T, H D]
  float *gate_up_;   // [T, 2 I], in the place of qkv_ and attended_
  float *logits_;    // [min(T, kLogitsRows), V]
};

}  // namespace sounder
