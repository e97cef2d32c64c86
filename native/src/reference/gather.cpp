// SPDX-License-Identifier: Apache-2.0
#include "gather.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace sounder::reference {

double logit(const double *q, const double *k, int head_dim) {
  double product = 0;
  for (int i = 0; i < head_dim; ++i) product += q[i] * k[i];
  return product * std::numbers::log2e / std::sqrt(static_cast<double>(head_dim));
}

void gather(const ChosenRows &rows, const double *q, const double *signs, double *state) {
  const int d = rows.head_dim;
  std::vector<double> logits(rows.count);
  double maximum = -std::numeric_limits<double>::infinity();
  for (int i = 0; i < rows.count; ++i) {
    logits[i] = logit(q, rows.k + static_cast<long>(i) * d, d) + (rows.offsets ? rows.offsets[i] : 0.0);
    maximum = std::max(maximum, logits[i]);
  }
  std::fill_n(state, d + 5, 0.0);
  state[d + 1] = maximum;
  double *errors = state + d + 2;
  for (int i = 0; i < rows.count; ++i) {
    const double *v = rows.v + static_cast<long>(i) * d, w = std::exp2(logits[i] - maximum);
    double y = 0;
    for (int c = 0; c < d; ++c) {
      state[c] += w * v[c];
      y += signs[c] * v[c];
    }
    state[d] += w;
    const double probability = rows.offsets ? std::min(1.0, std::exp2(-rows.offsets[i])) : 1.0;
    const double uncertain = rows.uncertain ? rows.uncertain[i] : 1 - probability;
    for (int power = 0; power < 3; ++power) errors[power] += uncertain * w * w * std::pow(y, power);
  }
}

double interpolate(const float *table, int points, double cosine) {
  const double place = (std::clamp(cosine, -1.0, 1.0) + 1) / 2 * points;
  const int low = std::min(static_cast<int>(place), points - 1);
  return table[low] + (place - low) * (double{table[low + 1]} - table[low]);
}

GatherResult finish_gather(const double *state, const double *signs, int head_dim, double *output) {
  const double sum = state[head_dim], *errors = state + head_dim + 2;
  std::fill_n(output, head_dim, 0.0);
  if (sum == 0) return {0, 0};
  double y = 0, square = 0;
  for (int i = 0; i < head_dim; ++i) {
    output[i] = state[i] / sum;
    y += signs[i] * output[i];
    square += output[i] * output[i];
  }
  const double variance = (errors[2] - 2 * y * errors[1] + y * y * errors[0]) / (sum * sum);
  return {errors[0] / (sum * sum), square > 0 ? variance / square : 0.0};
}

}  // namespace sounder::reference
