// SPDX-License-Identifier: Apache-2.0
//
// What a whole token needs beside attention: products that stream bf16 weights once for up to four tokens,
// embedding, the best token. Written for the figures of the bench: every kernel begins to fetch its weights
// before the kernel before it has ended, and norms belong to the products.
#pragma once

#include <cstdint>
#include <instructions.cuh>

namespace token_bench {

constexpr int kMostTokens = 4;

enum class Into { kFloats, kResidual, kActivated };

// y = W norm(x): x [tokens][columns]; without `norm` x as it is. kActivated: W is gate over up, y silu(g) ·
// u.
struct Product {
  const uint16_t *weights;  // [rows][columns] bf16
  int rows, columns;        // multiples of 16, of 512
  const float *x;
  const float *norm;  // [columns] or nullptr
  Into into;
  float *y;
};

void launch_product(const sounder::cuda::Launcher &launcher, const Product &product, int tokens);

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
