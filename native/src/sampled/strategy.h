// SPDX-License-Identifier: Apache-2.0
//
// A strategy chooses keys for one query token at one layer and KV head, and says how likely each choice was.
// Choosing and attending are apart: whatever chose, one kernel attends (gather.h), and results merge.
//
// A strategy looks at the keys in phases. Each phase runs once for every segment of keys, in parallel, then
// finish_phase runs once; after the last phase, choose runs for every segment, in parallel. What phases find
// lies in the view's scratch. Objects are shared by all threads and hold nothing that changes.
//
// Adding a strategy: one file that implements this, and one line in strategies.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "draw_kernels.h"
#include "gather.h"
#include "index.h"
#include "params.h"

namespace sounder {

class LshTables;

constexpr int kMostSegments = 32;
constexpr int kMostPhases = 4;
// Of [begin, end) cut evenly: beginning and ending a segment has its price, but cores must find work in the
// segments of all KV heads.
constexpr int kFewestEvenSegments = 8;  // of a long context
constexpr int kWantedChunks = 64;       // KV heads times segments
constexpr int kLeastSegmentKeys = 8192;
constexpr int most_even_segments(int kv_heads) {
  const int wanted = kWantedChunks / kv_heads;
  return wanted < kFewestEvenSegments ? kFewestEvenSegments : wanted > kMostSegments ? kMostSegments : wanted;
}
constexpr int even_segment_keys(int end, int segments) {
  const int even = (end / segments / kIndexTokens + 1) * kIndexTokens;
  return even > kLeastSegmentKeys ? even : kLeastSegmentKeys;
}
constexpr int segment_keys_of(int end, int kv_heads) {
  return even_segment_keys(end, most_even_segments(kv_heads));
}
// Heads of a group that have lists of their own choose together before the first of them attends.
constexpr int kListsAtOnce = 4;
// Keys of the longest segment that choose is asked for, whatever the strategy and the KV heads.
constexpr int most_segment_keys(int context) {
  const int even = even_segment_keys(context, kFewestEvenSegments);
  return even > 32768 ? even : 32768;
}

// What a strategy sees: the queries of one KV head's group and the keys [begin, end) to choose from.
struct StrategyView {
  const float *q;  // [heads][head_dim] after RoPE, not scaled
  int heads;
  int head_dim;
  bool kv_is_f32;
  const void *rows;  // as in GatherTask
  int64_t block_stride;
  const char *records;    // the index record of block b lies at records + b * record_stride
  int64_t record_stride;  // bytes
  const int32_t *blocks;
  int begin;   // the sink's end
  int end;     // a multiple of kIndexTokens: all these blocks are sealed
  int budget;  // rows to read, expected, < end - begin
  const SampledParams *params;
  uint64_t draw_seed;    // of this layer, KV head and query position: draws depend on it and the key alone
  const LshTables *lsh;  // of this context; nullptr if it has none
  int layer, kv_head;
  // [heads][2] partial states (attention/partial.h) of the sink and the tail; there once phase 0 finishes.
  const float *exact;
  int segment_keys;  // keys of a segment when the strategy cuts evenly, a multiple of kIndexTokens
  char *scratch;     // strategy_scratch_bytes, aligned to 64 bytes, kept from phase to phase
};

// Keys of one segment.
struct Choice {
  int32_t *keys = nullptr;   // [capacity] ascending
  float *offsets = nullptr;  // [capacity] as in GatherTask
  int capacity = 0;          // ≥ the segment's keys
  int count = 0;
  bool certain = false;       // all with probability 1: offsets are not set
  bool by_collision = false;  // offsets are inverse norms, and collision says what to make of them
  CollisionWeight collision{};
  bool has_draws = false;  // with replacement: a key weighs one_draw times its count
  float one_draw = 0;      // log2, in the unit of logits
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  // One choice serves all heads of the group; otherwise choose is asked for each head.
  virtual bool is_shared(const StrategyView &) const = 0;
  virtual int segments(const StrategyView &view) const;
  virtual int phases(const StrategyView &) const { return 0; }
  virtual bool is_segmented(int /*phase*/) const { return true; }  // false: runs once, as segment 0
  virtual void run_phase(int /*phase*/, const StrategyView &, int /*segment*/) const {}
  virtual void finish_phase(int /*phase*/, const StrategyView &) const {}
  // head: of the group; 0 when the choice is shared.
  virtual void choose(const StrategyView &view, int segment, int head, Choice &choice) const = 0;
  // The same for the heads [first, first + count), count ≤ kListsAtOnce.
  virtual void choose_heads(const StrategyView &view, int segment, int first, int count,
                            Choice *choices) const {
    for (int i = 0; i < count; ++i) choose(view, segment, first + i, choices[i]);
  }
};

// The even cut: segment s holds the keys [s * segment_keys, (s + 1) * segment_keys) of [begin, end), counted
// from key 0.
struct KeyRange {
  int begin, end;
};
KeyRange segment_range(const StrategyView &view, int segment);

// Bytes that strategies keep for one view: a float for each head and key, and for each head and one more a
// histogram a segment.
constexpr int64_t strategy_scratch_bytes(int heads_in_group, int context) {
  int64_t keys = (int64_t{context} + kIndexTokens - 1) / kIndexTokens * kIndexTokens;
  return index_aligned(4 * heads_in_group * keys) +
         int64_t{heads_in_group + 1} * (kMostSegments + 1) * (4 * kHistogramBins + 64) +
         int64_t{heads_in_group} * 65536;
}

// What strategies are made from.
struct StrategyShape {
  const char *level;  // the name of the instruction level
  int heads_in_group;
  IndexShape index;
  uint64_t index_seed;  // of the rotation and of the hash functions
  int lsh_bits, lsh_tables;
};

// The strategies of this build by enum sounder_attention; nullptr where there is none (full).
std::vector<std::unique_ptr<Strategy>> make_strategies(const StrategyShape &shape);

}  // namespace sounder
