// SPDX-License-Identifier: Apache-2.0
#include "../../../native/src/random.h"
#include "products.cuh"

namespace token_bench {

namespace {

using namespace sounder;
using namespace sounder::cuda;

constexpr unsigned kWarp = 0xffffffffu;
constexpr int kThreads = 256;

__device__ inline uint4 load_weights(const uint16_t *p) {
  uint4 x;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(p));
  return x;
}

__device__ inline uint32_t top_half(float x) {
  const uint32_t u = __float_as_uint(x);
  return (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}

__global__ void embedding_kernel(Embedding e) {
  let_next_start();
  wait_for_previous();
  const int t = static_cast<int>(blockIdx.x);
  const uint32_t token = ~static_cast<uint32_t>(e.best[t]);
  for (int i = static_cast<int>(threadIdx.x); i < e.hidden; i += kThreads)
    e.x[int64_t{t} * e.hidden + i] =
        50.0f * __uint_as_float(uint32_t{e.table[int64_t{token} * e.hidden + i]} << 16);
  __syncthreads();
  if (threadIdx.x != 0) return;
  e.best[t] = 0;
  *reinterpret_cast<uint64_t *>(reinterpret_cast<char *>(e.seeds) + t * e.seed_stride) += 1;
}

__global__ void best_kernel(const float *logits, int vocabulary, uint64_t *best) {
  let_next_start();
  wait_for_previous();
  const int t = static_cast<int>(blockIdx.y);
  unsigned long long most = 0;
  for (int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); i < vocabulary;
       i += static_cast<int>(gridDim.x) * kThreads) {
    const uint32_t bits = __float_as_uint(logits[int64_t{t} * vocabulary + i]);
    const uint32_t sorted = bits >> 31 ? ~bits : bits | 0x80000000u;
    const unsigned long long own = static_cast<unsigned long long>(sorted) << 32 | ~static_cast<uint32_t>(i);
    most = own > most ? own : most;
  }
  for (int half = 16; half > 0; half /= 2) {
    const unsigned long long other = __shfl_xor_sync(kWarp, most, half);
    most = other > most ? other : most;
  }
  if (threadIdx.x % 32 == 0) atomicMax(reinterpret_cast<unsigned long long *>(best + t), most);
}

__global__ void fill_kernel(uint16_t *values, int64_t count, uint64_t seed, float deviation) {
  // The sum of four bytes: variance 4 · (256² - 1) / 12.
  const float scale = deviation / 147.8f;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count / 2;
       i += int64_t{gridDim.x} * kThreads) {
    const uint64_t bits = mix_bits(seed * 0x9e3779b97f4a7c15u + static_cast<uint64_t>(i));
    auto value = [&](uint32_t x) {
      const uint32_t sum = (x & 255u) + (x >> 8 & 255u) + (x >> 16 & 255u) + (x >> 24);
      return top_half((static_cast<float>(sum) - 510.0f) * scale);
    };
    reinterpret_cast<uint32_t *>(values)[i] =
        value(static_cast<uint32_t>(bits)) | value(static_cast<uint32_t>(bits >> 32)) << 16;
  }
}

__global__ void read_kernel(const uint4 *data, int64_t count, uint32_t *sink) {
  uint32_t sum = 0;
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    uint4 x[4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      x[j] = load_weights(reinterpret_cast<const uint16_t *>(data + i + j * stride));
#pragma unroll
    for (int j = 0; j < 4; ++j) sum += x[j].x ^ x[j].y ^ x[j].z ^ x[j].w;
  }
  if (sum == 0x12345u) *sink = sum;
}

}  // namespace

void launch_embedding(const Launcher &launcher, const Embedding &embedding, int tokens) {
  launch(launcher, embedding_kernel, dim3(static_cast<unsigned>(tokens)), kThreads, 0, embedding);
}
void launch_best(const Launcher &launcher, const float *logits, int vocabulary, uint64_t *best, int tokens) {
  launch(launcher, best_kernel, dim3(64, static_cast<unsigned>(tokens)), kThreads, 0, logits, vocabulary,
         best);
}
void launch_fill(const Launcher &launcher, uint16_t *values, int64_t count, uint64_t seed, float deviation) {
  Launcher alone = launcher;
  alone.overlap = false;
  launch(alone, fill_kernel, dim3(static_cast<unsigned>(16 * launcher.multiprocessors)), kThreads, 0, values,
         count, seed, deviation);
}
void launch_read(const Launcher &launcher, const void *data, int64_t bytes, uint32_t *sink) {
  Launcher alone = launcher;
  alone.overlap = false;
  launch(alone, read_kernel, dim3(static_cast<unsigned>(8 * launcher.multiprocessors)), kThreads, 0,
         static_cast<const uint4 *>(data), bytes / 16, sink);
}

}  // namespace token_bench
