// SPDX-License-Identifier: Apache-2.0
#include "strategy.h"

#include <algorithm>

namespace sounder {

int Strategy::segments(const StrategyView &view) const {
  return (view.end + view.segment_keys - 1) / view.segment_keys;
}

KeyRange segment_range(const StrategyView &view, int segment) {
  const int first = segment * view.segment_keys;
  const int end = std::min(view.end, first + view.segment_keys);
  return {std::min(std::max(view.begin, first), end), end};
}

}  // namespace sounder
