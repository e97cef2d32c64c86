// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "attention/partial.h"
#include "check.h"

namespace {

constexpr int kDim = 6;
using State = std::vector<float>;

State state_of(const std::vector<double> &logits, const std::vector<double> &values, size_t from, size_t to) {
  State state(sounder::partial_floats(kDim));
  sounder::make_partial_empty(state.data(), kDim);
  for (size_t i = from; i < to; ++i) {
    State one(sounder::partial_floats(kDim));
    for (int c = 0; c < kDim; ++c) one[c] = static_cast<float>(values[i * kDim + c]);
    one[kDim] = 1.0f;
    one[kDim + 1] = static_cast<float>(logits[i]);
    sounder::merge_partial(state.data(), one.data(), kDim);
  }
  return state;
}

struct Data {
  std::vector<double> logits, values, expected;
};

Data make_data(size_t count, double spread) {
  Data data;
  std::mt19937 random(11);
  std::normal_distribution<double> normal;
  for (size_t i = 0; i < count; ++i) data.logits.push_back(normal(random) * spread);
  for (size_t i = 0; i < count * kDim; ++i) data.values.push_back(normal(random));
  data.expected.assign(kDim, 0.0);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp2(data.logits[i]);
  for (size_t i = 0; i < count; ++i)
    for (int c = 0; c < kDim; ++c)
      data.expected[c] += std::exp2(data.logits[i]) / sum * data.values[i * kDim + c];
  return data;
}

void check_result(const State &state, const Data &data) {
  float out[kDim];
  sounder::finish_partial(state.data(), kDim, out);
  for (int c = 0; c < kDim; ++c) CHECK_NEAR(out[c], data.expected[c], 3e-6);
}

}  // namespace

TEST("merging any two parts gives the whole, in either order") {
  Data data = make_data(40, 5.0);
  for (size_t at = 0; at <= 40; ++at) {
    State left = state_of(data.logits, data.values, 0, at),
          right = state_of(data.logits, data.values, at, 40);
    State forth = left, back = right;
    sounder::merge_partial(forth.data(), right.data(), kDim);
    sounder::merge_partial(back.data(), left.data(), kDim);
    check_result(forth, data);
    check_result(back, data);
  }
}

TEST("merging is associative") {
  Data data = make_data(30, 20.0);
  for (size_t a = 0; a <= 30; a += 3) {
    for (size_t b = a; b <= 30; b += 3) {
      State x = state_of(data.logits, data.values, 0, a), y = state_of(data.logits, data.values, a, b),
            z = state_of(data.logits, data.values, b, 30);
      State left = x, right = y;
      sounder::merge_partial(left.data(), y.data(), kDim);
      sounder::merge_partial(left.data(), z.data(), kDim);
      sounder::merge_partial(right.data(), z.data(), kDim);
      sounder::merge_partial(x.data(), right.data(), kDim);
      check_result(left, data);
      check_result(x, data);
    }
  }
}

TEST("the state of no keys is the identity on both sides, exactly") {
  Data data = make_data(7, 3.0);
  State state = state_of(data.logits, data.values, 0, 7), empty(sounder::partial_floats(kDim));
  sounder::make_partial_empty(empty.data(), kDim);
  State left = empty, right = state;
  sounder::merge_partial(left.data(), state.data(), kDim);
  sounder::merge_partial(right.data(), empty.data(), kDim);
  CHECK(left == state);
  CHECK(right == state);
  State nothing = empty;
  sounder::merge_partial(nothing.data(), empty.data(), kDim);
  CHECK(nothing == empty);
  float out[kDim];
  sounder::finish_partial(nothing.data(), kDim, out);
  for (float x : out) CHECK(x == 0.0f);
}

TEST("a part whose logits are hundreds lower changes nothing, and overflows nothing") {
  Data data = make_data(5, 1.0);
  State low = state_of({-900.0}, std::vector<double>(kDim, 1e6), 0, 1);
  State high = state_of(data.logits, data.values, 0, 5);
  sounder::merge_partial(low.data(), high.data(), kDim);
  check_result(low, data);
}
