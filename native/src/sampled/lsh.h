// SPDX-License-Identifier: Apache-2.0
//
// The published index (MagicPIG, ICLR 2025): for each layer and KV head, L tables of K-bit SimHash codes of a
// context's keys. It belongs to one context; forks share its segments, which never change. A GPU has the same
// segments, but of signatures (lsh_signature.h) in its own memory, which it makes itself: here is only where
// they lie.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "../cpu/kernels.h"
#include "../threads.h"
#include "lsh_signature.h"

namespace sounder {

// Keys of the longest segment: 16-bit ids, and an end offset that fits them too.
constexpr int kLshSegmentKeys = 32768;
// Generated tokens stay in the exact tail until there are so many of them.
constexpr int kLshTailKeys = 2048;

struct LshShape {
  int layers, kv_heads, head_dim;
  int bits, tables;  // K, L
  bool centred;      // on the mean of the keys of the first segment; off is the paper's ablation
  bool kv_is_f32;
  std::vector<bool> layer_has_tables;  // [layers] false: a dense layer
  bool on_device = false;              // signatures in its memory

  LshSignature signature() const { return {head_dim, bits, tables}; }
};

// The Gaussian projections and the memory that all contexts' tables share.
class LshIndex;
struct LshSegment;

// Bytes of the tables of one context of so many keys, over all layers and heads; what the published code
// would take for it (32-bit ids, two 32-bit offsets a bucket, f32 norms, all layers).
int64_t lsh_bytes(const LshShape &shape, int keys);
int64_t published_lsh_bytes(const LshShape &shape, int keys);

// The tables of one context. Not thread-safe; the owner of the context guards it.
class LshTables {
 public:
  explicit LshTables(std::shared_ptr<LshIndex> index);
  ~LshTables();

  // Keys that tables should cover when the context has `length` tokens, the first prompt_tokens of them
  // prompt: whole segments while the prompt is computed, all that lies before the window when it ends, later
  // a segment whenever the tail has kLshTailKeys tokens, which takes in short ones before it. A multiple of
  // the block size, ≥ covered().
  int target(int length, int prompt_tokens, int window);

  // A step covers keys [covered(), until): extend for each layer with tables as its K is there, then exactly
  // one of commit and roll_back. extend fails with SOUNDER_OUT_OF_MEMORY when the shared memory is used up,
  // except for a tail that grew long: that stays exact until there is memory.
  void extend(ThreadTeam &team, int layer, const void *slab, const int32_t *blocks, int until);
  // The same on a device, which makes the signatures of these keys in the step, layer by layer; they count as
  // there from now on. mean_end > 0: on the mean of the keys before it; otherwise there is one.
  struct Signed {
    int begin, end, mean_end;
  };
  Signed extend_on_device(int until);
  // Whether tokens can be added up to this length without extending.
  bool lasts(int length) const { return length - covered() < kLshTailKeys; }
  void commit() noexcept;
  void roll_back() noexcept;

  int covered() const;           // by committed segments
  int covered(int layer) const;  // and by what this step added
  // Only whole segments stay; keys of a dropped one are hashed again when they are asked for.
  void truncate(int tokens) noexcept;
  // The tables of the first tokens, for a fork.
  std::unique_ptr<LshTables> fork(int tokens) const;

  // For the strategy.
  const LshIndex &index() const { return *index_; }
  int segment_count(int layer) const;
  const LshSegment &segment(int layer, int number) const;
  // On a device: where signatures of each 128 keys lie that are covered, those of the step with them.
  std::vector<int32_t> places() const;

 private:
  size_t stay_beside(int until) const;
  void add_segments(size_t stay, int until);
  bool begin_segments(int until);
  bool has_new(int layer) const;

  std::shared_ptr<LshIndex> index_;
  std::vector<std::shared_ptr<const LshSegment>> segments_;
  std::vector<std::shared_ptr<LshSegment>> new_segments_;  // of the step
  size_t stay_ = 0;                                        // segments that those of the step do not replace
  bool growth_can_wait_ = false;                           // what target asked for is a tail that grew long
  bool waits_ = false;                                     // and there was no memory for it in this step
};

std::shared_ptr<LshIndex> make_lsh_index(const LshShape &shape, const char *level, uint64_t seed,
                                         int64_t most_bytes);

}  // namespace sounder
