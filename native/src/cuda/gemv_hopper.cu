// SPDX-License-Identifier: Apache-2.0
//
// Few tokens on Hopper: a warp of each thread block lets the copy engine bring weights into a ring in shared
// memory, far ahead of eight warps that multiply. One block to a multiprocessor goes from tile to tile of 16
// rows, and as soon as it ends, the next product's block fills its own ring: weights do not depend on what
// other blocks still compute.
#include <algorithm>
#include <instructions.cuh>

#include "hopper.cuh"
#include "products.h"
#include "values.cuh"

namespace sounder::cuda {

namespace {

constexpr int kWarps = 8, kConsumers = 32 * kWarps, kThreads = kConsumers + 32;
constexpr int kRows = 16;  // of a tile, and of a stage of the ring
// Readers of 16 bytes in two rows each use all banks where rows lie half of 128 bytes apart.
constexpr int kPad = 64;
// A multiprocessor's shared memory is given out whole, so that blocks of one product never share one.
constexpr int kLeastStages = 3, kMostStages = 12, kSharedBytes = (227 << 10) - 512;

struct StreamArgs {
  const bf16 *w;
  Activations x;
  void *y;
  int rows, columns, tokens;
  Into into;
  int width = 0, stages = 0;  // columns of a stage; stages

  __host__ __device__ int steps() const { return (columns + width - 1) / width; }
  __host__ __device__ int pitch() const { return 2 * width + kPad; }
  __host__ __device__ int stage_bytes() const { return kRows * pitch(); }
  __host__ __device__ int rows_of_tile() const { return into == Into::kActivated ? kRows / 2 : kRows; }
  __host__ __device__ int result_rows() const { return into == Into::kActivated ? rows / 2 : rows; }
  __host__ __device__ int tiles() const { return (result_rows() + rows_of_tile() - 1) / rows_of_tile(); }
  __host__ __device__ int x_pitch() const { return steps() * 2 * width + kPad; }
  __host__ __device__ int sum_floats() const { return kWarps * kRows * tokens; }
  __host__ __device__ int fixed_bytes() const { return 8 * sum_floats() + tokens * x_pitch(); }
  // The row of w that is row r of a tile; -1: there is none. With kActivated rows of gate, then those of up.
  __device__ int row(int tile, int r) const {
    const int own = tile * rows_of_tile() + r % rows_of_tile();
    return own < result_rows() ? own + r / rows_of_tile() * result_rows() : -1;
  }
};

// Which stage of the ring is next, and in which of its turns.
struct Turn {
  int stage = 0, parity = 0;
  __device__ void advance(int stages) {
    if (++stage < stages) return;
    stage = 0;
    parity ^= 1;
  }
};

struct Shared {
  uint64_t full[kMostStages], empty[kMostStages];
  float parts[kWarps];
};

struct Places {
  float *sums;  // [2][warps][16 rows][tokens]
  char *x, *ring;
  __device__ explicit Places(const StreamArgs &args) {
    sums = dynamic_shared<float>();
    x = reinterpret_cast<char *>(sums + 2 * args.sum_floats());
    ring = x + args.tokens * args.x_pitch();
  }
};

// By one warp: lanes bring a row each.
__device__ inline void bring_weights(const StreamArgs &args, char *ring, Shared &shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, steps = args.steps();
  const uint64_t policy = read_once_policy();
  Turn turn;
  turn.parity = 1;  // the stages are empty at first
  for (int tile = static_cast<int>(blockIdx.x); tile < args.tiles(); tile += static_cast<int>(gridDim.x)) {
    const int row = lane < kRows ? args.row(tile, lane) : -1;
    const int count = __popc(__ballot_sync(0xffffffffu, row >= 0));
    for (int s = 0; s < steps; ++s) {
      const int column = s * args.width, bytes = 2 * min(args.width, args.columns - column);
      wait_barrier(shared.empty + turn.stage, turn.parity);
      if (lane == 0) arrive_expecting(shared.full + turn.stage, count * bytes);
      __syncwarp();
      if (row >= 0)
        copy_bulk(ring + turn.stage * args.stage_bytes() + lane * args.pitch(),
                  args.w + int64_t{row} * args.columns + column, bytes, shared.full + turn.stage, policy);
      turn.advance(args.stages);
    }
  }
}

__device__ inline float sum_of_consumers(float x, float *parts) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  meet(1, kConsumers);
  float sum = 0.0f;
  for (int w = 0; w < kWarps; ++w) sum += parts[w];
  meet(1, kConsumers);
  return sum;
}

// One token's floats, normed.
__device__ inline void stage_normed(const StreamArgs &args, const float4 *from, char *to, float *parts) {
  constexpr int kHeld = 4;  // of a thread: what is read once, of up to 4096 columns
  const auto *norm = reinterpret_cast<const float4 *>(args.x.norm);
  const int thread = static_cast<int>(threadIdx.x), count = args.columns / 4;
  const float4 none = make_float4(0, 0, 0, 0);
  float4 held[kHeld], weights[kHeld];
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int i = thread + j * kConsumers;
    held[j] = i < count ? __ldcg(from + i) : none;
    weights[j] = i < count ? __ldg(norm + i) : none;
  }
  float squares = 0.0f;
  auto add = [&](const float4 &x) { squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w; };
#pragma unroll
  for (int j = 0; j < kHeld; ++j) add(held[j]);
  for (int i = thread + kHeld * kConsumers; i < count; i += kConsumers) add(__ldcg(from + i));
  const float mean = sum_of_consumers(squares, parts) / static_cast<float>(args.columns);
  const float scale = 1.0f / sqrtf(mean + args.x.epsilon);
  auto put = [&](int i, const float4 &x, const float4 &weight) {
    reinterpret_cast<uint2 *>(to)[i] = make_uint2(pack(x.x * scale * weight.x, x.y * scale * weight.y),
                                                  pack(x.z * scale * weight.z, x.w * scale * weight.w));
  };
#pragma unroll
  for (int j = 0; j < kHeld; ++j)
    if (thread + j * kConsumers < count) put(thread + j * kConsumers, held[j], weights[j]);
  for (int i = thread + kHeld * kConsumers; i < count; i += kConsumers)
    put(i, __ldcg(from + i), __ldg(norm + i));
}

// One token's x as bf16 to shared memory, zeros where a step has more columns.
__device__ inline void stage_token(const StreamArgs &args, int t, char *to, float *parts) {
  const int thread = static_cast<int>(threadIdx.x), columns = args.columns;
  for (int i = columns + 2 * thread; i < args.steps() * args.width; i += 2 * kConsumers)
    *reinterpret_cast<uint32_t *>(to + 2 * i) = 0;
  if (args.x.norm == nullptr) {
    const auto *from = static_cast<const uint4 *>(args.x.values) + int64_t{t} * columns / 8;
    for (int i = thread; i < columns / 8; i += kConsumers)
      reinterpret_cast<uint4 *>(to)[i] = __ldcg(from + i);
    return;
  }
  stage_normed(args, static_cast<const float4 *>(args.x.values) + int64_t{t} * columns / 4, to, parts);
}

// What a warp multiplies of a stage. A lane holds 8 columns together of rows lane / 4 and lane / 4 + 8 and of
// token lane / 4: that the products of 32 columns come in another order than fragments' does not matter, as
// weights and x agree.
template <int kWidth>
__device__ inline void multiply_stage(const StreamArgs &args, const char *stage, const char *x, int column,
                                      float (&sums)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll
  for (int i = 0; i < kWidth / 256; ++i) {
    const int own = warp * (kWidth / 8) + i * 32 + lane % 4 * 8;
    uint4 upper = make_uint4(0, 0, 0, 0), lower = upper;
    if (column + own < args.columns) {
      upper = *reinterpret_cast<const uint4 *>(stage + lane / 4 * args.pitch() + 2 * own);
      lower = *reinterpret_cast<const uint4 *>(stage + (lane / 4 + 8) * args.pitch() + 2 * own);
    }
    const uint32_t first[4] = {upper.x, lower.x, upper.y, lower.y};
    const uint32_t second[4] = {upper.z, lower.z, upper.w, lower.w};
    uint4 b = make_uint4(0, 0, 0, 0);
    if (lane / 4 < args.tokens)
      b = *reinterpret_cast<const uint4 *>(x + lane / 4 * args.x_pitch() + 2 * (column + own));
    multiply_add(sums, first, b.x, b.y);
    multiply_add(sums, second, b.z, b.w);
  }
}

// The warps' sums of a tile become its results. The next but one tile's sums take their place.
__device__ inline void finish(const StreamArgs &args, int tile, const float (&sums)[4], float *shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int tokens = args.tokens;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int token = lane % 4 * 2 + i % 2, row = lane / 4 + i / 2 * 8;
    if (token < tokens) shared[(warp * kRows + row) * tokens + token] = sums[i];
  }
  meet(1, kConsumers);
  const int own_rows = args.rows_of_tile();
  for (int i = static_cast<int>(threadIdx.x); i < own_rows * tokens; i += kConsumers) {
    const int r = i / tokens, token = i % tokens, row = args.row(tile, r);
    if (row < 0) continue;
    float sum = 0.0f, up = 0.0f;
    for (int w = 0; w < kWarps; ++w) sum += shared[(w * kRows + r) * tokens + token];
    const int64_t place = int64_t{token} * args.result_rows() + row;
    if (args.into == Into::kActivated) {
      for (int w = 0; w < kWarps; ++w) up += shared[(w * kRows + r + own_rows) * tokens + token];
      static_cast<bf16 *>(args.y)[place] = narrow<bf16>(sum / (1.0f + expf(-sum)) * up);
    }
    if (args.into == Into::kFloats) static_cast<float *>(args.y)[place] = sum;
    if (args.into == Into::kResidual) static_cast<float *>(args.y)[place] += sum;
    if (args.into == Into::kValues) static_cast<bf16 *>(args.y)[place] = narrow<bf16>(sum);
  }
}

template <int kWidth>
__device__ inline void multiply_weights(const StreamArgs &args, const Places &places, Shared &shared) {
  const int steps = args.steps();
  Turn turn;
  int buffer = 0;
  for (int tile = static_cast<int>(blockIdx.x); tile < args.tiles(); tile += static_cast<int>(gridDim.x)) {
    float sums[4] = {};
    for (int s = 0; s < steps; ++s) {
      wait_barrier(shared.full + turn.stage, turn.parity);
      multiply_stage<kWidth>(args, places.ring + turn.stage * args.stage_bytes(), places.x, s * args.width,
                             sums);
      // Lane 0 arrives for its warp. Racecheck takes no notice of that and reports what follows as a race;
      // with all lanes arriving it reports none.
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(shared.empty + turn.stage);
      turn.advance(args.stages);
    }
    finish(args, tile, sums, places.sums + buffer * args.sum_floats());
    buffer ^= 1;
  }
}

template <int kWidth>
__global__ void __launch_bounds__(kThreads, 1) stream_kernel(StreamArgs args) {
  __shared__ Shared shared;
  const Places places(args);
  if (threadIdx.x == 0) {
    for (int s = 0; s < args.stages; ++s) {
      make_barrier(shared.full + s, 1);
      make_barrier(shared.empty + s, kWarps);
    }
    publish_barriers();
  }
  __syncthreads();
  let_next_start();
  if (threadIdx.x >= kConsumers) {
    bring_weights(args, places.ring, shared);
    return;
  }
  wait_for_previous();
  for (int t = 0; t < args.tokens; ++t) stage_token(args, t, places.x + t * args.x_pitch(), shared.parts);
  meet(1, kConsumers);
  multiply_weights<kWidth>(args, places, shared);
}

// Rows are brought in pieces as long as leave room for enough stages: reading memory is quickest so.
StreamArgs args_of(const WeightMatrix &w, const Activations &x, int tokens, Into into, void *y) {
  StreamArgs args{static_cast<const bf16 *>(w.data), x, y, w.rows, w.columns, tokens, into};
  for (const int width : {2048, 1024, 512}) {
    args.width = width;
    args.stages = std::min((kSharedBytes - args.fixed_bytes()) / args.stage_bytes(), kMostStages);
    if (args.stages >= kLeastStages) break;
  }
  return args;
}

}  // namespace

bool can_stream_hopper(const WeightMatrix &w, int tokens, int major) {
  return major == 9 && !w.is_f32 && w.columns % 8 == 0 && tokens <= kHopperStreamTokens &&
         args_of(w, {}, tokens, Into::kFloats, nullptr).stages >= kLeastStages;
}

void stream_hopper(const Launcher &launcher, const WeightMatrix &w, const Activations &x, int tokens,
                   Into into, void *y) {
  const StreamArgs args = args_of(w, x, tokens, into, y);
  const auto kernel = args.width == 2048   ? stream_kernel<2048>
                      : args.width == 1024 ? stream_kernel<1024>
                                           : stream_kernel<512>;
  launch(launcher, kernel, dim3(static_cast<unsigned>(std::min(args.tiles(), launcher.multiprocessors))),
         kThreads, static_cast<size_t>(args.fixed_bytes() + args.stages * args.stage_bytes()), args);
}

}  // namespace sounder::cuda
