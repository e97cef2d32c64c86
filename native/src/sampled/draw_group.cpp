// SPDX-License-Identifier: Apache-2.0
#include "draw_group.h"

#include <algorithm>

#include "draw_scratch.h"

namespace sounder {

namespace {

// Bin 0 of u's histogram. δ is 0 when no two heads want the same rows, and less when some do; the bins above
// are for what an estimated τ may be wrong by.
constexpr int kGroupReference = 64;

// Every so manieth key of the context is counted, a power of two. All are where no δ follows.
int count_stride(const StrategyView &view) {
  int stride = 1;
  while (view.heads > 1 && (view.end - view.begin) / (2 * stride) >= kLeastCountedKeys) stride *= 2;
  return stride;
}

// All segments' histograms of a head as one.
ScoreHistogram &merge_segments(const StrategyView &view, int head, int segments) {
  ScoreHistogram &all = histogram_of(view, head, kMostSegments);
  std::fill_n(all.bins, kHistogramBins, 0);
  all.reference = INT16_MIN;
  for (int s = 0; s < segments; ++s)
    all.reference = std::max(all.reference, histogram_of(view, head, s).reference);
  for (int s = 0; s < segments; ++s) {
    const ScoreHistogram &part = histogram_of(view, head, s);
    add_histogram(all.bins, part.bins, all.reference - part.reference);
  }
  return all;
}

}  // namespace

void count_heads(const DrawKernels &kernels, const StrategyView &view, int segment) {
  const KeyRange range = segment_range(view, segment);
  const int first = segment_first(view, segment), stride = count_stride(view);
  // Every stride-th key of the context, wherever segments begin.
  const int counted = std::min(range.end, (range.begin + stride - 1) / stride * stride);
  for (int head = 0; head < view.heads; ++head) {
    const int16_t *scores = segment_scores(view, head, segment) - first;
    ScoreHistogram &histogram = histogram_of(view, head, segment);
    std::fill_n(histogram.bins, kHistogramBins, 0);
    histogram.reference = kernels.maximum(scores + range.begin, range.end - range.begin);
    kernels.count(scores + counted, range.end - counted, stride, histogram.reference, histogram.bins);
  }
}

void find_head_thresholds(const StrategyView &view, int segments) {
  const uint64_t share = (static_cast<uint64_t>(view.budget) << 32) / (view.heads * count_stride(view));
  for (int head = 0; head < view.heads; ++head) {
    ScoreHistogram &all = merge_segments(view, head, segments);
    // combine takes int16: only scores at the end of their range are moved by this.
    const int threshold = all.reference - threshold_place(all.bins, share);
    all.threshold = view.heads == 1 ? threshold : std::clamp<int>(threshold, INT16_MIN, INT16_MAX);
  }
}

void combine_heads(const DrawKernels &kernels, const StrategyView &view, int segment) {
  const KeyRange range = segment_range(view, segment);
  const int from = range.begin - segment_first(view, segment), count = range.end - range.begin;
  const int32_t *thresholds = &histogram_of(view, 0, kMostSegments).threshold;
  const int64_t next = &histogram_of(view, 1, kMostSegments).threshold - thresholds;
  int16_t *combined = segment_combined(view, segment) + from;
  kernels.combine(segment_scores(view, 0, segment) + from, scores_stride(view), thresholds, next, view.heads,
                  count, combined);
  ScoreHistogram &histogram = histogram_of(view, view.heads, segment);
  std::fill_n(histogram.bins, kHistogramBins, 0);
  histogram.reference = kGroupReference;
  kernels.count(combined, count, 1, kGroupReference, histogram.bins);
}

void find_group_threshold(const StrategyView &view, int segments) {
  ScoreHistogram &all = merge_segments(view, view.heads, segments);
  all.threshold = all.reference - threshold_place(all.bins, static_cast<uint64_t>(view.budget) << 32);
}

void draw_keys(const DrawKernels &kernels, const StrategyView &view, int segment, Choice &choice) {
  const KeyRange range = segment_range(view, segment);
  DrawTask task;
  task.scores = segment_combined(view, segment) + (range.begin - segment_first(view, segment));
  task.count = range.end - range.begin;
  task.first_key = range.begin;
  task.threshold = histogram_of(view, view.heads == 1 ? 0 : view.heads, kMostSegments).threshold;
  task.key = draw_key(view.draw_seed);
  task.table = &draw_table();
  task.keys = choice.keys;
  task.offsets = choice.offsets;
  choice.count = kernels.draw(task);
}

}  // namespace sounder
