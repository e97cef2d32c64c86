// SPDX-License-Identifier: Apache-2.0
#include "best_keys.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "draw_scratch.h"

namespace sounder {

namespace {

// The digits of a ranked score, the most significant first.
struct Digit {
  int shift, bits;
};
constexpr int kDigits = 4;
constexpr Digit kDigit[kDigits] = {{22, 10}, {12, 10}, {2, 10}, {0, 2}};
static_assert(1 << 10 == kHistogramBins);

// An unsigned number that grows with the score; 0 for NaN. (A score is no -0: sums begin with 0.)
uint32_t rank_of(float score) {
  if (std::isnan(score)) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(score);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

uint32_t digit_of(uint32_t rank, int digit) {
  return rank >> kDigit[digit].shift & ((1u << kDigit[digit].bits) - 1);
}
// The digits before this one.
uint32_t prefix_of(uint32_t rank, int digit) {
  return digit == 0 ? 0 : rank >> (kDigit[digit].shift + kDigit[digit].bits);
}

// What is known of a head after some digits, kept with the histogram of all its segments: `threshold` has the
// digits of the rank at which to stop, `reference` the keys still to be covered by items that share them.
uint32_t stop_rank(const ScoreHistogram &all) { return static_cast<uint32_t>(all.threshold); }
int keys_wanted(const ScoreHistogram &all) { return all.reference; }

void find_digit(ScoreHistogram &all, int digit) {
  uint32_t wanted = static_cast<uint32_t>(all.reference);
  int bin = (1 << kDigit[digit].bits) - 1;
  for (; bin > 0 && all.bins[bin] < wanted; --bin) wanted -= all.bins[bin];
  all.reference = static_cast<int32_t>(wanted);
  all.threshold = static_cast<int32_t>(stop_rank(all) << kDigit[digit].bits | static_cast<uint32_t>(bin));
}

}  // namespace

int BestKeys::phases(const StrategyView &) const { return kDigits; }

int BestKeys::items(const StrategyView &view, int segment) const {
  const int first = segment_first(view, segment);
  return std::max(0, std::min(view.end, first + view.segment_keys) - first) / unit_;
}

KeyRange BestKeys::keys_of(const StrategyView &view, int segment, int item) const {
  const int first = segment_first(view, segment) + item * unit_;
  return {std::max(first, std::min(view.begin, first + unit_)), first + unit_};
}

void BestKeys::count_digit(int digit, const StrategyView &view, int segment, int head) const {
  const uint32_t *ranks = segment_words<uint32_t>(view, head, segment);
  const uint32_t prefix = stop_rank(histogram_of(view, head, kMostSegments));
  uint32_t *bins = histogram_of(view, head, segment).bins;
  std::fill_n(bins, kHistogramBins, 0);
  for (int item = 0, count = items(view, segment); item < count; ++item) {
    if (digit > 0 && prefix_of(ranks[item], digit) != prefix) continue;
    const KeyRange keys = keys_of(view, segment, item);
    bins[digit_of(ranks[item], digit)] += static_cast<uint32_t>(keys.end - keys.begin);
  }
}

void BestKeys::run_phase(int phase, const StrategyView &view, int segment) const {
  const int count = items(view, segment);
  if (phase == 0) score(view, segment, count, segment_words<float>(view, 0, segment), words_stride(view));
  for (int head = 0; head < view.heads; ++head) {
    if (phase == 0) {
      const float *scores = segment_words<float>(view, head, segment);
      uint32_t *ranks = segment_words<uint32_t>(view, head, segment);
      for (int i = 0; i < count; ++i) ranks[i] = rank_of(scores[i]);
    }
    count_digit(phase, view, segment, head);
  }
}

void BestKeys::finish_phase(int phase, const StrategyView &view) const {
  for (int head = 0; head < view.heads; ++head) {
    ScoreHistogram &all = histogram_of(view, head, kMostSegments);
    if (phase == 0) {
      all.reference = view.budget;
      all.threshold = 0;
    }
    std::fill_n(all.bins, kHistogramBins, 0);
    for (int s = 0, count = segments(view); s < count; ++s)
      add_histogram(all.bins, histogram_of(view, head, s).bins, kHistogramBins, 0);
    find_digit(all, phase);
  }
}

void BestKeys::choose(const StrategyView &view, int segment, int head, Choice &choice) const {
  const uint32_t *ranks = segment_words<uint32_t>(view, head, segment);
  const ScoreHistogram &all = histogram_of(view, head, kMostSegments);
  const uint32_t stop = stop_rank(all), last_digit = digit_of(stop, kDigits - 1);
  // Keys that items of exactly this rank are still to cover, after those of the segments before.
  int64_t wanted = keys_wanted(all);
  for (int s = 0; s < segment; ++s) wanted -= histogram_of(view, head, s).bins[last_digit];
  choice.certain = true;
  for (int item = 0, count = items(view, segment); item < count; ++item) {
    if (ranks[item] < stop || (ranks[item] == stop && wanted <= 0)) continue;
    const KeyRange keys = keys_of(view, segment, item);
    if (ranks[item] == stop) wanted -= keys.end - keys.begin;
    for (int key = keys.begin; key < keys.end; ++key) choice.keys[choice.count++] = key;
  }
}

}  // namespace sounder
