// SPDX-License-Identifier: Apache-2.0
//
// How the KV heads of a layer are divided between two that attend at the same time, a device and the CPU:
// so that neither waits for the other, by what a head took each of them lately.
#pragma once

#include <algorithm>

namespace sounder {

class HeadSplit {
 public:
  explicit HeadSplit(int heads) : heads_(heads), device_heads_(heads > 1 ? heads / 2 : heads) {}

  // The first ones are the device's; each has one at least, so that both are measured.
  int device_heads() const { return device_heads_; }

  // What the layers of a step took both, summed. Divides anew after every kStepsBetween of them.
  void record(double device_ms, double cpu_ms) {
    const int own = heads_ - device_heads_;
    if (own == 0) return;
    average(device_ms / device_heads_, device_rate_);
    average(cpu_ms / own, cpu_rate_);
    if (++steps_ % kStepsBetween != 0) return;
    // g heads of one take as long as heads - g of the other.
    const double share = cpu_rate_ / std::max(cpu_rate_ + device_rate_, 1e-12);
    device_heads_ = std::clamp(static_cast<int>(share * heads_ + 0.5), 1, heads_ - 1);
  }

  static constexpr int kStepsBetween = 4;

 private:
  static constexpr double kWeight = 0.3;  // of the newest step
  static void average(double value, double &mean) {
    mean = mean == 0 ? value : (1 - kWeight) * mean + kWeight * value;
  }

  int heads_, device_heads_;
  double device_rate_ = 0, cpu_rate_ = 0;  // milliseconds a head and step
  int steps_ = 0;
};

}  // namespace sounder
