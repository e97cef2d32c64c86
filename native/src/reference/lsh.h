// SPDX-License-Identifier: Apache-2.0
//
// What lsh means, in plain loops and double precision.
#pragma once

#include <cstdint>
#include <vector>

namespace sounder::reference {

// signs(projection p of x) > 0; the number of table t is made of the signs t * bits .. t * bits + bits - 1,
// the first one lowest. projections [bits * tables][head_dim]. doubtful: set where a projection is so near
// zero, relative to |x| |projection|, that rounding decides.
struct LshCodes {
  std::vector<uint32_t> of_table;
  std::vector<bool> doubtful;
};
LshCodes lsh_codes(const double *x, int head_dim, const double *projections, int bits, int tables);

// Keys in [from, until) whose codes agree with the query's in at least `collisions` tables.
// codes [tables][keys], query [tables]
std::vector<int> lsh_retrieve(const std::vector<uint32_t> &codes, int keys,
                              const std::vector<uint32_t> &query, int collisions, int from, int until);

// The probability of that at this cosine: the upper tail of a binomial distribution, term by term.
double lsh_probability(int bits, int tables, int collisions, double cosine);

// The probability of that for two keys at once, by their cosines to the query and to each other.
double lsh_pair_probability(int bits, int tables, int collisions, double cosine, double other,
                            double between);

}  // namespace sounder::reference
