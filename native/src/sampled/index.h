// SPDX-License-Identifier: Apache-2.0
//
// What a sealed block carries beside its rows: for each layer and KV head one record with the sketches of its
// 128 keys and the bounds of its pages. A record depends on nothing outside its block (with context
// centring: on the blocks before it), so that sharing, forking and saving blocks takes the index along.
//
// A record, in this order, each part aligned to 64 bytes, absent parts taking none:
//   sketch (bits > 0):
//     mean    int16[head_dim]    the rotated mean, in units of mean_scale, |value| ≤ kMeanLimit
//     scale   float              mean_scale
//     scales  uint16[128]        bf16 f_i of each key
//     planes  [bits][ceil(head_dim / 8)][128] bytes: byte (p, g, i) has bit p (the most significant, the
//             sign, first) of the codes of key i at dimensions 8 g .. 8 g + 7, the lowest bit first
//   bounds (page > 0): [128 / page][least of each dimension [head_dim], greatest [head_dim]] in the KV's type
#pragma once

#include <cstdint>

namespace sounder {

constexpr int kIndexTokens = 128;                      // kBlockTokens of attention.h
constexpr int kCentringContext = 1, kCentringOff = 2;  // of enum sounder_centring
constexpr int kMeanLimit = 1023;

struct IndexShape {
  int head_dim;
  int sketch_bits;  // 0: no sketch; 1, 2 or 4
  int centring;     // enum sounder_centring, of the sketch
  int quest_page;   // 0: no bounds; 16, 32 or 64
  bool kv_is_f32;
};

constexpr int64_t index_aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }
constexpr int sketch_groups(int head_dim) { return (head_dim + 7) / 8; }

// Where the parts lie in a record, in bytes.
constexpr int64_t sketch_scales_place(int head_dim) { return index_aligned(int64_t{2} * head_dim + 4); }
constexpr int64_t sketch_planes_place(int head_dim) {
  return sketch_scales_place(head_dim) + 2 * kIndexTokens;
}
constexpr int64_t sketch_bytes(int head_dim, int bits) {
  if (bits == 0) return 0;
  return sketch_planes_place(head_dim) + int64_t{bits} * sketch_groups(head_dim) * kIndexTokens;
}
constexpr int64_t quest_bytes(const IndexShape &shape) {
  if (shape.quest_page == 0) return 0;
  return index_aligned(int64_t{kIndexTokens / shape.quest_page} * 2 * shape.head_dim *
                       (shape.kv_is_f32 ? 4 : 2));
}
constexpr int64_t quest_place(const IndexShape &shape) {
  return sketch_bytes(shape.head_dim, shape.sketch_bits);
}
// Bytes of the record of one block, layer and KV head.
constexpr int64_t record_bytes(const IndexShape &shape) { return quest_place(shape) + quest_bytes(shape); }

// The records of a layer, nullptr if it has none: that of block b and KV head h lies at
// data + h * head_stride + b * block_stride.
struct LayerRecords {
  const char *data;
  int64_t head_stride, block_stride;
};

}  // namespace sounder
