// SPDX-License-Identifier: Apache-2.0
//
// The save or restore that runs beside the steps, on its caller's thread: one at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace sounder {

class Transfers {
 public:
  // Ends the running one soon; closing: and those that start later.
  void stop(bool closing = false);
  // Of the running one, or the last.
  int32_t thousandths() const { return thousandths_.load(); }

 private:
  friend class Transfer;

  std::mutex mutex_;
  bool busy_ = false;
  bool closing_ = false;
  std::atomic<bool> stop_{false};
  std::atomic<int32_t> thousandths_{0};
};

class Transfer {
 public:
  // Fails with SOUNDER_BUSY when another one runs.
  explicit Transfer(Transfers &transfers);
  ~Transfer();
  Transfer(const Transfer &) = delete;
  Transfer &operator=(const Transfer &) = delete;

  // Before block number done of all of them. Fails with SOUNDER_CANCELLED when it should end.
  void at(int64_t done, int64_t all);
  void finished() { transfers_.thousandths_.store(1000); }

 private:
  Transfers &transfers_;
};

}  // namespace sounder
