// SPDX-License-Identifier: Apache-2.0
//
// Attention of a tile of queries over its keys, after FlashAttention-2 (Dao 2023): each warp holds 16
// queries' running maximum m, sum l and output o in registers while the thread block streams tiles of keys
// and values through shared memory, two deep. The tiles of decode tokens are split over the keys and merged.
#include <cmath>
#include <instructions.cuh>

#include "attend.h"
#include "attend_state.cuh"
#include "kv_layout.cuh"
#include "values.cuh"

namespace sounder::cuda {

namespace {

constexpr float kLog2E = 1.4426950408889634f;

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
template <int DIM, int KEYS, int WARPS, bool WHOLE>
__device__ inline void load_queries(const TileArgs &args, const AttendTile &tile, int kv_head, bf16 *to) {
  using S = Shape<DIM, KEYS, WARPS>;
  const int group = args.heads / args.kv_heads, packed = tile.tokens * group;
  constexpr int kStep = WHOLE ? 8 : 1;
  for (int i = threadIdx.x; i < S::kQueries * (DIM / kStep); i += S::kThreads) {
    const int own = i / (DIM / kStep), column = i % (DIM / kStep) * kStep, m = tile.first_m + own;
    const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
    const bool there = m < packed && column < args.dim;
    const bf16 *from = args.q + (there ? (row * args.heads + head) * args.dim + column : 0);
    bf16 *place = to + own * S::kStride + column;
    if (WHOLE)
      copy_async(place, from, there);
    else
      *place = there ? *from : narrow<bf16>(0);
  }
}

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

template <int DIM, int KEYS, int WARPS, bool WHOLE>
__global__ void __launch_bounds__(32 * WARPS) tile_kernel(TileArgs args) {
  using S = Shape<DIM, KEYS, WARPS>;
  bf16 *q = dynamic_shared<bf16>(), *stages = q + S::kQueries * S::kStride;
  const AttendTile tile = args.tiles[blockIdx.z];
  const int kv_head = blockIdx.y, warp = threadIdx.x / 32, group = args.heads / args.kv_heads;
  const int first_token = tile.first_m / group;
  const int last_token = min(tile.first_m + S::kQueries, tile.tokens * group) - 1;
  const int2 keys = keys_of<KEYS>(args, tile, first_token, last_token / group);
  const int32_t *table = args.tables + int64_t{tile.sequence} * args.table_width;
  if (!WHOLE)  // the columns past the head dim stay zero
    for (int i = threadIdx.x; i < 2 * S::kStage; i += S::kThreads) stages[i] = narrow<bf16>(0);
  load_queries<DIM, KEYS, WARPS, WHOLE>(args, tile, kv_head, q);
  if (!WHOLE) __syncthreads();  // before keys take the place of zeros

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
    shrink_output(state, weigh<DIM, KEYS>(scores, args.scale, state));
    add_values<DIM, KEYS, S::kStride>(scores, v, state);
    __syncthreads();
  }
  store<DIM, S::kQueries>(args, tile, kv_head, warp, state);
}

// Brings the splits of a query together. One thread block a query, one thread a dimension.
__global__ void merge_kernel(TileArgs args, int queries) {
  __shared__ float weights[kMostSplits];
  const AttendTile tile = args.tiles[blockIdx.z];
  const int own = blockIdx.x, kv_head = blockIdx.y, group = args.heads / args.kv_heads;
  const int m = tile.first_m + own;
  if (m >= tile.tokens * group) return;
  const int64_t part = (int64_t{blockIdx.z} * args.kv_heads + kv_head) * args.splits;
  const float2 *sums = args.partial_sums + part * queries + own;
  if (threadIdx.x < 32) {
    float most = -INFINITY, l = 0;
    for (int s = threadIdx.x; s < args.splits; s += 32) most = fmaxf(most, sums[int64_t{s} * queries].x);
    most = warp_max(most);
    for (int s = threadIdx.x; s < args.splits; s += 32) {
      const float2 sum = sums[int64_t{s} * queries];
      weights[s] = exp2f(sum.x - most);
      l += weights[s] * sum.y;
    }
    l = warp_sum(l);
    for (int s = threadIdx.x; s < args.splits; s += 32) weights[s] /= l;
  }
  __syncthreads();
  const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
  for (int column = threadIdx.x; column < args.dim; column += blockDim.x) {
    const float *outputs = args.partial_outputs + (part * queries + own) * args.dim + column;
    float output = 0;
    // Splits without keys have a weight of 0, and often are many.
#pragma unroll 8
    for (int s = 0; s < args.splits; ++s)
      if (weights[s] > 0) output += weights[s] * outputs[int64_t{s} * queries * args.dim];
    args.output[(row * args.heads + head) * args.dim + column] = narrow<bf16>(output);
  }
}

template <int DIM, int KEYS, int WARPS>
void launch_tiles(cudaStream_t stream, const TileArgs &args, int count) {
  using S = Shape<DIM, KEYS, WARPS>;
  const auto kernel =
      args.dim == DIM ? tile_kernel<DIM, KEYS, WARPS, true> : tile_kernel<DIM, KEYS, WARPS, false>;
  launch({stream}, kernel, dim3(args.splits, args.kv_heads, count), S::kThreads, S::kBytes, args);
}

template <int WARPS>
void launch_for_dim(cudaStream_t stream, const TileArgs &args, int count) {
  if (args.dim <= 64)
    launch_tiles<64, 64, WARPS>(stream, args, count);
  else if (args.dim <= 128)
    launch_tiles<128, 64, WARPS>(stream, args, count);
  else
    launch_tiles<256, 16, WARPS>(stream, args, count);
}

}  // namespace

TileArgs tile_args(const AttentionShape &shape, const AttendCall &call, const AttendTile *tiles, int count,
                   int queries, int splits) {
  TileArgs args{};
  args.q = static_cast<const bf16 *>(call.q);
  args.slab = static_cast<const bf16 *>(call.slab);
  args.tables = call.tables;
  args.tiles = tiles;
  args.output = static_cast<bf16 *>(call.output);
  const int64_t states = int64_t{count} * shape.kv_heads * splits * queries;
  args.partial_sums = reinterpret_cast<float2 *>(call.partials);
  args.partial_outputs = reinterpret_cast<float *>(call.partials) + 2 * states;
  args.table_width = call.table_width;
  args.heads = shape.heads;
  args.kv_heads = shape.kv_heads;
  args.dim = shape.head_dim;
  args.window = shape.sliding_window;
  args.splits = splits;
  args.scale = kLog2E / std::sqrt(static_cast<float>(shape.head_dim));
  return args;
}

void merge_splits(cudaStream_t stream, const TileArgs &args, int count, int queries) {
  if (args.splits == 1) return;
  launch({stream}, merge_kernel, dim3(queries, args.kv_heads, count), 128, 0, args, queries);
}

void attend_tiles(cudaStream_t stream, const AttentionShape &shape, const AttendCall &call,
                  const AttendTile *tiles, int count, int queries, int splits) {
  if (count == 0) return;
  const TileArgs args = tile_args(shape, call, tiles, count, queries, splits);
  if (queries == kSmallTile)
    launch_for_dim<kSmallTile / 16>(stream, args, count);
  else
    launch_for_dim<kLargeTile / 16>(stream, args, count);
  merge_splits(stream, args, count, queries);
}

}  // namespace sounder::cuda
