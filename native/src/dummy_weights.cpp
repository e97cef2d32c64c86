// SPDX-License-Identifier: Apache-2.0
//
// Weights of billions of values must not take longer to make than to read: one hash of 64 bits picks four
// values out of a table with the quantiles of the normal distribution.
#include "dummy_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "random.h"

namespace sounder {

namespace {

constexpr double kDeviation = 0.02;

// The x with Phi(x) = p, by bisection: 4,096 values are needed once.
double normal_quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 60; ++i) {
    double middle = (low + high) / 2;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

uint64_t tensor_key(uint32_t seed, int role, int layer) {
  return random_bits(seed, static_cast<uint64_t>(role), static_cast<uint64_t>(layer));
}

template <typename T>
void fill(const T *table, int shift, uint64_t key, int64_t first, int64_t count, T *values) {
  for (int64_t i = 0; i < count; i += 4) {
    uint64_t bits = random_bits(key, static_cast<uint64_t>(first + i) / 4, 0);
    int64_t here = std::min<int64_t>(4, count - i);
    for (int64_t j = 0; j < here; ++j) values[i + j] = table[(bits >> (16 * j) & 0xffff) >> shift];
  }
}

}  // namespace

DummyWeights::DummyWeights(uint32_t seed) : seed_(seed) {
  for (int i = 0; i < kEntries; ++i) {
    float value = static_cast<float>(kDeviation * normal_quantile((i + 0.5) / kEntries));
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits &= 0xffff0000;
    std::memcpy(&f32_[i], &bits, 4);
    bf16_[i] = static_cast<uint16_t>(bits >> 16);
  }
}

void DummyWeights::fill_bf16(int role, int layer, int64_t first, int64_t count, uint16_t *values) const {
  fill(bf16_, 4, tensor_key(seed_, role, layer), first, count, values);
}

void DummyWeights::fill_f32(int role, int layer, int64_t first, int64_t count, float *values) const {
  fill(f32_, 4, tensor_key(seed_, role, layer), first, count, values);
}

}  // namespace sounder
