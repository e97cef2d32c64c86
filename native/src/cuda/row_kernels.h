// SPDX-License-Identifier: Apache-2.0
//
// What is done row by row between the products. x is the residual stream, float32; values of type T are bf16,
// or float32 where f32 says so. R rows, C hidden, I intermediate, D head dim, P rotated pairs.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "token_choice.h"

namespace sounder::cuda {

// A row of a step: which token, where it stands, and the row of the table with its context's blocks.
struct Row {
  int32_t token;
  int32_t position;
  int32_t sequence;
  int32_t padding;
};

// x[r] = table[rows[r].token], [V, C] of T; of rows whose token is -1, that of found[r]
void embed(cudaStream_t stream, const Row *rows, const ChosenToken *found, int count, const void *table,
           int width, bool f32, float *x);

// cosine, sine [R, P]: of the angle position * frequency, a product in float32
void rotate_table(cudaStream_t stream, const Row *rows, int count, const float *frequencies, int pairs,
                  float scale, float *cosine, float *sine);

// normed[r] = x[r] / sqrt(mean(x[r]²) + epsilon) * weight, of T
void rms_norm(cudaStream_t stream, const float *x, const float *weight, float epsilon, int count, int width,
              bool f32, void *normed);

// Bias, per-head norm and RoPE on a layer's q and k; q goes to q_out [R, H D], k and v to the KV blocks.
struct AppendCall {
  const Row *rows;
  int count;
  float *qkv;           // [R, (H + 2 G) D], what the product made
  const float *bias;    // [(H + 2 G) D] or nullptr
  const float *q_norm;  // [D] or nullptr
  const float *k_norm;
  float epsilon;
  const float *cosine, *sine;  // [R, P]
  int heads, kv_heads, head_dim, pairs;
  void *q_out;
  void *slab;             // of the layer
  const int32_t *tables;  // [sequences, table_width] ids of blocks
  int table_width;
  bool f32;
  bool keep;  // what is computed goes back to qkv too, for captures
};
void rotate_and_append(cudaStream_t stream, const AppendCall &call);

// activated[r, i] = silu(gate_up[r, i]) * gate_up[r, I + i]
void silu_multiply(cudaStream_t stream, const void *gate_up, int count, int width, bool f32, void *activated);

// to[i] = from[kept[i]]: the first row_bytes of rows that are stride apart (multiples of 4), without gaps
void gather_rows(cudaStream_t stream, const void *from, int64_t stride, const int32_t *kept, int count,
                 int64_t row_bytes, void *to);

}  // namespace sounder::cuda
