// SPDX-License-Identifier: Apache-2.0
//
// The device memory that the largest step takes beside weights and KV, in bytes: a part of the memory formula
// (plan.cpp), and how a device cuts its workspace. With the letters of plan.cpp, a = 2 or 4 bytes a value and
// g = H / G:
//
//   x         4 R C                    q, attended   2 a R H D             logits     4 min(R, 64) V
//   normed    a R C                    gate_up       2 a R I               angles     8 R P
//   qkv       4 R (H + 2 G) D          activated     a R I                 partials   131072 (D + 2)
//   spare     R max(4 C, a H D)        products      32 MiB
//   step      20 R + 4 S ceil(context / 128) + 32 tiles, tiles = S (floor(g / 16) + 5) + floor(R g / 64) + 1
//
// and where some layer samples, with K = context rounded up to 2048:
//
//   tiles     three times as many        queries   80 R        statistics   20 S H        constants   6400
//   spare     R max(4 C, 4 H D)
//   sampled   place_sampled (sampled/device_memory.cpp) for as many queries at once as 256 MiB / G K (2 g +
//   10)
//             says, from 1 to min(S, 16); with other strategies than sketches, where it is more,
//             place_sampled and place_words for as many as 256 MiB / G K (6 g + 10) says
//
// and where it has signatures for lsh (sampled/lsh_signature.h)
//
//   projections  128 D K ceil(L / 32)    collisions   24588    signatures   4 S ceil(context / 128)
//
// and where the KV of some layer lies in host memory, with B = a G 128 2 D bytes of a block there:
//
//   copied_in 2 B ceil(context / 128)   appended  B (floor(R / 128) + 2 S)   identity  4 ceil(context / 128)
//
// and where rows sample there, h layers of them, with n = ceil(sink / 128) + floor((window + 254) / 128)
// blocks that a token always reads (none where the CPU attends, or n is over 16):
//
//   near      min(S, 16) (n h B + 4 ceil(context / 128))
#pragma once

#include <cstdint>

#include "model.h"

namespace sounder {

struct DeviceWorkspace {
  int64_t x, normed, qkv, q, attended, gate_up, activated, spare, logits, angles, partials, products, rows,
      kept, tables, tiles, sampled, queries, statistics, constants, projections, collisions, signatures,
      copied_in, appended, identity, near_slots, near_tables;
  int64_t total() const {
    return x + normed + qkv + q + attended + gate_up + activated + spare + logits + angles + partials +
           products + rows + kept + tables + tiles + sampled + queries + statistics + constants +
           projections + collisions + signatures + copied_in + appended + identity + near_slots + near_tables;
  }
};

// Partial states of attention that there is room for, and scratch of the matrix library.
constexpr int kDevicePartials = 32768;
constexpr int64_t kDeviceProductBytes = int64_t{32} << 20;

inline int device_table_width(const ModelConfig &c) { return (c.context + kBlockTokens - 1) / kBlockTokens; }

DeviceWorkspace device_workspace(const ModelConfig &config);

// Query tokens that sample at once, by a strategy that takes place_words or by one that doesn't.
int device_sampled_queries(const ModelConfig &config, bool with_words);
// Rows of a step, and KV blocks, that the cache of sinks and tails has room for (cuda/near_cache.h).
int device_near_rows(const ModelConfig &config);
int device_near_slots(const ModelConfig &config);

}  // namespace sounder
