// SPDX-License-Identifier: Apache-2.0
//
// One Llama-style forward over the new tokens of all contexts of a step, concatenated into rows.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "batch.h"
#include "kv_blocks.h"
#include "matmul.h"
#include "memory.h"
#include "model.h"
#include "sampled/sampled_attention.h"
#include "sampled/sealer.h"

namespace sounder {

class Transformer {
 public:
  Transformer(const ModelConfig &config, const ModelWeights &weights, KvBlocks &blocks, ThreadTeam &team,
              const Kernels &kernels);

  // Gets the logits of rows [first, first + count) of the batch, [count, V], while they last.
  using UseLogits = std::function<void(const float *logits, int first, int count)>;

  // Computes the K and V of all new tokens into their blocks, and logits where a row is sampled or scored
  // (everywhere while capturing). Sequences that are cancelled on the way are marked and left out.
  void run(Batch &batch, const UseLogits &use_logits);

  // One query token over KV that is there: what sounder_attend asks for.
  struct AttendRequest {
    const float *q;         // [heads * head_dim] after RoPE
    float *output;          // [heads * head_dim]
    const int32_t *blocks;  // of the context
    int position;           // of the query token
    const SampledParams &params;
    const LshTables *lsh;
    SampledStatistics *statistics;
  };
  void attend_alone(int layer, const AttendRequest &request);
  // Seeded noise as the KV of the positions [first, end) of a context, in place of computing it, and the
  // index.
  void fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed);
  // Extends lsh tables over all layers whose KV is there up to `until`; the caller commits or rolls back.
  void extend_lsh_of(LshTables &tables, const int32_t *blocks, int until);

  const char *matmul_description() const { return matmul_.description(); }

 private:
  // Rows that leave the batch: keep(row) says which stay. The rows of x_ close up, and with them those of the
  // RoPE table (between layers) or of q (in the last one, when K and V are stored).
  enum class Beside { kTable, kQ };
  template <typename Keep>
  void keep_rows(Batch &batch, Beside beside, const Keep &keep);
  // The last layer goes on only where logits or hidden states are needed.
  void keep_needed(Batch &batch);
  // False when no row is left.
  bool drop_cancelled(Batch &batch);
  static void mark_cancelled(Batch &batch);

  void place_rows(Batch &batch);
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
