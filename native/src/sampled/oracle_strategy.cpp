// SPDX-License-Identifier: Apache-2.0
//
// What sampling could do if it knew the true scores, which it reads every key for. Either the sketch's
// Poisson draw with the scores of no sketch and β = 1, or `draws` independent draws with replacement from
// each query head's attention over its keys.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../random.h"
#include "draw_group.h"
#include "draw_scratch.h"
#include "exact_scores.h"
#include "sketch_kernels.h"
#include "strategies.h"

namespace sounder {

namespace {

// What is known of a head across segments.
struct HeadTotals {
  float most[kMostSegments + 1];        // the largest score of each segment, and of all
  uint64_t weights[kMostSegments + 1];  // before finish: the sum of a segment's weights; after it: the sum of
                                        // those of the segments before, and of all
};

HeadTotals &totals_of(const StrategyView &view, int head) {
  static_assert(sizeof(HeadTotals) <= 65536);
  return reinterpret_cast<HeadTotals *>(other_scratch(view))[head];
}

float most_of(const float *x, int count) {
  float most = -std::numeric_limits<float>::infinity();
  for (int i = 0; i < count; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

// Score units below the largest score; NaN counts as the furthest.
int16_t as_integer(float below) {
  return below >= -32767.0f ? static_cast<int16_t>(std::lrintf(std::min(below, 0.0f))) : int16_t{-32767};
}

// Integers, so that a draw has exactly the probability it is weighed by, wherever segments are cut: a key is
// drawn with probability weight / sum of the weights. The largest is 2^32 - 1, and none is 0.
uint32_t as_weight(float below) {
  if (!(below > -32.0f * kScoreUnits)) return 1;
  const double power = std::exp2(static_cast<double>(std::min(below, 0.0f)) / kScoreUnits);
  return static_cast<uint32_t>(std::max(1.0, std::round(power * 4294967295.0)));
}

// Turns a segment's floats into the T of each, from the first byte on. Pieces are copied out and in, so that
// what a piece becomes may lie where it came from.
template <typename T>
void convert_segment(char *segment, int count, float most, T (*convert)(float)) {
  constexpr int kPiece = 256;
  float scores[kPiece];
  T results[kPiece];
  for (int i = 0; i < count; i += kPiece) {
    const int piece = std::min(kPiece, count - i);
    std::memcpy(scores, segment + int64_t{4} * i, sizeof(float) * piece);
    for (int j = 0; j < piece; ++j) results[j] = convert(scores[j] - most);
    std::memcpy(segment + int64_t{sizeof(T)} * i, results, sizeof(T) * piece);
  }
}

class OracleStrategy : public Strategy {
 public:
  OracleStrategy(const DrawKernels &draw, const ExactScoreKernels &exact) : draw_(draw), exact_(exact) {}

  bool is_shared(const StrategyView &view) const override { return view.params->draws == 0; }
  int phases(const StrategyView &view) const override { return is_shared(view) && view.heads > 1 ? 3 : 2; }
  void run_phase(int phase, const StrategyView &view, int segment) const override;
  void finish_phase(int phase, const StrategyView &view) const override;
  void choose(const StrategyView &view, int segment, int head, Choice &choice) const override;

 private:
  void score(const StrategyView &view, int segment) const;
  void weigh(const StrategyView &view, int segment) const;
  void find_maxima(const StrategyView &view) const;
  void add_up_weights(const StrategyView &view) const;

  const DrawKernels &draw_;
  const ExactScoreKernels &exact_;
};

// Scores of the keys from the segment's first one on, sink included, so that places are those of draw_group.
void OracleStrategy::score(const StrategyView &view, int segment) const {
  const KeyRange range = segment_range(view, segment);
  const int first = segment_first(view, segment);
  ExactScoreTask task;
  task.rows = view.rows;
  task.block_stride = view.block_stride;
  task.blocks = view.blocks;
  task.first_key = std::min(first, range.end);
  task.end_key = range.end;
  task.q = view.q;
  task.heads = view.heads;
  task.head_dim = view.head_dim;
  task.scale = static_cast<float>(kScoreUnits * 1.4426950408889634 / std::sqrt(double(view.head_dim)));
  task.scores = segment_words<float>(view, 0, segment);
  task.score_stride = words_stride(view);
  (view.kv_is_f32 ? exact_.keys_f32 : exact_.keys_bf16)(task);
  for (int head = 0; head < view.heads; ++head)
    totals_of(view, head).most[segment] =
        most_of(segment_words<float>(view, head, segment) + (range.begin - first), range.end - range.begin);
}

void OracleStrategy::find_maxima(const StrategyView &view) const {
  for (int head = 0; head < view.heads; ++head) {
    HeadTotals &totals = totals_of(view, head);
    totals.most[kMostSegments] = most_of(totals.most, segments(view));
  }
}

void OracleStrategy::weigh(const StrategyView &view, int segment) const {
  const KeyRange range = segment_range(view, segment);
  const int first = segment_first(view, segment), count = std::max(0, range.end - first);
  for (int head = 0; head < view.heads; ++head) {
    HeadTotals &totals = totals_of(view, head);
    char *words = reinterpret_cast<char *>(segment_words<float>(view, head, segment));
    if (is_shared(view)) {
      convert_segment<int16_t>(words, count, totals.most[kMostSegments], as_integer);
      continue;
    }
    convert_segment<uint32_t>(words, count, totals.most[kMostSegments], as_weight);
    const uint32_t *weights = segment_words<uint32_t>(view, head, segment) - first;
    uint64_t sum = 0;
    for (int key = range.begin; key < range.end; ++key) sum += weights[key];
    totals.weights[segment] = sum;
  }
}

void OracleStrategy::add_up_weights(const StrategyView &view) const {
  for (int head = 0; head < view.heads; ++head) {
    HeadTotals &totals = totals_of(view, head);
    uint64_t before = 0;
    for (int s = 0, count = segments(view); s < count; ++s) {
      const uint64_t own = totals.weights[s];
      totals.weights[s] = before;
      before += own;
    }
    totals.weights[kMostSegments] = before;
  }
}

void OracleStrategy::run_phase(int phase, const StrategyView &view, int segment) const {
  if (phase == 0) score(view, segment);
  if (phase == 1) weigh(view, segment);
  if (phase == 1 && is_shared(view)) look_at_heads(draw_, view, segment, 1.0f);
  if (phase == 2) combine_heads(draw_, view, segment);
}

void OracleStrategy::finish_phase(int phase, const StrategyView &view) const {
  if (phase == 0) find_maxima(view);
  if (phase == 1 && is_shared(view))
    find_head_thresholds(view, segments(view), 1.0f,
                         [&](int head) { return totals_of(view, head).most[kMostSegments] / kScoreUnits; });
  if (phase == 1 && !is_shared(view)) add_up_weights(view);
  if (phase == 2) find_group_threshold(view, segments(view));
}

// The sums of weights at which draws [first, first + count) of all lie, those in [from, to), sorted.
int draws_between(const StrategyView &view, int head, int first, int count, uint64_t from, uint64_t to,
                  uint64_t all, uint64_t *draws) {
  int found = 0;
  for (int b = first; b < first + count; ++b) {
    const uint64_t bits = random_bits(view.draw_seed, static_cast<uint64_t>(head), static_cast<uint64_t>(b));
    const auto at = static_cast<uint64_t>(static_cast<unsigned __int128>(bits) * all >> 64);
    if (from <= at && at < to) draws[found++] = at;
  }
  std::sort(draws, draws + found);
  return found;
}

// counts[i] = how often key range.begin + i is drawn.
void count_draws(const StrategyView &view, int segment, int last_segment, int head, int32_t *counts) {
  const KeyRange range = segment_range(view, segment);
  const HeadTotals &totals = totals_of(view, head);
  const uint32_t *weights = segment_words<uint32_t>(view, head, segment) - segment_first(view, segment);
  const uint64_t from = totals.weights[segment], all = totals.weights[kMostSegments];
  const uint64_t to = segment == last_segment ? all : totals.weights[segment + 1];
  std::fill_n(counts, range.end - range.begin, 0);
  constexpr int kPiece = 2048;
  uint64_t draws[kPiece];
  for (int first = 0; first < view.params->draws; first += kPiece) {
    const int piece = std::min(kPiece, view.params->draws - first);
    const int found = draws_between(view, head, first, piece, from, to, all, draws);
    uint64_t end = from;
    for (int key = range.begin, d = 0; d < found; ++key) {
      end += weights[key];
      for (; d < found && draws[d] < end; ++d) ++counts[key - range.begin];
    }
  }
}

void OracleStrategy::choose(const StrategyView &view, int segment, int head, Choice &choice) const {
  if (is_shared(view)) {
    draw_keys(draw_, view, segment, choice);
    return;
  }
  const KeyRange range = segment_range(view, segment);
  const uint32_t *weights = segment_words<uint32_t>(view, head, segment) - segment_first(view, segment);
  count_draws(view, segment, segments(view) - 1, head, choice.keys);
  // -log2 of expected / actual count. Keys are written where counts have been read.
  const double all = std::log2(static_cast<double>(totals_of(view, head).weights[kMostSegments])) -
                     std::log2(static_cast<double>(view.params->draws));
  for (int key = range.begin; key < range.end; ++key) {
    const int32_t count = choice.keys[key - range.begin];
    if (count == 0) continue;
    choice.offsets[choice.count] = static_cast<float>(all - std::log2(double(weights[key]) / count));
    choice.keys[choice.count++] = key;
  }
  // The heaviest key has the weight 2^32.
  choice.has_draws = true;
  choice.one_draw = static_cast<float>(all - 32.0) + totals_of(view, head).most[kMostSegments] / kScoreUnits;
}

}  // namespace

std::unique_ptr<Strategy> make_oracle_strategy(const StrategyShape &shape) {
  return std::make_unique<OracleStrategy>(*draw_kernels(shape.level), *exact_score_kernels(shape.level));
}

}  // namespace sounder
