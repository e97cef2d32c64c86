// SPDX-License-Identifier: Apache-2.0
#include "lsh.h"

#include <algorithm>
#include <cmath>

namespace sounder::reference {

LshCodes lsh_codes(const double *x, int head_dim, const double *projections, int bits, int tables) {
  constexpr double kRounding = 1e-5;
  LshCodes codes{std::vector<uint32_t>(tables), std::vector<bool>(tables)};
  for (int table = 0; table < tables; ++table) {
    for (int bit = 0; bit < bits; ++bit) {
      const double *w = projections + (int64_t{table} * bits + bit) * head_dim;
      double sum = 0, size = 0;
      for (int i = 0; i < head_dim; ++i) {
        sum += x[i] * w[i];
        size += std::fabs(x[i] * w[i]);
      }
      if (sum > 0) codes.of_table[table] |= 1u << bit;
      if (size > 0 && std::fabs(sum) < kRounding * size) codes.doubtful[table] = true;
    }
  }
  return codes;
}

std::vector<int> lsh_retrieve(const std::vector<uint32_t> &codes, int keys,
                              const std::vector<uint32_t> &query, int collisions, int from, int until) {
  std::vector<int> found;
  for (int key = from; key < until; ++key) {
    int agree = 0;
    for (size_t table = 0; table < query.size(); ++table)
      agree += codes[table * static_cast<size_t>(keys) + static_cast<size_t>(key)] == query[table];
    if (agree >= collisions) found.push_back(key);
  }
  return found;
}

namespace {

double angle_of(double cosine) { return std::acos(cosine > 1 ? 1 : cosine < -1 ? -1 : cosine); }

double log_factorial(int n) { return std::lgamma(n + 1.0); }

}  // namespace

double lsh_probability(int bits, int tables, int collisions, double cosine) {
  const double same = std::pow(1 - angle_of(cosine) / std::acos(-1.0), bits);
  double sum = 0;
  for (int agree = collisions; agree <= tables; ++agree) {
    if ((agree > 0 && same == 0) || (agree < tables && same == 1)) continue;
    double logarithm =
        std::lgamma(tables + 1.0) - std::lgamma(agree + 1.0) - std::lgamma(tables - agree + 1.0);
    if (agree > 0) logarithm += agree * std::log(same);
    if (agree < tables) logarithm += (tables - agree) * std::log1p(-same);
    sum += std::exp(logarithm);
  }
  return sum;
}

double lsh_pair_probability(int bits, int tables, int collisions, double cosine, double other,
                            double between) {
  // Three vectors lie on the same side of a random plane with probability 1 - (sum of their angles) / 2π.
  const double pi = std::acos(-1.0), one = angle_of(cosine), two = angle_of(other);
  const double both = std::pow(std::max(0.0, 1 - (one + two + angle_of(between)) / (2 * pi)), bits);
  const double first = std::max(0.0, std::pow(1 - one / pi, bits) - both);
  const double second = std::max(0.0, std::pow(1 - two / pi, bits) - both);
  const double neither = 1 - both - first - second;
  double few = 0;  // that each is in too few tables: in both, the first's and the second's alone
  for (int b = 0; b < collisions; ++b)
    for (int f = 0; b + f < collisions; ++f)
      for (int s = 0; b + s < collisions && b + f + s <= tables; ++s) {
        const int none = tables - b - f - s;
        const double ways = std::exp(log_factorial(tables) - log_factorial(b) - log_factorial(f) -
                                     log_factorial(s) - log_factorial(none));
        few += ways * std::pow(both, b) * std::pow(first, f) * std::pow(second, s) * std::pow(neither, none);
      }
  return lsh_probability(bits, tables, collisions, cosine) +
         lsh_probability(bits, tables, collisions, other) - 1 + few;
}

}  // namespace sounder::reference
