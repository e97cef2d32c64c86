// SPDX-License-Identifier: Apache-2.0
//
// Poisson sampling driven by the sketches of the keys: one scan serves the heads of a group, one draw all of
// them (draw_group.h). The scores are estimates; the probabilities that follow from them are exact.
#include "draw_group.h"
#include "draw_scratch.h"
#include "sketch_kernels.h"
#include "strategies.h"

namespace sounder {

namespace {

enum Phase { kPrepare, kScan, kCombine };

class SketchStrategy : public Strategy {
 public:
  explicit SketchStrategy(const StrategyShape &shape)
      : sketch_(*sketch_kernels(shape.level)),
        draw_(*draw_kernels(shape.level)),
        bits_(shape.index.sketch_bits),
        signs_(rotation_signs(shape.index.head_dim, shape.index_seed)) {}

  bool is_shared(const StrategyView &) const override { return true; }
  int phases(const StrategyView &view) const override { return view.heads == 1 ? kScan + 1 : kCombine + 1; }
  bool is_segmented(int phase) const override { return phase != kPrepare; }

  void run_phase(int phase, const StrategyView &view, int segment) const override {
    if (phase == kPrepare) prepare(view);
    if (phase == kScan) {
      scan(view, segment);
      look_at_heads(draw_, view, segment, view.params->beta);
    }
    if (phase == kCombine) combine_heads(draw_, view, segment);
  }
  void finish_phase(int phase, const StrategyView &view) const override {
    if (phase == kScan)
      find_head_thresholds(view, segments(view), view.params->beta, [](int) { return 0.0f; });
    if (phase == kCombine) find_group_threshold(view, segments(view));
  }
  void choose(const StrategyView &view, int segment, int, Choice &choice) const override {
    draw_keys(draw_, view, segment, choice);
  }

 private:
  void prepare(const StrategyView &view) const {
    for (int head = 0; head < view.heads; ++head)
      sketch_.prepare(view.q + int64_t{head} * view.head_dim, signs_.data(), view.head_dim, bits_,
                      view.params->beta, other_scratch(view) + head * sketch_query_bytes(view.head_dim));
  }

  void scan(const StrategyView &view, int segment) const {
    const int first = segment_first(view, segment);
    ScanTask task;
    task.records = view.records;
    task.record_stride = view.record_stride;
    task.blocks = view.blocks;
    task.first_block = first / kIndexTokens;
    task.end_block = std::min(view.end, first + view.segment_keys) / kIndexTokens;
    task.head_dim = view.head_dim;
    task.bits = bits_;
    task.queries = other_scratch(view);
    task.heads = view.heads;
    task.scores = segment_scores(view, 0, segment) - first;
    task.score_stride = scores_stride(view);
    sketch_.scan(task);
  }

  const SketchKernels &sketch_;
  const DrawKernels &draw_;
  int bits_;
  std::vector<float> signs_;
};

}  // namespace

std::unique_ptr<Strategy> make_sketch_strategy(const StrategyShape &shape) {
  if (shape.index.sketch_bits == 0) return nullptr;
  return std::make_unique<SketchStrategy>(shape);
}

}  // namespace sounder
