// SPDX-License-Identifier: Apache-2.0
#include "transfer.h"

#include "../failure.h"

namespace sounder {

void Transfers::stop(bool closing) {
  std::lock_guard lock(mutex_);
  closing_ = closing_ || closing;
  if (busy_) stop_.store(true);
}

Transfer::Transfer(Transfers &transfers) : transfers_(transfers) {
  std::lock_guard lock(transfers.mutex_);
  if (transfers.busy_) fail(SOUNDER_BUSY, "Another context is being saved or restored; one at a time.");
  transfers.busy_ = true;
  transfers.stop_.store(transfers.closing_);
  transfers.thousandths_.store(0);
}

Transfer::~Transfer() {
  std::lock_guard lock(transfers_.mutex_);
  transfers_.busy_ = false;
}

void Transfer::at(int64_t done, int64_t all) {
  if (transfers_.stop_.load()) fail(SOUNDER_CANCELLED, "Saving or restoring the context was cancelled.");
  transfers_.thousandths_.store(static_cast<int32_t>(1000 * done / all));
}

}  // namespace sounder
