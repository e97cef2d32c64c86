// SPDX-License-Identifier: Apache-2.0
//
// What a token of the bench needs beside products and attention: embedding, the best token, seeded values.
#pragma once

#include <cstdint>
#include <instructions.cuh>

namespace token_bench {

// x [tokens][hidden] = rows of the table; the queries' seeds go on, so that no two tokens draw alike.
struct Embedding {
  const uint16_t *table;
  int hidden;
  uint64_t *best;  // [tokens] of launch_best; emptied
  uint64_t *seeds;
  int64_t seed_stride;  // bytes
  float *x;
};
void launch_embedding(const sounder::cuda::Launcher &launcher, const Embedding &embedding, int tokens);

// best[t]: the greatest logit, in a form that sorts, over the complement of its place.
void launch_best(const sounder::cuda::Launcher &launcher, const float *logits, int vocabulary, uint64_t *best,
                 int tokens);

// Seeded values of about N(mean, deviation²), in bf16.
void launch_fill(const sounder::cuda::Launcher &launcher, uint16_t *values, int64_t count, uint64_t seed,
                 float deviation);
// Reads bytes once; the roof.
void launch_read(const sounder::cuda::Launcher &launcher, const void *data, int64_t bytes, uint32_t *sink);

}  // namespace token_bench
