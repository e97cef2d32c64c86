// SPDX-License-Identifier: Apache-2.0
//
// Which query tokens choose the keys that they read, and among which: the same on every device.
#pragma once

#include <cstdint>

#include "../attention/attention.h"
#include "index.h"
#include "params.h"

namespace sounder {

struct ModelConfig;

struct SampledShape {
  AttentionShape attention;
  IndexShape index;
  uint64_t index_seed;
  int lsh_bits, lsh_tables;
  int sink, window;
  int least_rows;  // that a KV head reads; a context with no more to choose from is exact
};
SampledShape sampled_shape(const ModelConfig &config);

// The keys [begin, end) that a query token chooses from, and how many rows it is to read of them.
struct SampledRange {
  int begin, end, budget;
};

// What a query token at this position chooses from. False when it reads everything anyway: then attend it
// exactly. covered: keys that the context's lsh tables cover at this layer (only for that strategy).
bool sampled_range(const SampledShape &shape, const SampledParams &params, int position, int covered,
                   SampledRange *range);

// Of `rows` query tokens from `position` on, the first ones that attend exactly at a layer that samples; once
// one samples, all after it do.
int exact_rows(const SampledShape &shape, const SampledParams &params, int position, int rows, int covered);

}  // namespace sounder
