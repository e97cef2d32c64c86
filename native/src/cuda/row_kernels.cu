// SPDX-License-Identifier: Apache-2.0
#include <instructions.cuh>

#include "kv_layout.cuh"
#include "row_kernels.h"
#include "values.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 256;
// Rows up to which a device is far from full, so that more threads a row are quicker.
constexpr int kFewRows = 16;

template <typename T>
__global__ void embed_kernel(const Row *rows, const ChosenToken *found, const T *table, int width, float *x) {
  const int given = rows[blockIdx.x].token, token = given >= 0 ? given : found[blockIdx.x].token;
  const T *from = table + int64_t{token >= 0 ? token : 0} * width;  // a row that fails is computed on
  float *to = x + int64_t{blockIdx.x} * width;
  for (int i = threadIdx.x; i < width; i += blockDim.x) to[i] = widen(from[i]);
}

// Cosine and sine in double precision: as on the CPU, they are those of the float32 angle, rounded once.
__global__ void rotate_table_kernel(const Row *rows, const float *frequencies, int pairs, float scale,
                                    float *cosine, float *sine) {
  const float position = static_cast<float>(rows[blockIdx.x].position);
  for (int i = threadIdx.x; i < pairs; i += blockDim.x) {
    const double angle = __fmul_rn(position, frequencies[i]);
    const int64_t place = int64_t{blockIdx.x} * pairs + i;
    cosine[place] = static_cast<float>(cos(angle)) * scale;
    sine[place] = static_cast<float>(sin(angle)) * scale;
  }
}

__device__ float block_sum(float value) {
  __shared__ float sums[32];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  const int warps = blockDim.x / 32;
  value = threadIdx.x % 32 < warps ? sums[threadIdx.x % 32] : 0.0f;
  return warp_sum(value);
}

template <typename T>
__global__ void rms_norm_kernel(const float *x, const float *weight, float epsilon, int width, T *normed) {
  const float *from = x + int64_t{blockIdx.x} * width;
  T *to = normed + int64_t{blockIdx.x} * width;
  float sum = 0;
  for (int i = threadIdx.x; i < width; i += blockDim.x) sum += from[i] * from[i];
  const float scale = 1.0f / sqrtf(block_sum(sum) / width + epsilon);
  for (int i = threadIdx.x; i < width; i += blockDim.x) to[i] = narrow<T>(from[i] * scale * weight[i]);
}

// One warp a head of a row; the heads are those of q, k and v one after another.
template <typename T>
__global__ void append_kernel(AppendCall call) {
  constexpr int kMostDim = 256;
  __shared__ float shared[kThreads / 32][kMostDim];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int head = blockIdx.y * (blockDim.x / 32) + warp, row = blockIdx.x;
  const int dim = call.head_dim, q_heads = call.heads, rotated_heads = q_heads + call.kv_heads;
  if (head >= rotated_heads + call.kv_heads) return;
  float *values = shared[warp];
  float *from = call.qkv + (int64_t{row} * (rotated_heads + call.kv_heads) + head) * dim;
  float squares = 0;
  for (int i = lane; i < dim; i += 32) {
    const float value = from[i] + (call.bias == nullptr ? 0.0f : call.bias[head * dim + i]);
    values[i] = value;
    squares += value * value;
  }
  const float *norm = head < q_heads ? call.q_norm : head < rotated_heads ? call.k_norm : nullptr;
  if (norm != nullptr) {
    const float scale = 1.0f / sqrtf(warp_sum(squares) / dim + call.epsilon);
    for (int i = lane; i < dim; i += 32) values[i] *= scale * norm[i];
  }
  __syncwarp();
  if (head < rotated_heads) {
    for (int i = lane; i < call.pairs; i += 32) {
      const int64_t place = int64_t{row} * call.pairs + i;
      const float low = values[i], high = values[i + call.pairs];
      values[i] = low * call.cosine[place] - high * call.sine[place];
      values[i + call.pairs] = high * call.cosine[place] + low * call.sine[place];
    }
  }
  __syncwarp();
  T *to;
  if (head < q_heads) {
    to = static_cast<T *>(call.q_out) + (int64_t{row} * q_heads + head) * dim;
  } else {
    const Row place = call.rows[row];
    const int32_t *table = call.tables + int64_t{place.sequence} * call.table_width;
    const bool is_v = head >= rotated_heads;
    to = kv_row(static_cast<T *>(call.slab), table, call.kv_heads,
                is_v ? head - rotated_heads : head - q_heads, dim, place.position) +
         (is_v ? dim : 0);
  }
  for (int i = lane; i < dim; i += 32) {
    to[i] = narrow<T>(values[i]);
    if (call.keep) from[i] = values[i];
  }
}

template <typename T>
__global__ void silu_kernel(const T *gate_up, int width, T *activated) {
  const int i = blockIdx.y * blockDim.x + threadIdx.x;
  if (i >= width) return;
  const int64_t row = blockIdx.x;
  const float gate = widen(gate_up[row * 2 * width + i]), up = widen(gate_up[row * 2 * width + width + i]);
  activated[row * width + i] = narrow<T>(gate / (1.0f + expf(-gate)) * up);
}

__global__ void gather_kernel(const uint32_t *from, int64_t stride, const int32_t *kept, int64_t words,
                              uint32_t *to) {
  const uint32_t *source = from + kept[blockIdx.x] * stride;
  for (int64_t i = threadIdx.x; i < words; i += blockDim.x) to[blockIdx.x * words + i] = source[i];
}

unsigned blocks_for(int64_t count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

}  // namespace

void embed(cudaStream_t stream, const Row *rows, const ChosenToken *found, int count, const void *table,
           int width, bool f32, float *x) {
  if (f32)
    launch({stream}, embed_kernel<float>, count, kThreads, 0, rows, found, static_cast<const float *>(table),
           width, x);
  else
    launch({stream}, embed_kernel<bf16>, count, kThreads, 0, rows, found, static_cast<const bf16 *>(table),
           width, x);
}

void rotate_table(cudaStream_t stream, const Row *rows, int count, const float *frequencies, int pairs,
                  float scale, float *cosine, float *sine) {
  if (pairs == 0) return;
  launch({stream}, rotate_table_kernel, count, 64, 0, rows, frequencies, pairs, scale, cosine, sine);
}

void rms_norm(cudaStream_t stream, const float *x, const float *weight, float epsilon, int count, int width,
              bool f32, void *normed) {
  const int threads = count <= kFewRows ? 1024 : kThreads;
  if (f32)
    launch({stream}, rms_norm_kernel<float>, count, threads, 0, x, weight, epsilon, width,
           static_cast<float *>(normed));
  else
    launch({stream}, rms_norm_kernel<bf16>, count, threads, 0, x, weight, epsilon, width,
           static_cast<bf16 *>(normed));
}

void rotate_and_append(cudaStream_t stream, const AppendCall &call) {
  const int heads = call.heads + 2 * call.kv_heads, warps = 4;
  const dim3 grid(call.count, (heads + warps - 1) / warps);
  if (call.f32)
    launch({stream}, append_kernel<float>, grid, 32 * warps, 0, call);
  else
    launch({stream}, append_kernel<bf16>, grid, 32 * warps, 0, call);
}

void silu_multiply(cudaStream_t stream, const void *gate_up, int count, int width, bool f32,
                   void *activated) {
  const dim3 grid(count, blocks_for(width));
  if (f32)
    launch({stream}, silu_kernel<float>, grid, kThreads, 0, static_cast<const float *>(gate_up), width,
           static_cast<float *>(activated));
  else
    launch({stream}, silu_kernel<bf16>, grid, kThreads, 0, static_cast<const bf16 *>(gate_up), width,
           static_cast<bf16 *>(activated));
}

void gather_rows(cudaStream_t stream, const void *from, int64_t stride, const int32_t *kept, int count,
                 int64_t row_bytes, void *to) {
  if (count == 0) return;
  launch({stream}, gather_kernel, count, kThreads, 0, static_cast<const uint32_t *>(from), stride / 4, kept,
         row_bytes / 4, static_cast<uint32_t *>(to));
}

}  // namespace sounder::cuda
