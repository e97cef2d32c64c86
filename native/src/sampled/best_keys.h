// SPDX-License-Identifier: Apache-2.0
//
// Choosing the best keys of each query head with certainty, one by one (topk) or by whole pages (quest): the
// items with the best scores until budget keys are covered. So the budget counts keys of a query head here,
// as in the papers' tables, and not rows that the group shares. Of equal scores the earlier item is better;
// NaN is the worst of all.
//
// The score at which to stop is found digit by digit, as a radix sort would, from histograms of the segments.
#pragma once

#include "strategy.h"

namespace sounder {

class BestKeys : public Strategy {
 public:
  // unit: keys of an item; 1, or a divisor of kIndexTokens.
  explicit BestKeys(int unit) : unit_(unit) {}
  bool is_shared(const StrategyView &) const override { return false; }
  int phases(const StrategyView &) const override;
  void run_phase(int phase, const StrategyView &view, int segment) const override;
  void finish_phase(int phase, const StrategyView &view) const override;
  void choose(const StrategyView &view, int segment, int head, Choice &choice) const override;

 protected:
  // Writes the score of item i of the segment for head h to scores[h * stride + i]. Items are counted from
  // the segment's first key, before view.begin too.
  virtual void score(const StrategyView &view, int segment, int items, float *scores,
                     int64_t stride) const = 0;

 private:
  KeyRange keys_of(const StrategyView &view, int segment, int item) const;
  int items(const StrategyView &view, int segment) const;
  void count_digit(int digit, const StrategyView &view, int segment, int head) const;

  int unit_;
};

}  // namespace sounder
