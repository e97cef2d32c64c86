// SPDX-License-Identifier: Apache-2.0
//
// Whether counts and means over seeds are what their formulas say.
#pragma once

#include <algorithm>
#include <cmath>

// log C(n, k) p^k (1 - p)^(n - k)
inline double log_binomial(int k, int n, double p) {
  return std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) + k * std::log(p) +
         (n - k) * std::log1p(-p);
}

// Whether a binomial count this far out, on its side, has at least probability `risk` / 2.
inline bool is_likely_count(int count, int n, double p, double risk) {
  if (p <= 0.0 || p >= 1.0) return count == (p <= 0.0 ? 0 : n);
  double tail = 0;
  const bool low = count < n * p;
  for (int k = count; k >= 0 && k <= n; k += low ? -1 : 1) {
    const double term = std::exp(log_binomial(k, n, p));
    tail += term;
    if (tail >= risk / 2) return true;
    if (term < 1e-30) break;
  }
  return false;
}

// Mean and its standard error of what is added.
struct RunningMean {
  int count = 0;
  double sum = 0, squares = 0;
  void add(double x) {
    ++count;
    sum += x;
    squares += x * x;
  }
  double mean() const { return sum / count; }
  double variance() const { return std::max(0.0, squares / count - mean() * mean()); }
  double standard_error() const { return std::sqrt(variance() / count); }
  // Whether the mean is `expected` as far as five standard errors can tell; rounding excused.
  bool agrees(double expected) const {
    return std::fabs(mean() - expected) <= 5 * standard_error() + 1e-6 * std::fabs(expected);
  }
};
