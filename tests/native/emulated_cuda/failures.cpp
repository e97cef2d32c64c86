// SPDX-License-Identifier: Apache-2.0
#include "failures.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>

namespace {

class Allowance {
 public:
  explicit Allowance(const char *variable) : variable_(variable) {}
  // Takes one; false: all are taken.
  bool take() {
    const char *given = std::getenv(variable_);
    if (given == nullptr) return true;
    const std::lock_guard lock(mutex_);
    if (given_ != given) {
      given_ = given;
      left_ = std::strtol(given, nullptr, 10);
    }
    return left_-- > 0;
  }

 private:
  const char *variable_;
  std::mutex mutex_;
  std::string given_;
  long left_ = 0;
};

std::atomic<bool> lost = false;

}  // namespace

namespace emulated {

bool refuses_memory() {
  static Allowance allocations("SOUNDER_EMULATED_ALLOCATIONS");
  return !allocations.take();
}

void count_kernel() {
  static Allowance kernels("SOUNDER_EMULATED_KERNELS");
  if (!kernels.take()) lost = true;
}

bool is_lost() { return lost; }

}  // namespace emulated
