// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <instructions.cuh>

#include "find_best.h"
#include "values.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kNoToken = 0x7fffffff;
constexpr float kLargest = 3.402823466e38f;

struct Best {
  float value;
  int token;
};

__device__ Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.token < a.token) ? b : a;
}

__device__ Best warp_best(Best own) {
  for (int bits = 16; bits > 0; bits /= 2)
    own = better(
        own, {__shfl_xor_sync(0xffffffff, own.value, bits), __shfl_xor_sync(0xffffffff, own.token, bits)});
  return own;
}

// A thread block a part of a row.
__global__ void best_parts_kernel(const float *logits, int vocabulary, BestPart *parts) {
  __shared__ float values[kThreads / 32], sums[kThreads / 32];
  __shared__ int tokens[kThreads / 32], bads[kThreads / 32];
  const int count = gridDim.x, each = (vocabulary + count - 1) / count, first = blockIdx.x * each;
  const int end = first + each < vocabulary ? first + each : vocabulary;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float *row = logits + int64_t{blockIdx.y} * vocabulary;
  Best own{-kLargest, kNoToken};
  int bad = 0;
  for (int i = first + threadIdx.x; i < end; i += kThreads) {
    if (fabsf(row[i]) <= kLargest)
      own = better(own, {row[i], i});
    else
      bad = 1;
  }
  own = warp_best(own);
  if (lane == 0) values[warp] = own.value, tokens[warp] = own.token;
  __syncthreads();
  for (int i = 0; i < kThreads / 32; ++i) own = better(own, {values[i], tokens[i]});
  float sum = 0;
  for (int i = first + threadIdx.x; i < end; i += kThreads) sum += expf(row[i] - own.value);
  sum = warp_sum(sum);
  bad = static_cast<int>(warp_sum(static_cast<float>(bad)));
  if (lane == 0) sums[warp] = sum, bads[warp] = bad;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int i = 1; i < kThreads / 32; ++i) sum += sums[i], bad |= bads[i];
  parts[int64_t{blockIdx.y} * kBestParts + blockIdx.x] = {own.value, sum, own.token, bad};
}

// A warp a row, of so many parts.
__global__ void best_token_kernel(const BestPart *parts, int count, ChosenToken *best) {
  const BestPart *row = parts + int64_t{blockIdx.x} * kBestParts;
  Best own{-kLargest, kNoToken};
  float bad = 0;
  for (int i = threadIdx.x; i < count; i += 32) {
    own = better(own, {row[i].best, row[i].token});
    bad += row[i].bad != 0 ? 1.0f : 0.0f;
  }
  own = warp_best(own);
  float sum = 0;
  for (int i = threadIdx.x; i < count; i += 32) sum += row[i].sum * expf(row[i].best - own.value);
  sum = warp_sum(sum);
  bad = warp_sum(bad);
  // The logit itself cancels: the log-probability is that of exp(0) among the sum.
  if (threadIdx.x == 0) best[blockIdx.x] = {bad > 0 ? -1 : own.token, -logf(sum)};
}

}  // namespace

void find_best(cudaStream_t stream, const float *logits, int rows, int vocabulary, BestPart *parts,
               ChosenToken *best) {
  const int count = std::min((vocabulary + kThreads - 1) / kThreads, kBestParts);
  launch({stream}, best_parts_kernel, dim3(count, rows), kThreads, 0, logits, vocabulary, parts);
  launch({stream}, best_token_kernel, rows, 32, 0, static_cast<const BestPart *>(parts), count, best);
}

}  // namespace sounder::cuda
