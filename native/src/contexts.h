// SPDX-License-Identifier: Apache-2.0
//
// The contexts of an engine: token sequences and the blocks that hold their KV. The engine guards all of
// this with its mutex; only the cancel flags are read without it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "kv_blocks.h"
#include "sampled/lsh.h"

namespace sounder {

struct Context {
  std::vector<int32_t> tokens;
  std::vector<int32_t> blocks;  // ceil(tokens / kBlockTokens) of them; more while a step appends
  int32_t last_sampled = -1;    // sampled after the last token, and not yet one of them
  int32_t generation = 0;
  bool live = false;
  bool in_step = false;
  std::atomic<bool> cancel{false};
  int32_t shared_tail = -1;        // while a step appends: the shared block that a copy stands for
  std::unique_ptr<LshTables> lsh;  // made when a step first asks for them
  // Position of the first token whose KV was computed while attention was sampled.
  int sampled_from = kNeverSampled;

  static constexpr int kNeverSampled = INT32_MAX;
  int exact_tokens() const { return std::min(static_cast<int>(tokens.size()), sampled_from); }
};

// What a context consists of, outside of it.
struct ContextImage {
  std::vector<int32_t> tokens;
  std::vector<int32_t> blocks;  // one reference to each
  std::vector<char> tail;       // of a snapshot: the rows after the full blocks, which are not among blocks
  int sampled_from = Context::kNeverSampled;
  int32_t last_sampled = -1;
};

class Contexts {
 public:
  // lsh: what contexts make their tables with; nullptr where there are none.
  Contexts(int capacity, int longest, KvBlocks &blocks, std::shared_ptr<LshIndex> lsh);

  // All of these fail with a Failure and then change nothing.
  int32_t create();
  int32_t fork(int32_t id, int tokens);
  void truncate(int32_t id, int tokens);
  void free(int32_t id);
  Context &find(int32_t id);

  // A step appends to a context: begin takes the blocks, then exactly one of commit and roll_back follows.
  // In between the context is the step's.
  void begin(Context &context, int new_tokens);
  // sampled: the token sampled after the new ones, or -1. sampled_from: position of the first of them whose
  // attention was sampled, or Context::kNeverSampled.
  void commit(Context &context, const int32_t *new_tokens, int count, int32_t sampled,
              int sampled_from) noexcept;
  void roll_back(Context &context) noexcept;

  // Keeps others from changing a context that is read outside a step, until let_go.
  Context &hold(int32_t id);
  void let_go(Context &context) noexcept { context.in_step = false; }

  // The first tokens of a context as they are now, also while a step appends to it: its full blocks held,
  // which nobody writes while two hold them, the rows of a partial one copied.
  ContextImage snapshot(int32_t id, int tokens);
  // Blocks that belong to no context yet. Fails with SOUNDER_OUT_OF_BLOCKS.
  std::vector<int32_t> take_blocks(int count);
  void give_back(const std::vector<int32_t> &blocks) noexcept;
  // A new context of these parts; takes over the references. When all contexts are in use it fails as for
  // want of blocks, and they stay the caller's.
  int32_t adopt(ContextImage &image);

  // The lsh tables of a context, made if there are none yet.
  LshTables &lsh_of(Context &context);

  int live() const { return live_; }

 private:
  int32_t id_of(int slot) const;
  // A free slot, taken off the list of free ones.
  int take_slot();
  Context &find_idle(int32_t id, const char *what);
  void release_blocks(Context &context, size_t keep) noexcept;

  int capacity_;
  int longest_;
  KvBlocks &blocks_;
  std::shared_ptr<LshIndex> lsh_;
  std::unique_ptr<Context[]> contexts_;
  std::deque<int> free_slots_;  // first in, first out: a stale id stays wrong for as long as possible
  int live_ = 0;
};

}  // namespace sounder
