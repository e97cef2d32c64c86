// SPDX-License-Identifier: Apache-2.0
//
// Few tokens: every weight is read once, as fast as memory gives it. A warp takes two rows of W, its lanes 16
// bytes of each at a time, and multiplies them with all tokens' x, which stays in the first cache.
#include <instructions.cuh>

#include "products.h"
#include "values.cuh"

namespace sounder::cuda {

namespace {

constexpr int kWarps = 4;
// Pieces of a row that a lane has on their way at once.
constexpr int kAhead = 4;

// The two rows of a warp: neighbours, or a row of gate and the same of up.
__device__ inline int2 rows_of(int pair, int rows, bool activated) {
  return activated ? make_int2(pair, rows / 2 + pair) : make_int2(2 * pair, 2 * pair + 1);
}

template <typename T, int TOKENS>
__device__ inline void multiply_piece(const uint4 &first, const uint4 &second, const T *x, int columns,
                                      float (&sums)[2][TOKENS]) {
  constexpr int kValues = Vector<T>::kValues;
  float a[kValues], b[kValues];
  Vector<T>::widen(first, a);
  Vector<T>::widen(second, b);
#pragma unroll
  for (int t = 0; t < TOKENS; ++t) {
    float values[kValues];
    Vector<T>::widen(__ldg(reinterpret_cast<const uint4 *>(x + int64_t{t} * columns)), values);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      sums[0][t] += a[i] * values[i];
      sums[1][t] += b[i] * values[i];
    }
  }
}

template <typename T>
__device__ inline void put(Into into, void *y, int64_t place, float sum) {
  if (into == Into::kFloats) static_cast<float *>(y)[place] = sum;
  if (into == Into::kResidual) static_cast<float *>(y)[place] += sum;
  if (into == Into::kValues) static_cast<T *>(y)[place] = narrow<T>(sum);
}

template <typename T, int TOKENS>
__global__ void __launch_bounds__(32 * kWarps)
    gemv_kernel(const T *w, int rows, int columns, const T *x, Into into, void *y) {
  constexpr int kValues = Vector<T>::kValues;
  const int lane = threadIdx.x % 32, pair = blockIdx.x * kWarps + threadIdx.x / 32;
  if (2 * pair >= rows) return;
  const int2 mine = rows_of(pair, rows, into == Into::kActivated);
  const bool two = mine.y < rows;
  const uint4 *first = reinterpret_cast<const uint4 *>(w + int64_t{mine.x} * columns);
  const uint4 *second = two ? reinterpret_cast<const uint4 *>(w + int64_t{mine.y} * columns) : first;
  float sums[2][TOKENS] = {};
  const int pieces = columns / kValues;
  int piece = lane;
  for (; piece + 32 * (kAhead - 1) < pieces; piece += 32 * kAhead) {
    uint4 a[kAhead], b[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      a[i] = __ldcs(first + piece + 32 * i);
      b[i] = __ldcs(second + piece + 32 * i);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      multiply_piece<T, TOKENS>(a[i], b[i], x + int64_t{piece + 32 * i} * kValues, columns, sums);
  }
  for (; piece < pieces; piece += 32)
    multiply_piece<T, TOKENS>(__ldcs(first + piece), __ldcs(second + piece), x + int64_t{piece} * kValues,
                              columns, sums);
#pragma unroll
  for (int t = 0; t < TOKENS; ++t) {
    const float low = warp_sum(sums[0][t]), high = warp_sum(sums[1][t]);
    if (lane != 0) continue;
    if (into == Into::kActivated) {
      const float gate = low / (1.0f + expf(-low));
      static_cast<T *>(y)[int64_t{t} * (rows / 2) + pair] = narrow<T>(gate * high);
      continue;
    }
    put<T>(into, y, int64_t{t} * rows + mine.x, low);
    if (two) put<T>(into, y, int64_t{t} * rows + mine.y, high);
  }
}

template <typename T, int TOKENS>
void stream_rows(cudaStream_t stream, const WeightMatrix &w, const void *x, Into into, void *y) {
  const int pairs = (w.rows + 1) / 2;
  launch({stream}, gemv_kernel<T, TOKENS>, (pairs + kWarps - 1) / kWarps, 32 * kWarps, 0,
         static_cast<const T *>(w.data), w.rows, w.columns, static_cast<const T *>(x), into, y);
}

template <typename T>
void stream_rows(cudaStream_t stream, const WeightMatrix &w, const void *x, int tokens, Into into, void *y) {
  if (tokens == 1) stream_rows<T, 1>(stream, w, x, into, y);
  if (tokens == 2) stream_rows<T, 2>(stream, w, x, into, y);
  if (tokens == 3) stream_rows<T, 3>(stream, w, x, into, y);
  if (tokens == 4) stream_rows<T, 4>(stream, w, x, into, y);
  static_assert(kStreamTokens == 4);
}

}  // namespace

bool can_stream(const WeightMatrix &w, int tokens) {
  return tokens <= kStreamTokens && w.columns % (w.is_f32 ? 4 : 8) == 0;
}

void stream_weights(cudaStream_t stream, const WeightMatrix &w, const void *x, int tokens, Into into,
                    void *y) {
  if (w.is_f32)
    stream_rows<float>(stream, w, x, tokens, into, y);
  else
    stream_rows<bf16>(stream, w, x, tokens, into, y);
}

}  // namespace sounder::cuda
