// SPDX-License-Identifier: Apache-2.0
#include "ops.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace sounder::reference {

std::vector<double> widen(const uint16_t *bf16, int64_t count) {
  std::vector<double> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = std::bit_cast<float>(uint32_t{bf16[i]} << 16);
  return values;
}

std::vector<double> widen(const float *f32, int64_t count) { return {f32, f32 + count}; }

void matmul(const double *w, int rows, int columns, const double *x, int tokens, const double *bias,
            double *y) {
  for (int t = 0; t < tokens; ++t) {
    for (int r = 0; r < rows; ++r) {
      double sum = bias ? bias[r] : 0;
      for (int c = 0; c < columns; ++c) sum += w[int64_t{r} * columns + c] * x[int64_t{t} * columns + c];
      y[int64_t{t} * rows + r] = sum;
    }
  }
}

void rms_norm(const double *x, const double *weight, double epsilon, int n, double *y) {
  double squares = 0;
  for (int i = 0; i < n; ++i) squares += x[i] * x[i];
  double scale = 1 / std::sqrt(squares / n + epsilon);
  for (int i = 0; i < n; ++i) y[i] = x[i] * scale * weight[i];
}

void rope(double *x, const double *cosine, const double *sine, int pairs) {
  for (int i = 0; i < pairs; ++i) {
    double a = x[i], b = x[i + pairs];
    x[i] = a * cosine[i] - b * sine[i];
    x[i + pairs] = b * cosine[i] + a * sine[i];
  }
}

void silu_multiply(double *gate, const double *up, int n) {
  for (int i = 0; i < n; ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
}

double maximum(const double *x, int n) {
  double most = -std::numeric_limits<double>::infinity();
  for (int i = 0; i < n; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

double sum_exp(const double *x, int n, double shift) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += std::exp(x[i] - shift);
  return sum;
}

void softmax(double *x, int n) {
  double most = maximum(x, n), sum = sum_exp(x, n, most);
  for (int i = 0; i < n; ++i) x[i] = std::exp(x[i] - most) / sum;
}

namespace {

void attend_one(const AttentionFigures &figures, int token, int head, const double *q, const double *k,
                const double *v, double *output) {
  const int d = figures.head_dim, kv_stride = figures.kv_heads * d;
  const int kv_start = head / (figures.heads / figures.kv_heads) * d;
  const int end = figures.position + token + 1;
  const int first = figures.sliding_window > 0 ? std::max(0, end - figures.sliding_window) : 0;
  std::vector<double> weights(end - first);
  for (int key = first; key < end; ++key) {
    double score = 0;
    for (int i = 0; i < d; ++i) score += q[i] * k[int64_t{key} * kv_stride + kv_start + i];
    weights[key - first] = score / std::sqrt(static_cast<double>(d));
  }
  softmax(weights.data(), end - first);
  for (int i = 0; i < d; ++i) {
    double sum = 0;
    for (int key = first; key < end; ++key) {
      sum += weights[key - first] * v[int64_t{key} * kv_stride + kv_start + i];
    }
    output[i] = sum;
  }
}

}  // namespace

void attention(const AttentionFigures &figures, const double *q, const double *k, const double *v,
               double *output) {
  const int d = figures.head_dim;
  for (int token = 0; token < figures.tokens; ++token) {
    for (int head = 0; head < figures.heads; ++head) {
      int64_t at = (int64_t{token} * figures.heads + head) * d;
      attend_one(figures, token, head, q + at, k, v, output + at);
    }
  }
}

}  // namespace sounder::reference
