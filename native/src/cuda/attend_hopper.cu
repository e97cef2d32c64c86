// SPDX-License-Identifier: Apache-2.0
//
// Attention of large tiles on Hopper, for a head dim of 128: two groups of four warps, 64 queries each, over
// tiles of 64 keys, four of them on their way. While a group weighs the scores of one tile, the matrix units
// compute those of the next (after FlashAttention-3, Shah et al. 2024).
#include "attend.h"
#include "attend_state.cuh"
#include "errors.h"
#include "kv_layout.cuh"
#include "wgmma.cuh"

namespace sounder::cuda {

namespace {

constexpr int kDim = 128, kKeys = 64, kStages = 4, kThreads = 2 * kHopperTile;
constexpr int kPanelBytes = 64 * kPanelRowBytes;  // of 64 queries or keys
constexpr int kOperandBytes = kDim / kPanelColumns * kPanelBytes;
constexpr int kStageBytes = 2 * kOperandBytes;  // K and V
constexpr int kSharedBytes = 2 * kOperandBytes + kStages * kStageBytes + 1024;

__device__ inline void load_queries(const TileArgs &args, const AttendTile &tile, int kv_head, char *to) {
  const int group = args.heads / args.kv_heads, packed = tile.tokens * group;
  for (int i = threadIdx.x; i < kHopperTile * 16; i += kThreads) {
    const int own = i / 16, piece = i % 16, m = tile.first_m + own;
    const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
    const bf16 *from = args.q + (m < packed ? (row * args.heads + head) * kDim + piece * 8 : 0);
    char *panel = to + own / 64 * kOperandBytes + piece / 8 * kPanelBytes;
    copy_async(panel + panel_place(own % 64, piece % 8), from, m < packed);
  }
}

__device__ inline void load_keys(const TileArgs &args, const int32_t *table, int kv_head, int first, int end,
                                 char *stage) {
  if (first < end) {
    const bf16 *from = kv_row(args.slab, table, args.kv_heads, kv_head, kDim, first);
    for (int i = threadIdx.x; i < kKeys * 32; i += kThreads) {
      const int key = i / 32, piece = i % 32;
      char *panel = stage + piece / 8 * kPanelBytes;  // two of K, two of V
      copy_async(panel + panel_place(key, piece % 8), from + int64_t{key} * 2 * kDim + piece * 8,
                 first + key < end);
    }
  }
  commit_copies();
}

__device__ inline void begin_scores(float (&scores)[kKeys / 8][4], uint32_t q, uint32_t k) {
  begin_products();
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d) {
    const int place = d / 4 * kPanelBytes + d % 4 * 32;
    multiply_queries(scores, operand(q + place, 16), operand(k + place, 16), d > 0);
  }
  end_products();
}

__device__ inline void begin_values(State<kDim> &state, const float (&weights)[kKeys / 8][4], uint32_t v) {
  uint32_t packed[kKeys / 16][4];
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    const float(&low)[4] = weights[2 * k], (&high)[4] = weights[2 * k + 1];
    packed[k][0] = pack(low[0], low[1]);
    packed[k][1] = pack(low[2], low[3]);
    packed[k][2] = pack(high[0], high[1]);
    packed[k][3] = pack(high[2], high[3]);
  }
  begin_products();
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k)
    multiply_values(state.output, packed[k], operand(v + k * 16 * kPanelRowBytes, kPanelBytes));
  end_products();
}

__global__ void __launch_bounds__(kThreads, 1) hopper_kernel(TileArgs args) {
  extern __shared__ char unaligned[];
  char *shared = unaligned + (1024 - shared_address(unaligned) % 1024) % 1024;
  char *stages = shared + 2 * kOperandBytes;
  const AttendTile tile = args.tiles[blockIdx.z];
  const int kv_head = blockIdx.y, warp = threadIdx.x / 32, group = args.heads / args.kv_heads;
  const int first_token = tile.first_m / group;
  const int last_token = (min(tile.first_m + kHopperTile, tile.tokens * group) - 1) / group;
  const int2 keys = keys_of<kKeys>(args, tile, first_token, last_token);
  const int32_t *table = args.tables + int64_t{tile.sequence} * args.table_width;
  int positions[2];
#pragma unroll
  for (int r = 0; r < 2; ++r)
    positions[r] = tile.position + (tile.first_m + warp * 16 + r * 8 + threadIdx.x % 32 / 4) / group;

  load_queries(args, tile, kv_head, shared);
  for (int s = 0; s < kStages - 1; ++s)
    load_keys(args, table, kv_head, keys.x + s * kKeys, keys.y, stages + s * kStageBytes);
  const uint32_t q = shared_address(shared) + warp / 4 * kOperandBytes, kv = shared_address(stages);
  State<kDim> state;
  float scores[kKeys / 8][4], next[kKeys / 8][4];
  wait_copies<kStages - 2>();
  publish_operands();
  __syncthreads();
  if (keys.x < keys.y) begin_scores(scores, q, kv);
  wait_products();
  hold(scores);
  for (int key = keys.x, stage = 0; key < keys.y; key += kKeys, stage = (stage + 1) % kStages) {
    // After the barrier the next tile is there for all, and nobody reads the one before this any more.
    wait_copies<kStages - 3>();
    publish_operands();
    __syncthreads();
    load_keys(args, table, kv_head, key + (kStages - 1) * kKeys, keys.y,
              stages + (stage + kStages - 1) % kStages * kStageBytes);
    if (key + kKeys < keys.y) begin_scores(next, q, kv + (stage + 1) % kStages * kStageBytes);
    const bool all_seen = key + kKeys - 1 <= tile.position + first_token &&
                          (args.window == 0 || key > tile.position + last_token - args.window);
    if (!all_seen) mask<kKeys>(scores, key, positions, args.window);
    weigh<kDim, kKeys>(scores, args.scale, state);
    begin_values(state, scores, kv + stage * kStageBytes + kOperandBytes);
    wait_products();
    hold(next);
    hold(state.output);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[n][i] = next[n][i];
  }
  store<kDim, kHopperTile>(args, tile, kv_head, warp, state);
}

}  // namespace

bool can_attend_hopper(const AttentionShape &shape, int major) {
  return major == 9 && shape.head_dim == kDim && !shape.kv_is_f32;
}

void attend_hopper(cudaStream_t stream, const AttentionShape &shape, const AttendCall &call,
                   const AttendTile *tiles, int count, int splits) {
  if (count == 0) return;
  const TileArgs args = tile_args(shape, call, tiles, count, kHopperTile, splits);
  check(cudaFuncSetAttribute(hopper_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "give attention its shared memory");
  hopper_kernel<<<dim3(splits, args.kv_heads, count), kThreads, kSharedBytes, stream>>>(args);
  check_launch("attend on Hopper");
  merge_splits(stream, args, count, kHopperTile);
}

}  // namespace sounder::cuda
