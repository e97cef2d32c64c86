// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <random>

#include "../attention_reference.h"
#include "../check.h"
#include "cuda/buffer.h"
#include "cuda/products.h"
#include "device_workspace.h"
#include "no_device.h"

using namespace sounder;
using namespace sounder::cuda;
using attention_reference::bf16_rounded;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr size_t kGuard = 64;  // NaN before and behind each array

uint16_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return x != x ? 0x7fc0 : static_cast<uint16_t>(u >> 16);
}
float value_of(uint16_t bits) {
  const uint32_t u = uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &u, 4);
  return x;
}

// An array on the device, of bf16 or floats, between NaNs.
class Guarded {
 public:
  Guarded(const std::vector<float> &values, bool is_bf16)
      : count_(values.size()),
        is_bf16_(is_bf16),
        memory_(int64_t(4 * (count_ + 2 * kGuard)), "hold a test's values") {
    std::vector<float> all(count_ + 2 * kGuard, kNan);
    std::copy(values.begin(), values.end(), all.begin() + kGuard);
    std::vector<uint16_t> narrow;
    for (float x : all) narrow.push_back(bits_of(x));
    cuda::check(cudaMemcpy(memory_.data(), is_bf16 ? static_cast<const void *>(narrow.data()) : all.data(),
                           all.size() * width(), cudaMemcpyHostToDevice),
                "upload a test's values");
  }
  void *data() const { return memory_.data() + kGuard * width(); }
  // With `is_whole` set to whether the NaNs are still there.
  std::vector<float> values(bool *is_whole) const {
    std::vector<char> raw((count_ + 2 * kGuard) * width());
    cuda::check(cudaMemcpy(raw.data(), memory_.data(), raw.size(), cudaMemcpyDeviceToHost),
                "read a test's values");
    std::vector<float> all;
    for (size_t i = 0; i < count_ + 2 * kGuard; ++i)
      all.push_back(is_bf16_ ? value_of(reinterpret_cast<uint16_t *>(raw.data())[i])
                             : reinterpret_cast<float *>(raw.data())[i]);
    for (size_t i = 0; i < kGuard; ++i)
      *is_whole &= all[i] != all[i] && all[all.size() - 1 - i] != all[all.size() - 1 - i];
    return {all.begin() + kGuard, all.end() - kGuard};
  }

 private:
  size_t width() const { return is_bf16_ ? 2 : 4; }
  size_t count_;
  bool is_bf16_;
  Buffer memory_;
};

struct Case {
  int rows, columns, tokens;
  Into into;
  bool is_normed, own_kernel;  // own_kernel: stream_weights, whatever the device
};

std::vector<float> random_values(size_t count, float deviation, std::mt19937 &random) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float &x : values) x = bf16_rounded(normal(random));
  return values;
}

// What a product is, in double precision; x is what is multiplied.
std::vector<double> expected_of(const Case &c, const std::vector<float> &w, const std::vector<float> &x,
                                const std::vector<float> &before) {
  const bool is_activated = c.into == Into::kActivated;
  const int results = is_activated ? c.rows / 2 : c.rows;
  std::vector<double> all(size_t(c.tokens) * results);
  auto product = [&](int t, int r) {
    double sum = 0;
    for (int i = 0; i < c.columns; ++i)
      sum += double(w[size_t(r) * c.columns + i]) * x[size_t(t) * c.columns + i];
    return sum;
  };
  for (int t = 0; t < c.tokens; ++t)
    for (int r = 0; r < results; ++r) {
      const size_t place = size_t(t) * results + r;
      all[place] = product(t, r);
      if (is_activated) all[place] *= product(t, results + r) / (1 + std::exp(-all[place]));
      if (c.into == Into::kResidual) all[place] += before[place];
    }
  return all;
}

void check_case(const Case &c, Products &products, uint32_t seed) {
  const int before = check::failures();
  std::mt19937 random(seed);
  const std::vector<float> w = random_values(size_t(c.rows) * c.columns, 0.05f, random);
  const std::vector<float> norm = random_values(size_t(c.columns), 1.0f, random);
  std::vector<float> x = random_values(size_t(c.tokens) * c.columns, 1.0f, random);
  const bool is_activated = c.into == Into::kActivated, narrow = is_activated || c.into == Into::kValues;
  const std::vector<float> y =
      random_values(size_t(c.tokens) * (is_activated ? c.rows / 2 : c.rows), 1.0f, random);
  const Guarded device_w(w, true), device_norm(norm, false), device_x(x, !c.is_normed), device_y(y, narrow);
  const Guarded normed(x, true);
  const WeightMatrix matrix{device_w.data(), c.rows, c.columns, false};
  if (c.is_normed) {
    products.multiply_normed(matrix, static_cast<const float *>(device_x.data()),
                             static_cast<const float *>(device_norm.data()), 1e-5f, c.tokens, normed.data(),
                             c.into, device_y.data());
    for (int t = 0; t < c.tokens; ++t) {
      double squares = 0;
      float *own = x.data() + size_t(t) * c.columns;
      for (int i = 0; i < c.columns; ++i) squares += double(own[i]) * own[i];
      for (int i = 0; i < c.columns; ++i)
        own[i] = bf16_rounded(float(own[i] / std::sqrt(squares / c.columns + 1e-5) * norm[i]));
    }
  } else if (c.own_kernel) {
    stream_weights(nullptr, matrix, device_x.data(), c.tokens, c.into, device_y.data());
  } else {
    products.multiply(matrix, device_x.data(), c.tokens, c.into, device_y.data());
  }
  cuda::check(cudaDeviceSynchronize(), "multiply");
  bool is_whole = true;
  const std::vector<float> got = device_y.values(&is_whole);
  const std::vector<double> expected = expected_of(c, w, x, y);
  double error = 0, square = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (got[i] - expected[i]) * (got[i] - expected[i]);
    square += expected[i] * expected[i];
  }
  CHECK(is_whole);
  // Of normed x some values round the other way; results in bf16 are half a unit off at most.
  CHECK(std::sqrt(error / square) < (narrow ? 3e-3 : c.is_normed ? 2e-4 : 2e-6));
  if (check::failures() > before)
    std::printf("  of %d by %d, %d tokens, into %d, normed %d, own kernel %d: error %g\n", c.rows, c.columns,
                c.tokens, int(c.into), c.is_normed, c.own_kernel, std::sqrt(error / square));
}

struct World {
  World() : scratch(kDeviceProductBytes, "multiply"), products(nullptr, scratch.data()) {}
  Buffer scratch;
  Products products;
};

}  // namespace

TEST("weights are streamed for few tokens, with results of every kind, from values and from floats to norm") {
  World world;
  uint32_t seed = 1;
  const std::vector<std::array<int, 2>> shapes = {{6, 8},          {34, 520},   {130, 4096},
                                                  {2 * 133, 1032}, {48, 14336}, {18, 8200}};
  for (const auto &[rows, columns] : shapes)
    for (const int tokens : {1, 2, 3, 4, 5, 8, 9, 16})
      for (const Into into : {Into::kFloats, Into::kResidual, Into::kValues, Into::kActivated})
        for (const bool is_normed : {false, true}) {
          if (into == Into::kActivated && !world.products.streams({nullptr, rows, columns, false}, tokens))
            continue;
          check_case({rows, columns, tokens, into, is_normed, false}, world.products, seed++);
        }
}

TEST("the streaming kernel of other devices than Hopper") {
  World world;
  uint32_t seed = 1000;
  for (const int tokens : {1, 2, 3, 4})
    for (const Into into : {Into::kFloats, Into::kResidual, Into::kValues, Into::kActivated})
      for (const auto &[rows, columns] : std::vector<std::array<int, 2>>{{34, 520}, {130, 4096}})
        check_case({rows, columns, tokens, into, false, true}, world.products, seed++);
}

TEST("an odd row, and more tokens than are streamed") {
  World world;
  check_case({33, 512, 3, Into::kFloats, false, false}, world.products, 2001);
  check_case({129, 1024, 40, Into::kValues, true, false}, world.products, 2002);
  check_case({129, 1024, 40, Into::kResidual, false, false}, world.products, 2003);
}
