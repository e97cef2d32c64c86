// SPDX-License-Identifier: Apache-2.0
//
// Products of activations and weights: few rows stream the weights once (own kernels), many rows go to a
// matrix library (oneDNN where the build found it, otherwise our own blocked product). Work is divided
// over the engine's own team; the library runs single-threaded inside each chunk, so there is no second
// team and no barrier but ours.
#pragma once

#include <cstdint>
#include <memory>

#include "cpu/kernels.h"
#include "threads.h"

namespace sounder {

// A weight matrix [rows, columns] = [outputs, inputs], row-major, bf16 or f32. Borrowed.
struct WeightMatrix {
  const void *data;
  int rows;
  int columns;
  bool is_f32;
};

// Beyond so many rows of x, tiles are quicker than streaming with vectors, although they are padded to
// 32: seen on a Xeon with AMX, 8 rows 16 against 12 GB/s of weights, 4 rows 16 against 17.
constexpr int kStreamBeforeTiles = 4;

class Matmul {
 public:
  // max_rows and max_columns bound the weight matrices, max_tokens the rows of x; scratch is sized here.
  // deterministic: the result of a row does not depend on the other rows.
  Matmul(ThreadTeam &team, const Kernels &kernels, int max_tokens, int max_rows, int max_columns,
         bool deterministic);
  ~Matmul();

  // y[t, r] = sum over c of w[r, c] * x[t, c] + bias[r] (bias may be nullptr), rows of y y_stride apart,
  // rows of x contiguous (w.columns floats).
  void multiply(const WeightMatrix &w, const float *x, int tokens, const float *bias, float *y, int y_stride);

  // "oneDNN 2.6.3, bf16 on AMX", "oneDNN 2.6.3, f32 panels", "own blocked product (built without
  // libdnnl-dev)"
  const char *description() const;

  // Bytes of scratch that a Matmul of these sizes takes, a part of the memory formula:
  //   threads * 256 * (max_columns + 1536) + 2 * max_columns * (max_tokens rounded up to 32)
  // For each thread a panel of 64 weight rows in f32, 1024 columns longer than the longest row (oneDNN's own
  // scratch and short rows), and a product of 64 rows by 512 tokens; once, x in bf16.
  static int64_t workspace_bytes(int threads, int max_tokens, int max_rows, int max_columns);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sounder
