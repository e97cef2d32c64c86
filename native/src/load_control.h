// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "failure.h"
#include "sounder.h"

namespace sounder {

// Where a load, or a part of it, stands: shared with other threads.
struct LoadControl {
  std::atomic<int32_t> &thousandths;
  const std::atomic<bool> &stop;  // ends the load with SOUNDER_CANCELLED
  // What this part is of the whole, in thousandths.
  int32_t first = 0, last = 999;

  void report(int64_t done, int64_t all) const {
    thousandths.store(static_cast<int32_t>(first + (last - first) * done / std::max<int64_t>(all, 1)));
  }
  void require_going_on() const {
    if (stop.load()) fail(SOUNDER_CANCELLED, "The load was stopped.");
  }
};

}  // namespace sounder
