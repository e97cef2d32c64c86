// SPDX-License-Identifier: Apache-2.0
#include <instructions.cuh>

#include "kv_kernels.h"
#include "kv_layout.cuh"
#include "kv_noise.h"
#include "values.cuh"

namespace sounder::cuda {

namespace {

__global__ void copy_kernel(char *const *slabs, int kv_heads, int64_t row_bytes, int32_t from, int32_t to,
                            int tokens) {
  const int64_t block_bytes = kBlockTokens * row_bytes, head = blockIdx.x;
  char *slab = slabs[blockIdx.y];
  const uint32_t *source =
      reinterpret_cast<const uint32_t *>(slab + (from * int64_t{kv_heads} + head) * block_bytes);
  uint32_t *target = reinterpret_cast<uint32_t *>(slab + (to * int64_t{kv_heads} + head) * block_bytes);
  const int64_t words = tokens * row_bytes / 4;
  for (int64_t i = threadIdx.x; i < words; i += blockDim.x) target[i] = source[i];
}

// 16 bytes a thread: over the bus it is the number of reads on their way that counts.
__global__ void copy_block_kernel(const char *from, char *to, int64_t block_bytes, int64_t bytes) {
  const int64_t start = blockIdx.y * block_bytes;
  const int64_t at = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 16;
  if (at + 16 <= bytes) {
    *reinterpret_cast<uint4 *>(to + start + at) = *reinterpret_cast<const uint4 *>(from + start + at);
    return;
  }
  for (int64_t i = at; i < bytes; i += 4)
    *reinterpret_cast<uint32_t *>(to + start + i) = *reinterpret_cast<const uint32_t *>(from + start + i);
}

template <typename T>
__global__ void noise_kernel(T *slab, int layer, const int32_t *table, int kv_heads, int dim, int first,
                             uint32_t seed) {
  const int position = first + int(blockIdx.x), head = blockIdx.y;
  T *row = kv_row(slab, table, kv_heads, head, dim, position);
  for (int i = threadIdx.x; i < 2 * dim; i += blockDim.x)
    row[i] = narrow<T>(kv_noise(seed, layer, position, head, i, dim));
}

}  // namespace

void copy_rows(cudaStream_t stream, char *const *slabs, int layers, int kv_heads, int64_t row_bytes,
               int32_t from, int32_t to, int tokens) {
  launch({stream}, copy_kernel, dim3(kv_heads, layers), 256, 0, slabs, kv_heads, row_bytes, from, to, tokens);
}

void copy_block_rows(cudaStream_t stream, const char *from, char *to, int kv_heads, int64_t row_bytes,
                     int tokens) {
  const int64_t bytes = tokens * row_bytes, pieces = (bytes + 15) / 16;
  const dim3 grid(static_cast<unsigned>((pieces + 255) / 256), kv_heads);
  launch({stream}, copy_block_kernel, grid, 256, 0, from, to, kBlockTokens * row_bytes, bytes);
}

void fill_noise(cudaStream_t stream, void *slab, int layer, const int32_t *table, int kv_heads, int head_dim,
                bool f32, int first, int end, uint32_t seed) {
  const dim3 grid(end - first, kv_heads);
  if (f32)
    launch({stream}, noise_kernel<float>, grid, 128, 0, static_cast<float *>(slab), layer, table, kv_heads,
           head_dim, first, seed);
  else
    launch({stream}, noise_kernel<bf16>, grid, 128, 0, static_cast<bf16 *>(slab), layer, table, kv_heads,
           head_dim, first, seed);
}

}  // namespace sounder::cuda
