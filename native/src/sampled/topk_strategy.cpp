// SPDX-License-Identifier: Apache-2.0
//
// The budget's number of keys with the largest true scores, for each query head: what the best selection
// without sampling could do. It reads every key.
#include "best_keys.h"
#include "draw_scratch.h"
#include "exact_scores.h"
#include "strategies.h"

namespace sounder {

namespace {

class TopkStrategy : public BestKeys {
 public:
  explicit TopkStrategy(const ExactScoreKernels &kernels) : BestKeys(1), kernels_(kernels) {}

 protected:
  void score(const StrategyView &view, int segment, int items, float *scores, int64_t stride) const override {
    ExactScoreTask task;
    task.rows = view.rows;
    task.block_stride = view.block_stride;
    task.blocks = view.blocks;
    task.first_key = segment_first(view, segment);
    task.end_key = task.first_key + items;
    task.q = view.q;
    task.heads = view.heads;
    task.head_dim = view.head_dim;
    task.scale = 1.0f;
    task.scores = scores;
    task.score_stride = stride;
    (view.kv_is_f32 ? kernels_.keys_f32 : kernels_.keys_bf16)(task);
  }

 private:
  const ExactScoreKernels &kernels_;
};

}  // namespace

std::unique_ptr<Strategy> make_topk_strategy(const StrategyShape &shape) {
  return std::make_unique<TopkStrategy>(*exact_score_kernels(shape.level));
}

}  // namespace sounder
