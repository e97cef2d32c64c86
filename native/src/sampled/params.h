// SPDX-License-Identifier: Apache-2.0
//
// What a request asks of sampled attention (DESIGN: README, "Sampled attention").
#pragma once

#include <cstdint>

namespace sounder {

struct SampledParams {
  int attention;     // enum sounder_attention
  int sampled_from;  // new tokens at this position and after it use it; those before attend exactly
  uint64_t seed;
  float budget;    // expected share of a KV head's rows that are read, (0, 1]
  float beta;      // sketch: exponent on the estimated probabilities
  int collisions;  // lsh: tables in which a key must share the query's code, 1 to 3
  int draws;       // oracle: 0 for Poisson sampling; B for B independent draws with counts
  bool verify;     // compute the exact result too, and report the difference
};

// What one query token found, summed over the layers that sampled.
struct SampledStatistics {
  int layers = 0;              // layers that sampled
  int offloaded = 0;           // keys to choose from in each of them
  double chosen_keys = 0;      // keys chosen for a query head, mean over heads, summed over layers
  double chosen_rows = 0;      // rows read by a KV head, mean over KV heads, summed over layers
  double inverse_samples = 0;  // 1 / effective samples, mean over query heads, summed over layers
  double squared_error = 0;    // squared relative standard error, likewise
  double verify_error = 0;     // |output - exact|² / |exact|², likewise; only when verified
};

}  // namespace sounder
