// SPDX-License-Identifier: Apache-2.0
//
// Quest (Tang et al., ICML 2024): whole pages with the best upper bound of q·k, from the least and the
// greatest value of each dimension among their keys; for each query head, until budget keys are covered.
// A page that begins in the sink counts and gives its other keys.
#include "best_keys.h"
#include "draw_scratch.h"
#include "exact_scores.h"
#include "strategies.h"

namespace sounder {

namespace {

class QuestStrategy : public BestKeys {
 public:
  QuestStrategy(const ExactScoreKernels &kernels, const IndexShape &index)
      : BestKeys(index.quest_page), kernels_(kernels), index_(index) {}

 protected:
  void score(const StrategyView &view, int segment, int items, float *scores, int64_t stride) const override {
    const int pages = kIndexTokens / index_.quest_page, first = segment_first(view, segment) / kIndexTokens;
    PageScoreTask task;
    task.pages = pages;
    task.q = view.q;
    task.heads = view.heads;
    task.head_dim = view.head_dim;
    task.score_stride = stride;
    for (int block = 0; block < items / pages; ++block) {
      task.bounds =
          view.records + int64_t{view.blocks[first + block]} * view.record_stride + quest_place(index_);
      task.scores = scores + int64_t{block} * pages;
      (index_.kv_is_f32 ? kernels_.pages_f32 : kernels_.pages_bf16)(task);
    }
  }

 private:
  const ExactScoreKernels &kernels_;
  IndexShape index_;
};

}  // namespace

std::unique_ptr<Strategy> make_quest_strategy(const StrategyShape &shape) {
  if (shape.index.quest_page == 0) return nullptr;
  return std::make_unique<QuestStrategy>(*exact_score_kernels(shape.level), shape.index);
}

}  // namespace sounder
