// SPDX-License-Identifier: Apache-2.0
//
// Attention in float32: 128 keys at a time, each scored by one thread, with online softmax. It is for tests,
// and slow.
#include <cmath>
#include <instructions.cuh>

#include "attend.h"
#include "kv_layout.cuh"
#include "values.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 128, kMostDim = 256;

template <bool kMaximum>
__device__ float over_block(float value) {
  __shared__ float parts[kThreads / 32];
  value = kMaximum ? warp_max(value) : warp_sum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  for (int i = 0; i < kThreads / 32; ++i)
    value = i == 0 ? parts[0] : kMaximum ? fmaxf(value, parts[i]) : value + parts[i];
  return value;
}

__global__ void rows_kernel(AttendCall call, AttentionShape shape, const Row *rows) {
  __shared__ float q[kMostDim], weights[kThreads];
  const Row row = rows[blockIdx.x];
  const int dim = shape.head_dim, head = blockIdx.y, kv_head = head / (shape.heads / shape.kv_heads);
  const int64_t place = (int64_t{blockIdx.x} * shape.heads + head) * dim;
  const float *slab = static_cast<const float *>(call.slab), scale = rsqrtf(static_cast<float>(dim));
  const int32_t *table = call.tables + int64_t{row.sequence} * call.table_width;
  for (int i = threadIdx.x; i < dim; i += kThreads) q[i] = static_cast<const float *>(call.q)[place + i];
  __syncthreads();
  const int end = row.position + 1, window = shape.sliding_window;
  float m = -INFINITY, l = 0, output[kMostDim / kThreads] = {};
  for (int first = window > 0 ? max(0, end - window) : 0; first < end; first += kThreads) {
    const int key = first + int(threadIdx.x);
    float score = -INFINITY;
    if (key < end) {
      const float *k = kv_row(slab, table, shape.kv_heads, kv_head, dim, key);
      score = 0;
      for (int i = 0; i < dim; ++i) score += q[i] * k[i];
      score *= scale;
    }
    const float most = fmaxf(m, over_block<true>(score)), shrink = expf(m - most);
    const float weight = expf(score - most);
    m = most;
    l = l * shrink + over_block<false>(weight);
    weights[threadIdx.x] = weight;
    __syncthreads();
    for (int part = 0; part < kMostDim / kThreads; ++part) {
      const int column = part * kThreads + int(threadIdx.x);
      if (column >= dim) continue;
      output[part] *= shrink;
      for (int i = 0; i < min(kThreads, end - first); ++i)
        output[part] +=
            weights[i] * kv_row(slab, table, shape.kv_heads, kv_head, dim, first + i)[dim + column];
    }
    __syncthreads();
  }
  for (int part = 0; part < kMostDim / kThreads; ++part) {
    const int column = part * kThreads + int(threadIdx.x);
    if (column < dim) static_cast<float *>(call.output)[place + column] = output[part] / l;
  }
}

}  // namespace

void attend_rows(cudaStream_t stream, const AttentionShape &shape, const AttendCall &call, const Row *rows,
                 int count) {
  if (count == 0) return;
  launch({stream}, rows_kernel, dim3(count, shape.heads), kThreads, 0, call, shape, rows);
}

}  // namespace sounder::cuda
