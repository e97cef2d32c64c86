// SPDX-License-Identifier: Apache-2.0
//
// How the strategies here share out a view's scratch: 4 bytes for each head and key, then histograms by head
// and segment, then 65,536 bytes a head for whatever else.
//
// A segment keeps what it has for a head in its own bytes: a float or uint32 a key; or an int16 score a key
// and, with the first head, behind these scores the int16 that combine the heads'. So segments may turn one
// into the other in place, all at the same time.
#pragma once

#include <algorithm>

#include "draw.h"
#include "strategy.h"

namespace sounder {

// The keys of a segment that the view's range leaves out at its beginning are part of it here.
inline int segment_first(const StrategyView &view, int segment) { return segment * view.segment_keys; }

template <typename T>
T *segment_words(const StrategyView &view, int head, int segment) {
  static_assert(sizeof(T) == 4);
  return reinterpret_cast<T *>(view.scratch) + int64_t{head} * view.end + segment_first(view, segment);
}
// From one head to the next.
inline int64_t words_stride(const StrategyView &view) { return view.end; }

inline int16_t *segment_scores(const StrategyView &view, int head, int segment) {
  return reinterpret_cast<int16_t *>(segment_words<int32_t>(view, head, segment));
}
inline int64_t scores_stride(const StrategyView &view) { return 2 * int64_t{view.end}; }

// What keys are drawn by: the first head's scores when there is no other.
inline int16_t *segment_combined(const StrategyView &view, int segment) {
  int16_t *scores = segment_scores(view, 0, segment);
  if (view.heads == 1) return scores;
  const int first = segment_first(view, segment);
  return scores + std::min(view.end, first + view.segment_keys) - first;
}

// head: up to view.heads, which is all heads combined. segment: up to kMostSegments, which is all of them.
inline ScoreHistogram &histogram_of(const StrategyView &view, int head, int segment) {
  char *start = view.scratch + index_aligned(int64_t{4} * view.heads * view.end);
  return reinterpret_cast<ScoreHistogram *>(start)[int64_t{head} * (kMostSegments + 1) + segment];
}

// 65,536 bytes for each head, aligned to 64.
inline char *other_scratch(const StrategyView &view) {
  return reinterpret_cast<char *>(&histogram_of(view, view.heads + 1, 0));
}

}  // namespace sounder
