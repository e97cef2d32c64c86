// SPDX-License-Identifier: Apache-2.0
#include "../../../native/src/random.h"
#include "products.cuh"

namespace token_bench {

namespace {

using namespace sounder;
using namespace sounder::cuda;

constexpr unsigned kWarp = 0xffffffffu;
constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kStep = 64;  // columns that a warp takes at a time, of 16 rows
constexpr int kPad = 32;   // values between columns of B, so that readers use all banks
constexpr int kAhead = 2;  // steps whose weights are under way

__device__ inline uint4 load_weights(const uint16_t *p) {
  uint4 x;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(p));
  return x;
}

__device__ inline void mma_bf16(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ inline uint32_t top_half(float x) {
  const uint32_t u = __float_as_uint(x);
  return (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}

__device__ inline float block_sum(float x, float *parts) {
  for (int half = 16; half > 0; half /= 2) x += __shfl_xor_sync(kWarp, x, half);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.0f;
  for (int w = 0; w < kWarps; ++w) sum += parts[w];
  __syncthreads();
  return sum;
}

// Columns 2 t and 2 t + 1 of B: token t's x in two bf16, the second what the first leaves.
__device__ inline void stage_x(const Product &p, int tokens, uint16_t *b, float *parts) {
  const int stride = p.columns + kPad;
  for (int t = 0; t < tokens; ++t) {
    const auto *x = reinterpret_cast<const float4 *>(p.x + int64_t{t} * p.columns);
    float scale = 1.0f;
    if (p.norm != nullptr) {
      float square = 0.0f;
      for (int i = static_cast<int>(threadIdx.x); i < p.columns / 4; i += kThreads) {
        const float4 v = x[i];
        square += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
      }
      scale = rsqrtf(block_sum(square, parts) / static_cast<float>(p.columns) + 1e-5f);
    }
    for (int i = static_cast<int>(threadIdx.x); i < p.columns / 4; i += kThreads) {
      const float4 v = x[i];
      float values[4] = {v.x, v.y, v.z, v.w};
      uint32_t high[4], low[4];
      for (int j = 0; j < 4; ++j) {
        if (p.norm != nullptr) values[j] *= scale * __ldg(p.norm + 4 * i + j);
        high[j] = top_half(values[j]);
        low[j] = top_half(values[j] - __uint_as_float(high[j] << 16));
      }
      auto put = [&](int column, const uint32_t(&halves)[4]) {
        *reinterpret_cast<uint2 *>(b + int64_t{column} * stride + 4 * i) =
            make_uint2(halves[0] | halves[1] << 16, halves[2] | halves[3] << 16);
      };
      put(2 * t, high);
      put(2 * t + 1, low);
    }
  }
}

// The columns of a row that a lane holds lie 8 and 8 together; that the products of a step come in another
// order than the fragments' does not matter, as A and B agree.
struct Weights {
  uint4 rows[2][2];
  __device__ void load(const uint16_t *upper, const uint16_t *lower, int column) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      rows[i][0] = load_weights(upper + column + 32 * i);
      rows[i][1] = load_weights(lower + column + 32 * i);
    }
  }
};

__device__ inline void multiply(const Weights &w, const uint16_t *b, bool has_column, float (&sums)[4]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    uint4 x = make_uint4(0, 0, 0, 0);
    if (has_column) x = *reinterpret_cast<const uint4 *>(b + 32 * i);
    const uint4 &u = w.rows[i][0], &l = w.rows[i][1];
    mma_bf16(sums, u.x, l.x, u.y, l.y, x.x, x.y);
    mma_bf16(sums, u.z, l.z, u.w, l.w, x.z, x.w);
  }
}

__device__ inline void finish(const Product &p, int tokens, const float (&sums)[4], float *shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  if (lane % 4 < tokens) {
    shared[(warp * 16 + lane / 4) * kMostTokens + lane % 4] = sums[0] + sums[1];
    shared[(warp * 16 + lane / 4 + 8) * kMostTokens + lane % 4] = sums[2] + sums[3];
  }
  __syncthreads();
  const int row = static_cast<int>(threadIdx.x) / kMostTokens,
            token = static_cast<int>(threadIdx.x) % kMostTokens;
  if (row >= 16 || token >= tokens) return;
  float sum = 0.0f, up = 0.0f;
  for (int w = 0; w < kWarps; ++w) sum += shared[(w * 16 + row) * kMostTokens + token];
  if (p.into == Into::kActivated) {
    if (row >= 8) return;
    for (int w = 0; w < kWarps; ++w) up += shared[(w * 16 + row + 8) * kMostTokens + token];
    const int64_t place = int64_t{token} * (p.rows / 2) + int64_t{blockIdx.x} * 8 + row;
    p.y[place] = sum / (1.0f + __expf(-sum)) * up;
    return;
  }
  const int64_t place = int64_t{token} * p.rows + int64_t{blockIdx.x} * 16 + row;
  p.y[place] = p.into == Into::kResidual ? p.y[place] + sum : sum;
}

__global__ void __launch_bounds__(kThreads, 3) product_kernel(Product p, int tokens) {
  __shared__ float parts[kWarps], shared[kWarps * 16 * kMostTokens];
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const bool is_activated = p.into == Into::kActivated;
  const int64_t row = is_activated ? int64_t{blockIdx.x} * 8 + lane / 4 : int64_t{blockIdx.x} * 16 + lane / 4;
  const uint16_t *upper = p.weights + row * p.columns + lane % 4 * 8;
  const uint16_t *lower = upper + int64_t{is_activated ? p.rows / 2 : 8} * p.columns;
  Weights ahead[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) ahead[i].load(upper, lower, (warp + kWarps * i) * kStep);
  wait_for_previous();
  uint16_t *b = dynamic_shared<uint16_t>();
  stage_x(p, tokens, b, parts);
  __syncthreads();
  const uint16_t *column = b + int64_t{lane / 4} * (p.columns + kPad) + lane % 4 * 8;
  const bool has_column = lane / 4 < 2 * tokens;
  float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  const int steps = p.columns / (kStep * kWarps);
  for (int s = 0; s < steps; s += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (s + i >= steps) break;
      const int at = (warp + kWarps * (s + i)) * kStep;
      const Weights own = ahead[i];
      if (s + i + kAhead < steps) ahead[i].load(upper, lower, at + kAhead * kWarps * kStep);
      multiply(own, column + at, has_column, sums);
    }
  }
  finish(p, tokens, sums, shared);
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

void launch_product(const Launcher &launcher, const Product &product, int tokens) {
  const size_t bytes = sizeof(uint16_t) * 2 * static_cast<size_t>(tokens) * (product.columns + kPad);
  launch(launcher, product_kernel, dim3(static_cast<unsigned>(product.rows) / 16), kThreads, bytes, product,
         tokens);
}
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
