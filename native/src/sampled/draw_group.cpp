// SPDX-License-Identifier: Apache-2.0
#include "draw_group.h"

#include <algorithm>
#include <cmath>

#include "../attention/partial.h"
#include "draw_scratch.h"
#include "sketch_kernels.h"

namespace sounder {

namespace {

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

// log2 of sum exp(q·k / sqrt(d)) of a head, relative to what a score of 0 stands for: sink and tail exactly,
// the keys to choose from by their scores.
double log2_attention(const StrategyView &view, int head, const ScoreHistogram &all, float zero, float beta) {
  const double unit = 1.0 / (kScoreUnits * double{beta});
  double sum = 0;
  for (int b = 0; b < kHistogramBins; ++b)
    if (all.bins[b] > 0) sum += all.bins[b] * std::exp2(-b * unit);
  double most = all.reference * unit, total = sum * count_stride(view);
  const int size = partial_floats(view.head_dim);
  for (int part = 0; part < 2; ++part) {
    const float *state = view.exact + (int64_t{2} * head + part) * size;
    const double own_sum = state[view.head_dim], own_most = double{state[view.head_dim + 1]} - zero;
    if (!(own_sum > 0)) continue;
    if (own_most > most) total *= std::exp2(most - own_most);
    total += own_sum * std::exp2(std::min(0.0, own_most - most));
    most = std::max(most, own_most);
  }
  return most + std::log2(total);
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

void find_head_thresholds(const StrategyView &view, int segments, float beta, const HeadZero &zero) {
  int most = INT16_MIN;
  for (int head = 0; head < view.heads; ++head) {
    ScoreHistogram &all = merge_segments(view, head, segments);
    if (view.heads == 1) {
      all.threshold = all.reference - threshold_place(all.bins, static_cast<uint64_t>(view.budget) << 32);
      return;
    }
    const double threshold = log2_attention(view, head, all, zero(head), beta) * kScoreUnits * beta;
    // combine takes int16: only scores at the end of their range are moved by this.
    all.threshold = static_cast<int32_t>(std::lrint(std::clamp<double>(threshold, INT16_MIN, INT16_MAX)));
    most = std::max(most, all.reference - all.threshold);
  }
  histogram_of(view, view.heads, kMostSegments).reference = std::min<int>(most, INT16_MAX);
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
  histogram.reference = histogram_of(view, view.heads, kMostSegments).reference;
  kernels.count(combined, count, 1, histogram.reference, histogram.bins);
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
