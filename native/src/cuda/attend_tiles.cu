// SPDX-License-Identifier: Apache-2.0
//
// Attention of a tile of queries over its keys, after FlashAttention-2 (Dao 2023): each warp holds 16
// queries' running maximum m, sum l and output o in registers while the thread block streams tiles of keys
// and values through shared memory, two deep. The tiles of decode tokens are split over the keys and merged.
#include <cmath>

#include "attend.h"
#include "errors.h"
#include "kv_layout.cuh"
#include "mma.cuh"
#include "values.cuh"

namespace sounder::cuda {

namespace {

constexpr float kLog2E = 1.4426950408889634f;

struct TileArgs {
  const bf16 *q;
  const bf16 *slab;
  const int32_t *tables;
  const AttendTile *tiles;
  bf16 *output;
  float *partial_outputs;  // [tile, KV head, split, M, D]
  float2 *partial_sums;    // [tile, KV head, split, M]: m in powers of two, l
  int table_width, heads, kv_heads, dim, window, splits;
  float scale;  // log2(e) / sqrt(D)
};

// DIM: the head dim rounded up, KEYS: of a tile, divides a block's 128. Rows in shared memory are 16 bytes
// longer than DIM, so that the rows of a matrix lie in different banks.
template <int DIM, int KEYS, int WARPS>
struct Shape {
  static constexpr int kQueries = 16 * WARPS, kThreads = 32 * WARPS, kStride = DIM + 8;
  static constexpr int kStage = 2 * KEYS * kStride;  // K and V
  static constexpr int kBytes = (kQueries * kStride + 2 * kStage) * int(sizeof(bf16));
};

// A tile of keys [first, first + KEYS) and their values; zeros from `end` on. WHOLE: the head dim is DIM.
template <int DIM, int KEYS, int WARPS, bool WHOLE>
__device__ inline void load_keys(const TileArgs &args, const int32_t *table, int kv_head, int first, int end,
                                 bf16 *stage) {
  using S = Shape<DIM, KEYS, WARPS>;
  const int dim = WHOLE ? DIM : args.dim, step = dim % 8 == 0 ? 8 : 1;
  const bf16 *from = kv_row(args.slab, table, args.kv_heads, kv_head, dim, first);
  const int pieces = 2 * dim / step;  // of a row [K | V]
  for (int i = threadIdx.x; i < KEYS * pieces; i += S::kThreads) {
    const int key = i / pieces, column = i % pieces * step;
    bf16 *to =
        column < dim ? stage + key * S::kStride + column : stage + (KEYS + key) * S::kStride + column - dim;
    const bf16 *source = from + int64_t{key} * 2 * dim + column;
    if (step == 8)
      copy_async(to, source, first + key < end);
    else
      *to = first + key < end ? *source : narrow<bf16>(0);
  }
}

// The queries of the tile; zeros where there are none.
template <int DIM, int KEYS, int WARPS>
__device__ inline void load_queries(const TileArgs &args, const AttendTile &tile, int kv_head, bf16 *to) {
  using S = Shape<DIM, KEYS, WARPS>;
  const int group = args.heads / args.kv_heads, packed = tile.tokens * group;
  for (int i = threadIdx.x; i < S::kQueries * DIM; i += S::kThreads) {
    const int m = tile.first_m + i / DIM, column = i % DIM;
    const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
    const bool there = m < packed && column < args.dim;
    to[i / DIM * S::kStride + column] =
        there ? args.q[(row * args.heads + head) * args.dim + column] : narrow<bf16>(0);
  }
}

// What a lane holds of its warp's 16 queries: two rows, r = 0 and 1, eight apart.
template <int DIM>
struct State {
  float output[DIM / 8][4] = {};
  float m[2] = {-INFINITY, -INFINITY};
  float l[2] = {};
};

// scores = q k, for the warp's queries and the tile's keys
template <int DIM, int KEYS, int STRIDE>
__device__ inline void score(const bf16 *q, const bf16 *k, float (&scores)[KEYS / 8][4]) {
  const int lane = threadIdx.x % 32, eight = lane / 8, row = lane % 8;
#pragma unroll
  for (int n = 0; n < KEYS / 8; ++n) scores[n][0] = scores[n][1] = scores[n][2] = scores[n][3] = 0;
#pragma unroll
  for (int d = 0; d < DIM; d += 16) {
    uint32_t a[4];
    load_matrices(a, q + (eight % 2 * 8 + row) * STRIDE + d + eight / 2 * 8);
#pragma unroll
    for (int n = 0; n < KEYS; n += 16) {
      uint32_t b[4];
      load_matrices(b, k + (n + eight / 2 * 8 + row) * STRIDE + d + eight % 2 * 8);
      multiply_add(scores[n / 8], a, b[0], b[1]);
      multiply_add(scores[n / 8 + 1], a, b[2], b[3]);
    }
  }
}

// Keys that a query must not see get a score of minus infinity.
template <int KEYS>
__device__ inline void mask(float (&scores)[KEYS / 8][4], int first_key, const int (&positions)[2],
                            int window) {
#pragma unroll
  for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first_key + n * 8 + threadIdx.x % 4 * 2 + i % 2, position = positions[i / 2];
      if (key > position || (window > 0 && key <= position - window)) scores[n][i] = -INFINITY;
    }
  }
}

// From scores to weights exp2(scale * score - m), with the state brought to the new maximum m.
template <int DIM, int KEYS>
__device__ inline void weigh(float (&scores)[KEYS / 8][4], float scale, State<DIM> &state) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = -INFINITY;
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) most = fmaxf(most, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    const float m = fmaxf(state.m[r], most * scale);
    const float base = m == -INFINITY ? 0.0f : m;  // nothing seen yet: all weights are 0
    const float shrink = exp2f(state.m[r] - base);
    state.m[r] = m;
    state.l[r] *= shrink;
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        scores[n][i] = exp2f(scores[n][i] * scale - base);
        state.l[r] += scores[n][i];
      }
    }
#pragma unroll
    for (int d = 0; d < DIM / 8; ++d) {
      state.output[d][2 * r] *= shrink;
      state.output[d][2 * r + 1] *= shrink;
    }
  }
}

// output += weights v
template <int DIM, int KEYS, int STRIDE>
__device__ inline void add_values(const float (&weights)[KEYS / 8][4], const bf16 *v, State<DIM> &state) {
  const int lane = threadIdx.x % 32, eight = lane / 8, row = lane % 8;
#pragma unroll
  for (int k = 0; k < KEYS; k += 16) {
    const float(&low)[4] = weights[k / 8], (&high)[4] = weights[k / 8 + 1];
    const uint32_t a[4] = {pack(low[0], low[1]), pack(low[2], low[3]), pack(high[0], high[1]),
                           pack(high[2], high[3])};
#pragma unroll
    for (int d = 0; d < DIM; d += 16) {
      uint32_t b[4];
      load_transposed(b, v + (k + eight % 2 * 8 + row) * STRIDE + d + eight / 2 * 8);
      multiply_add(state.output[d / 8], a, b[0], b[1]);
      multiply_add(state.output[d / 8 + 1], a, b[2], b[3]);
    }
  }
}

// The rows of a lane's state as output, or as partial states where the keys are split.
template <int DIM, int M>
__device__ inline void store(const TileArgs &args, const AttendTile &tile, int kv_head, int warp,
                             State<DIM> &state) {
  const int lane = threadIdx.x % 32, group = args.heads / args.kv_heads, packed = tile.tokens * group;
  const int64_t part = (int64_t{blockIdx.z} * args.kv_heads + kv_head) * args.splits + blockIdx.x;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float l = state.l[r] + __shfl_xor_sync(0xffffffffu, state.l[r], 1);
    l += __shfl_xor_sync(0xffffffffu, l, 2);
    const int own = warp * 16 + r * 8 + lane / 4, m = tile.first_m + own;
    if (m >= packed) continue;
    const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
    const bool split = args.splits > 1;
    if (split && lane % 4 == 0) args.partial_sums[part * M + own] = make_float2(state.m[r], l);
#pragma unroll
    for (int d = 0; d < DIM / 8; ++d) {
      const int column = d * 8 + lane % 4 * 2;
      if (column >= args.dim) continue;
      const float low = state.output[d][2 * r], high = state.output[d][2 * r + 1];
      if (split) {
        float *to = args.partial_outputs + (part * M + own) * args.dim + column;
        *reinterpret_cast<float2 *>(to) = make_float2(low, high);
      } else {
        bf16 *to = args.output + (row * args.heads + head) * args.dim + column;
        *reinterpret_cast<__nv_bfloat162 *>(to) = __floats2bfloat162_rn(low / l, high / l);
      }
    }
  }
}

// The keys that a split of a tile reads, [first, end); `first` is a multiple of KEYS.
template <int KEYS>
__device__ inline int2 keys_of(const TileArgs &args, const AttendTile &tile, int first_token,
                               int last_token) {
  const int end = tile.position + last_token + 1;
  const int seen = args.window > 0 ? max(0, tile.position + first_token - args.window + 1) : 0;
  const int first = seen / KEYS * KEYS, tiles = (end - first + KEYS - 1) / KEYS;
  const int each = (tiles + args.splits - 1) / args.splits * KEYS;
  const int own = first + int(blockIdx.x) * each;
  return make_int2(min(own, end), min(own + each, end));
}

template <int DIM, int KEYS, int WARPS, bool WHOLE>
__global__ void __launch_bounds__(32 * WARPS) tile_kernel(TileArgs args) {
  using S = Shape<DIM, KEYS, WARPS>;
  extern __shared__ uint4 shared_memory[];
  bf16 *q = reinterpret_cast<bf16 *>(shared_memory), *stages = q + S::kQueries * S::kStride;
  const AttendTile tile = args.tiles[blockIdx.z];
  const int kv_head = blockIdx.y, warp = threadIdx.x / 32, group = args.heads / args.kv_heads;
  const int first_token = tile.first_m / group;
  const int last_token = min(tile.first_m + S::kQueries, tile.tokens * group) - 1;
  const int2 keys = keys_of<KEYS>(args, tile, first_token, last_token / group);
  const int32_t *table = args.tables + int64_t{tile.sequence} * args.table_width;
  if (!WHOLE)  // the columns past the head dim stay zero
    for (int i = threadIdx.x; i < 2 * S::kStage; i += S::kThreads) stages[i] = narrow<bf16>(0);
  load_queries<DIM, KEYS, WARPS>(args, tile, kv_head, q);
  __syncthreads();

  State<DIM> state;
  int positions[2];
#pragma unroll
  for (int r = 0; r < 2; ++r)
    positions[r] = tile.position + (tile.first_m + warp * 16 + r * 8 + threadIdx.x % 32 / 4) / group;
  if (keys.x < keys.y) load_keys<DIM, KEYS, WARPS, WHOLE>(args, table, kv_head, keys.x, keys.y, stages);
  commit_copies();
  for (int key = keys.x, stage = 0; key < keys.y; key += KEYS, stage ^= 1) {
    if (key + KEYS < keys.y)
      load_keys<DIM, KEYS, WARPS, WHOLE>(args, table, kv_head, key + KEYS, keys.y,
                                         stages + (stage ^ 1) * S::kStage);
    commit_copies();
    wait_copies<1>();
    __syncthreads();
    const bf16 *k = stages + stage * S::kStage, *v = k + KEYS * S::kStride;
    float scores[KEYS / 8][4];
    score<DIM, KEYS, S::kStride>(q + warp * 16 * S::kStride, k, scores);
    const bool all_seen = key + KEYS - 1 <= tile.position + first_token &&
                          (args.window == 0 || key > tile.position + last_token / group - args.window);
    if (!all_seen) mask<KEYS>(scores, key, positions, args.window);
    weigh<DIM, KEYS>(scores, args.scale, state);
    add_values<DIM, KEYS, S::kStride>(scores, v, state);
    __syncthreads();
  }
  store<DIM, S::kQueries>(args, tile, kv_head, warp, state);
}

// Brings the splits of a query together. One thread block a query, one thread a dimension.
__global__ void merge_kernel(TileArgs args, int queries) {
  const AttendTile tile = args.tiles[blockIdx.z];
  const int own = blockIdx.x, kv_head = blockIdx.y, group = args.heads / args.kv_heads;
  const int m = tile.first_m + own;
  if (m >= tile.tokens * group) return;
  const int64_t part = (int64_t{blockIdx.z} * args.kv_heads + kv_head) * args.splits;
  const float2 *sums = args.partial_sums + part * queries + own;
  float most = -INFINITY;
  for (int s = 0; s < args.splits; ++s) most = fmaxf(most, sums[int64_t{s} * queries].x);
  for (int column = threadIdx.x; column < args.dim; column += blockDim.x) {
    const float *outputs = args.partial_outputs + (part * queries + own) * args.dim + column;
    float output = 0, l = 0;
#pragma unroll 8
    for (int s = 0; s < args.splits; ++s) {
      const float2 sum = sums[int64_t{s} * queries];
      const float weight = exp2f(sum.x - most);
      l += weight * sum.y;
      output += weight * outputs[int64_t{s} * queries * args.dim];
    }
    const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
    args.output[(row * args.heads + head) * args.dim + column] = narrow<bf16>(output / l);
  }
}

template <int DIM, int KEYS, int WARPS>
void launch(cudaStream_t stream, const TileArgs &args, int count) {
  using S = Shape<DIM, KEYS, WARPS>;
  const auto kernel =
      args.dim == DIM ? tile_kernel<DIM, KEYS, WARPS, true> : tile_kernel<DIM, KEYS, WARPS, false>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kBytes),
        "give attention its shared memory");
  kernel<<<dim3(args.splits, args.kv_heads, count), S::kThreads, S::kBytes, stream>>>(args);
  check_launch("attend");
  if (args.splits == 1) return;
  merge_kernel<<<dim3(S::kQueries, args.kv_heads, count), DIM, 0, stream>>>(args, S::kQueries);
  check_launch("merge partial attention");
}

template <int WARPS>
void launch_for_dim(cudaStream_t stream, const TileArgs &args, int count) {
  if (args.dim <= 64)
    launch<64, 64, WARPS>(stream, args, count);
  else if (args.dim <= 128)
    launch<128, 64, WARPS>(stream, args, count);
  else
    launch<256, 16, WARPS>(stream, args, count);
}

}  // namespace

void attend_tiles(cudaStream_t stream, const AttentionShape &shape, const AttendCall &call,
                  const AttendTile *tiles, int count, bool small, int splits) {
  if (count == 0) return;
  TileArgs args{};
  args.q = static_cast<const bf16 *>(call.q);
  args.slab = static_cast<const bf16 *>(call.slab);
  args.tables = call.tables;
  args.tiles = tiles;
  args.output = static_cast<bf16 *>(call.output);
  const int64_t states = int64_t{count} * shape.kv_heads * splits * (small ? kSmallTile : kLargeTile);
  args.partial_sums = reinterpret_cast<float2 *>(call.partials);
  args.partial_outputs = reinterpret_cast<float *>(call.partials) + 2 * states;
  args.table_width = call.table_width;
  args.heads = shape.heads;
  args.kv_heads = shape.kv_heads;
  args.dim = shape.head_dim;
  args.window = shape.sliding_window;
  args.splits = splits;
  args.scale = kLog2E / std::sqrt(static_cast<float>(shape.head_dim));
  if (small)
    launch_for_dim<kSmallTile / 16>(stream, args, count);
  else
    launch_for_dim<kLargeTile / 16>(stream, args, count);
}

}  // namespace sounder::cuda
