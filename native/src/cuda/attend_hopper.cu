// SPDX-License-Identifier: Apache-2.0
//
// Attention of large tiles on Hopper, for a head dim of 128, after FlashAttention-3 (Shah et al. 2024): the
// copy engine brings blocks of 128 keys and values while two groups of four warps attend them, 64 queries
// each. A group weighs the scores of one block while the matrix units multiply the weights of the one before,
// and the groups take turns, so that one multiplies while the other weighs.
#include <cuda.h>

#include "attend.h"
#include "attend_state.cuh"
#include "errors.h"
#include "hopper.cuh"
#include "kv_layout.cuh"
#include "wgmma.cuh"

namespace sounder::cuda {

namespace {

constexpr int kDim = 128, kKeys = kBlockTokens, kStages = 2, kGroupQueries = 64;
constexpr int kConsumers = 256, kThreads = kConsumers + 128;
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;
constexpr int kQueryPanel = kGroupQueries * kPanelRowBytes, kKeyPanel = kKeys * kPanelRowBytes;
constexpr int kPanels = kDim / kPanelColumns;
constexpr int kQueryBytes = kPanels * kQueryPanel,
              kOperandBytes = kPanels * kKeyPanel;  // of a group; of K or V
constexpr int kSharedBytes = 2 * kQueryBytes + 2 * kStages * kOperandBytes + 1024;
// Ids of barriers among threads: of all that attend, and of each group's turn.
constexpr int kAllConsumers = 1, kTurn = 2;

struct Barriers {
  uint64_t k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages], last;
};

struct Places {
  char *q, *k, *v;
  __device__ explicit Places(char *unaligned) {
    q = unaligned + (1024 - shared_address(unaligned) % 1024) % 1024;
    k = q + 2 * kQueryBytes;
    v = k + kStages * kOperandBytes;
  }
};

struct Turns {
  int stage = 0, parity = 0;
  __device__ void advance() {
    stage ^= 1;
    parity ^= stage == 0 ? 1 : 0;
  }
  static_assert(kStages == 2);
};

__device__ inline void load_queries(const TileArgs &args, const AttendTile &tile, int kv_head, char *to) {
  const int group = args.heads / args.kv_heads, packed = tile.tokens * group;
  for (int i = static_cast<int>(threadIdx.x); i < kHopperTile * 16; i += kConsumers) {
    const int own = i / 16, piece = i % 16, m = tile.first_m + own;
    const int64_t row = tile.first_row + m / group, head = kv_head * group + m % group;
    const bf16 *from = args.q + (m < packed ? (row * args.heads + head) * kDim + piece * 8 : 0);
    char *panel = to + own / kGroupQueries * kQueryBytes + piece / 8 * kQueryPanel;
    copy_async(panel + panel_place(own % kGroupQueries, piece % 8), from, m < packed);
  }
  commit_copies();
  wait_copies<0>();
  publish_operands();
  meet(kAllConsumers, kConsumers);
}

// K or V, columns [0, 128) or [128, 256) of a block's rows.
__device__ inline void bring_operand(const CUtensorMap *map, int column, int row, char *to, uint64_t *full) {
  arrive_expecting(full, kOperandBytes);
  for (int p = 0; p < kPanels; ++p) copy_box(to + p * kKeyPanel, map, column + p * kPanelColumns, row, full);
}

// Values of a block whose tokens end within it: nobody has written the rows behind them, which may hold
// anything, and 0 times that must be 0.
__device__ inline void bring_last_values(const CUtensorMap *map, int row, int tokens, char *to,
                                         uint64_t *full, uint64_t *last) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) bring_operand(map, kDim, row, to, last);
  wait_barrier(last, 0);
  for (int i = tokens * 8 + lane; i < kKeys * 8; i += 32)
    for (int p = 0; p < kPanels; ++p)
      *reinterpret_cast<uint4 *>(to + p * kKeyPanel + i * 16) = make_uint4(0, 0, 0, 0);
  publish_operands();
  __syncwarp();
  if (lane == 0) arrive(full);
}

// By one warp.
__device__ inline void bring_keys(const TileArgs &args, const AttendTile &tile, const CUtensorMap *map,
                                  int kv_head, int2 keys, const Places &places, Barriers &barriers) {
  const int32_t *table = args.tables + int64_t{tile.sequence} * args.table_width;
  const bool is_first = threadIdx.x % 32 == 0;
  const int written = tile.position + tile.tokens;
  Turns turn;
  turn.parity = 1;  // the stages are empty at first
  for (int key = keys.x; key < keys.y; key += kKeys) {
    const int row = (table[key / kKeys] * args.kv_heads + kv_head) * kKeys,
              place = turn.stage * kOperandBytes;
    wait_barrier(barriers.k_empty + turn.stage, turn.parity);
    if (is_first) bring_operand(map, 0, row, places.k + place, barriers.k_full + turn.stage);
    wait_barrier(barriers.v_empty + turn.stage, turn.parity);
    if (key + kKeys > written)
      bring_last_values(map, row, written - key, places.v + place, barriers.v_full + turn.stage,
                        &barriers.last);
    else if (is_first)
      bring_operand(map, kDim, row, places.v + place, barriers.v_full + turn.stage);
    turn.advance();
  }
}

__device__ inline void begin_scores(float (&scores)[kKeys / 8][4], uint32_t q, uint32_t k) {
  begin_products();
#pragma unroll
  for (int d = 0; d < kDim / 16; ++d)
    multiply_queries(scores, operand(q + d / 4 * kQueryPanel + d % 4 * 32, 16),
                     operand(k + d / 4 * kKeyPanel + d % 4 * 32, 16), d > 0);
  end_products();
}

__device__ inline void begin_values(State<kDim> &state, const uint32_t (&weights)[kKeys / 16][4],
                                    uint32_t v) {
  begin_products();
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k)
    multiply_values(state.output, weights[k], operand(v + k * 16 * kPanelRowBytes, kKeyPanel));
  end_products();
}

__device__ inline void pack_weights(const float (&scores)[kKeys / 8][4], uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    const float(&low)[4] = scores[2 * k], (&high)[4] = scores[2 * k + 1];
    weights[k][0] = pack(low[0], low[1]);
    weights[k][1] = pack(low[2], low[3]);
    weights[k][2] = pack(high[0], high[1]);
    weights[k][3] = pack(high[2], high[3]);
  }
}

// What a thread needs to know of its tile to attend a block of keys.
struct Queries {
  int positions[2], first_position, last_position, window;
  float scale;
  __device__ Queries(const TileArgs &args, const AttendTile &tile) {
    const int group = args.heads / args.kv_heads, warp = static_cast<int>(threadIdx.x) / 32;
    for (int r = 0; r < 2; ++r)
      positions[r] =
          tile.position + (tile.first_m + warp * 16 + r * 8 + static_cast<int>(threadIdx.x) % 32 / 4) / group;
    first_position = tile.position + tile.first_m / group;
    last_position = tile.position + (min(tile.first_m + kHopperTile, tile.tokens * group) - 1) / group;
    window = args.window;
    scale = args.scale;
  }
  // Scores become weights; what is summed already shrinks by the result.
  __device__ float2 weigh_scores(float (&scores)[kKeys / 8][4], int key, State<kDim> &state) const {
    const bool all_seen = key + kKeys - 1 <= first_position && (window == 0 || key > last_position - window);
    if (!all_seen) mask<kKeys>(scores, key, positions, window);
    return weigh<kDim, kKeys>(scores, scale, state);
  }
};

// By each group, 64 queries.
__device__ inline void attend_keys(const Queries &queries, int2 keys, const Places &places,
                                   Barriers &barriers, State<kDim> &state) {
  const int group = static_cast<int>(threadIdx.x) / 128;
  const uint32_t q = shared_address(places.q) + group * kQueryBytes;
  const uint32_t k = shared_address(places.k), v = shared_address(places.v);
  auto release = [](uint64_t *empty) {
    if (threadIdx.x % 32 == 0) arrive(empty);
  };
  float scores[kKeys / 8][4];
  uint32_t weights[kKeys / 16][4];
  Turns k_turn, v_turn;
  if (group == 1) meet_without_waiting(kTurn, kConsumers);
  wait_barrier(barriers.k_full, 0);
  begin_scores(scores, q, k);
  wait_products<0>();
  hold(scores);
  release(barriers.k_empty);
  k_turn.advance();
  queries.weigh_scores(scores, keys.x, state);
  pack_weights(scores, weights);
  for (int key = keys.x + kKeys; key < keys.y; key += kKeys) {
    wait_barrier(barriers.k_full + k_turn.stage, k_turn.parity);
    meet(kTurn + group, kConsumers);
    begin_scores(scores, q, k + k_turn.stage * kOperandBytes);
    wait_barrier(barriers.v_full + v_turn.stage, v_turn.parity);
    begin_values(state, weights, v + v_turn.stage * kOperandBytes);
    meet_without_waiting(kTurn + 1 - group, kConsumers);
    wait_products<1>();
    hold(scores);
    release(barriers.k_empty + k_turn.stage);
    const float2 shrink = queries.weigh_scores(scores, key, state);
    wait_products<0>();
    hold(state.output);
    release(barriers.v_empty + v_turn.stage);
    shrink_output(state, shrink);
    pack_weights(scores, weights);
    k_turn.advance();
    v_turn.advance();
  }
  wait_barrier(barriers.v_full + v_turn.stage, v_turn.parity);
  begin_values(state, weights, v + v_turn.stage * kOperandBytes);
  wait_products<0>();
  hold(state.output);
}

__global__ void __launch_bounds__(kThreads, 1)
    hopper_kernel(const TileArgs args, const __grid_constant__ CUtensorMap map) {
  extern __shared__ char unaligned[];
  __shared__ Barriers barriers;
  const Places places(unaligned);
  const AttendTile tile = args.tiles[blockIdx.z];
  const int kv_head = static_cast<int>(blockIdx.y), group = args.heads / args.kv_heads;
  const int2 keys = keys_of<kKeys>(args, tile, tile.first_m / group,
                                   (min(tile.first_m + kHopperTile, tile.tokens * group) - 1) / group);
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      make_barrier(barriers.k_full + s, 1);
      make_barrier(barriers.v_full + s, 1);
      make_barrier(barriers.k_empty + s, kConsumers / 32);
      make_barrier(barriers.v_empty + s, kConsumers / 32);
    }
    make_barrier(&barriers.last, 1);
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x >= kConsumers) {
    give_registers<kProducerRegisters>();
    if (threadIdx.x < kConsumers + 32) bring_keys(args, tile, &map, kv_head, keys, places, barriers);
  } else {
    take_registers<kConsumerRegisters>();
    load_queries(args, tile, kv_head, places.q);
    State<kDim> state;
    if (keys.x < keys.y) attend_keys(Queries(args, tile), keys, places, barriers, state);
    store<kDim, kHopperTile>(args, tile, kv_head, static_cast<int>(threadIdx.x) / 32, state);
  }
}

// Boxes of a block's rows by 64 columns, in panels. Nothing beyond the slab's blocks is asked for.
CUtensorMap map_of(const void *slab) {
  using Encode = decltype(&cuTensorMapEncodeTiled);
  static const Encode encode = [] {
    void *entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    check(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found),
        "find its copy engine");
    return reinterpret_cast<Encode>(entry);
  }();
  constexpr cuuint64_t kMostRows = cuuint64_t{1} << 31;
  const cuuint64_t sizes[2] = {2 * kDim, kMostRows}, row_bytes[1] = {2 * kDim * sizeof(bf16)};
  const cuuint32_t box[2] = {kPanelColumns, kKeys}, every[2] = {1, 1};
  CUtensorMap map;
  if (encode == nullptr ||
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void *>(slab), sizes, row_bytes, box,
             every, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS)
    check(cudaErrorInvalidValue, "describe KV to its copy engine");
  return map;
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
  hopper_kernel<<<dim3(splits, args.kv_heads, count), kThreads, kSharedBytes, stream>>>(args,
                                                                                        map_of(call.slab));
  check_launch("attend on Hopper");
  merge_splits(stream, args, count, kHopperTile);
}

}  // namespace sounder::cuda
