// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the kernels share: random buffers between NaN guards, every level of this machine.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "reference/ops.h"

namespace kernel_checks {

using sounder::Kernels;
namespace reference = sounder::reference;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kGuard = 40;  // values before and after the part of a buffer that a kernel may touch

inline std::mt19937 random_bits(1);

inline float random_float() { return std::normal_distribution<float>()(random_bits); }

inline uint16_t round_to_bf16(float x) {
  uint32_t u = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
inline float widen(uint16_t x) { return std::bit_cast<float>(uint32_t{x} << 16); }
inline float widen(float x) { return x; }

inline float guard_of(float) { return kNan; }
inline uint16_t guard_of(uint16_t) { return 0x7fc1; }  // a NaN

// n random values between guards, starting at an odd place.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t n, int shift = 1) : n_(n), start_(kGuard + shift) {
    all_.assign(n + 2 * kGuard + 16, guard_of(T{}));
    for (int64_t i = 0; i < n; ++i) data()[i] = make(random_float());
  }
  T *data() { return all_.data() + start_; }
  T &operator[](int64_t i) { return data()[i]; }
  int64_t size() const { return n_; }
  std::vector<double> wide() { return reference::widen(data(), n_); }
  void fill(float x) { std::fill(data(), data() + n_, make(x)); }

  // Whether everything outside the n values is as it was.
  bool guarded() const {
    T guard = guard_of(T{});
    for (int64_t i = 0; i < static_cast<int64_t>(all_.size()); ++i) {
      bool inside = i >= start_ && i < start_ + n_;
      if (!inside && std::memcmp(&all_[i], &guard, sizeof(T)) != 0) return false;
    }
    return true;
  }

 private:
  static T make(float x) {
    if constexpr (sizeof(T) == 2) return round_to_bf16(x);
    return static_cast<T>(x);
  }
  int64_t n_, start_;
  std::vector<T> all_;
};

inline void for_each_level(const std::function<void(const Kernels &)> &test) {
  int count = 0;
  const Kernels *const *levels = sounder::usable_levels(&count);
  for (int i = 0; i < count; ++i) {
    int before = check::failures();
    test(*levels[i]);
    if (check::failures() != before) std::printf("  (level %s)\n", levels[i]->name);
  }
}

}  // namespace kernel_checks
