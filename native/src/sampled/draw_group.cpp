// SPDX-License-Identifier: Apache-2.0
#include "draw_group.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../attention/partial.h"
#include "draw_scratch.h"
#include "sketch_kernels.h"

namespace sounder {

namespace {

// Of all segments' histograms of a head, the score from which keys are read for certain. They are added up
// in memory that this core has used just now.
int find_threshold(const StrategyView &view, int head, int segments) {
  int reference = INT16_MIN;
  for (int s = 0; s < segments; ++s) reference = std::max(reference, histogram_of(view, head, s).reference);
  uint32_t bins[kHistogramBins] = {};
  for (int s = 0; s < segments; ++s) {
    const ScoreHistogram &part = histogram_of(view, head, s);
    add_histogram(bins, part.bins, part.used, reference - part.reference);
  }
  return reference - threshold_place(bins, static_cast<uint64_t>(view.budget) << 32);
}

// DrawKernels::weigh wants a reference that all scores are at or below; whole octaves make what a key weighs
// the same whatever the others of its segment are, but for the last bits.
int weight_reference(int most) { return (most + kScoreUnits - 1) & -kScoreUnits; }

// log2 of sum exp(q·k / sqrt(d)) of a head, relative to what a score of 0 stands for: sink and tail exactly,
// the keys to choose from by their scores.
double log2_attention(const StrategyView &view, int head, int segments, float beta, float zero) {
  struct Part {
    double log2, weight;  // 2^log2 * weight
  };
  Part parts[kMostSegments + 2];
  int count = 0;
  for (int s = 0; s < segments; ++s) {
    const ScoreHistogram &part = histogram_of(view, head, s);
    if (part.weight == 0) continue;
    parts[count++] = {weight_reference(part.reference) / (kScoreUnits * double{beta}),
                      static_cast<double>(part.weight) * kWeightUnit};
  }
  const int size = partial_floats(view.head_dim);
  for (int part = 0; part < 2; ++part) {
    const float *state = view.exact + (int64_t{2} * head + part) * size;
    const float sum = state[view.head_dim], most = state[view.head_dim + 1];
    if (sum > 0) parts[count++] = {double{most} - zero, sum};
  }
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int i = 0; i < count; ++i) most = std::max(most, parts[i].log2);
  if (std::isinf(most)) return most;
  for (int i = 0; i < count; ++i) sum += parts[i].weight * std::exp2(parts[i].log2 - most);
  return most + std::log2(sum);
}

}  // namespace

void look_at_heads(const DrawKernels &kernels, const StrategyView &view, int segment, float beta) {
  const KeyRange range = segment_range(view, segment);
  const int from = range.begin - segment_first(view, segment), count = range.end - range.begin;
  for (int head = 0; head < view.heads; ++head) {
    const int16_t *scores = segment_scores(view, head, segment) + from;
    ScoreHistogram &histogram = histogram_of(view, head, segment);
    histogram.reference = kernels.maximum(scores, count);
    if (view.heads > 1) {
      histogram.weight =
          kernels.weigh(scores, count, weight_reference(histogram.reference), beta_shrink(beta));
    } else {
      histogram.used = kernels.count(scores, count, histogram.reference, histogram.bins);
    }
  }
}

void find_head_thresholds(const StrategyView &view, int segments, float beta, const HeadZero &zero) {
  if (view.heads == 1) {
    histogram_of(view, 0, kMostSegments).threshold = find_threshold(view, 0, segments);
    return;
  }
  int most = INT16_MIN;
  for (int head = 0; head < view.heads; ++head) {
    const double threshold = log2_attention(view, head, segments, beta, zero(head)) * kScoreUnits * beta;
    // combine takes int16: only scores at the end of their range are moved by this. NaN, of keys that are no
    // numbers, becomes the least.
    ScoreHistogram &all = histogram_of(view, head, kMostSegments);
    all.threshold = threshold > INT16_MIN
                        ? static_cast<int>(std::lrint(std::min<double>(threshold, INT16_MAX)))
                        : INT16_MIN;
    for (int s = 0; s < segments; ++s)
      most = std::max(most, histogram_of(view, head, s).reference - all.threshold);
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
  histogram.reference = histogram_of(view, view.heads, kMostSegments).reference;
  histogram.used = kernels.count(combined, count, histogram.reference, histogram.bins);
}

void find_group_threshold(const StrategyView &view, int segments) {
  histogram_of(view, view.heads, kMostSegments).threshold = find_threshold(view, view.heads, segments);
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
