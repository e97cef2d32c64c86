// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace sounder {

// Seeded values with the distribution N(0, 0.02), each representable in bfloat16, so that both precisions
// hold the same model. Value i depends on (seed, role, layer, i) only. first: a multiple of 4.
class DummyWeights {
 public:
  explicit DummyWeights(uint32_t seed);
  void fill_bf16(int role, int layer, int64_t first, int64_t count, uint16_t *values) const;
  void fill_f32(int role, int layer, int64_t first, int64_t count, float *values) const;

 private:
  static constexpr int kEntries = 4096;
  uint32_t seed_;
  uint16_t bf16_[kEntries];
  float f32_[kEntries];
};

}  // namespace sounder
