// SPDX-License-Identifier: Apache-2.0
//
// What every op means, in plain loops and double precision: the judge of all kernels. Slow on purpose.
// Matrices are row-major without gaps.
#pragma once

#include <cstdint>
#include <vector>

namespace sounder::reference {

// The values of bf16 or f32 arrays as doubles.
std::vector<double> widen(const uint16_t *bf16, int64_t count);
std::vector<double> widen(const float *f32, int64_t count);

// y[t, r] = sum over c of w[r, c] * x[t, c] + bias[r]; bias may be nullptr
void matmul(const double *w, int rows, int columns, const double *x, int tokens, const double *bias,
            double *y);

// y = x / sqrt(mean(x²) + epsilon) * weight; x and y may be the same
void rms_norm(const double *x, const double *weight, double epsilon, int n, double *y);

// x[i], x[i + pairs] = x[i] cos − x[i + pairs] sin, x[i + pairs] cos + x[i] sin
void rope(double *x, const double *cosine, const double *sine, int pairs);

// gate = gate / (1 + exp(−gate)) * up
void silu_multiply(double *gate, const double *up, int n);

double maximum(const double *x, int n);
double sum_exp(const double *x, int n, double shift);

// x = exp(x) / sum of exp(x)
void softmax(double *x, int n);

// How queries see keys. Query t of `tokens` stands at position + t and attends the keys up to there; with
// a sliding window w only the last w of them (0: all).
struct AttentionFigures {
  int tokens, position;
  int heads, kv_heads, head_dim;
  int sliding_window;
};

// q [tokens, heads * head_dim], k and v [position + tokens, kv_heads * head_dim] → output as q.
// Query head h reads KV head h / (heads / kv_heads); scores are q · k / sqrt(head_dim).
void attention(const AttentionFigures &figures, const double *q, const double *k, const double *v,
               double *output);

}  // namespace sounder::reference
