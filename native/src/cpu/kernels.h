// SPDX-License-Identifier: Apache-2.0
//
// The row-level kernels, one table of them for each instruction level. A level is a file of a few lines
// that includes kernels.inc under its own compiler flags; dispatch.cpp lists them best first.
//
// bf16 values are uint16_t. All sums are float32. Pointers need no alignment beyond their type's.
#pragma once

#include <cstdint>

namespace sounder {

// Most rows of x that the matvec kernels take at once.
constexpr int kMatvecBatch = 16;

// The products of the gemm kernels are cut along k in steps of this many values, and along n in panels
// that take a scratch of gemm_scratch(n) floats.
constexpr int kGemmDepth = 256;
constexpr int64_t gemm_scratch(int n) { return int64_t{kGemmDepth} * ((n + 31) / 32 * 32); }

struct Kernels {
  const char *name;  // "scalar", "avx2", "avx512", "amx"

  // y[b, r] = sum over c of w[r, c] * x[b, c], for b < batch (1 to kMatvecBatch), r < rows, columns ≥ 1.
  // w row-major with columns values a row; x rows are x_stride apart, y rows y_stride.
  // Each y[b, r] is summed in the same order whatever rows and batch are: bitwise reproducible.
  void (*matvec_bf16)(const uint16_t *w, const float *x, int x_stride, float *y, int y_stride, int rows,
                      int columns, int batch);
  void (*matvec_f32)(const float *w, const float *x, int x_stride, float *y, int y_stride, int rows,
                     int columns, int batch);

  // Own blocked product for when no library is there: c[m, n] = sum over k of a[m, k] * b[n, k].
  // scratch: gemm_scratch(n) floats, where b is laid out anew. Best when n is a few dozen and m large.
  void (*gemm_bf16)(const float *a, int a_stride, const uint16_t *b, int b_stride, float *c, int c_stride,
                    int m, int n, int k, float *scratch);
  void (*gemm_f32)(const float *a, int a_stride, const float *b, int b_stride, float *c, int c_stride, int m,
                   int n, int k, float *scratch);

  void (*bf16_to_f32)(const uint16_t *from, float *to, int64_t count);
  void (*f32_to_bf16)(const float *from, uint16_t *to, int64_t count);  // round to nearest even

  // y = x / rms(x) * weight, over n values. x and y may be the same.
  void (*rms_norm)(const float *x, const float *weight, float epsilon, int n, float *y);

  // Rotates pairs (i, i + pairs) of x by the angles given as cosine and sine, in place.
  void (*rope)(float *x, const float *cosine, const float *sine, int pairs);

  // gate = silu(gate) * up
  void (*silu_multiply)(float *gate, const float *up, int n);
  void (*add)(float *x, const float *y, int n);  // x += y

  // largest of n values; -inf when n is 0; NaNs are passed over
  float (*maximum)(const float *x, int n);
  // sum of exp(x[i] - shift); NaN when any x is
  double (*sum_exp)(const float *x, int n, float shift);
};

// The levels that this build has and this CPU (with its operating system) can run, best first.
const Kernels *const *usable_levels(int *count);

// The level to use: the best one, or the one that the environment variable SOUNDER_CPU names. nullptr
// and *problem set to a sentence when it names one that is unknown or cannot run here.
const Kernels *choose_level(const char **problem);

// Asks the operating system for the AMX tile registers, once for the process. False when it has none.
bool enable_amx();

}  // namespace sounder
