// SPDX-License-Identifier: Apache-2.0
#include "contexts.h"

#include <algorithm>
#include <utility>

#include "failure.h"
#include "sounder.h"

namespace sounder {

namespace {

// An id is generation * 2^16 + slot, the generation from 1 to 2^15 - 1: always positive.
constexpr int kSlotBits = 16;
constexpr int kGenerations = (1 << 15) - 1;

size_t blocks_for(size_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace

Contexts::Contexts(int capacity, int longest, KvBlocks &blocks, std::shared_ptr<LshIndex> lsh)
    : capacity_(capacity),
      longest_(longest),
      blocks_(blocks),
      lsh_(std::move(lsh)),
      contexts_(new Context[capacity]) {
  for (int slot = 0; slot < capacity; ++slot) free_slots_.push_back(slot);
}

int32_t Contexts::id_of(int slot) const { return contexts_[slot].generation << kSlotBits | slot; }

int Contexts::take_slot() {
  if (free_slots_.empty()) {
    fail(SOUNDER_INVALID, "All %d contexts are in use; free one first.", capacity_);
  }
  int slot = free_slots_.front();
  free_slots_.pop_front();
  Context &context = contexts_[slot];
  context.generation = context.generation % kGenerations + 1;
  context.live = true;
  ++live_;
  return slot;
}

int32_t Contexts::create() { return id_of(take_slot()); }

Context &Contexts::find(int32_t id) {
  int slot = id & ((1 << kSlotBits) - 1);
  if (id <= 0 || slot >= capacity_ || !contexts_[slot].live || id_of(slot) != id) {
    fail(SOUNDER_UNKNOWN_CONTEXT, "There is no context %d; it was freed or never created.", id);
  }
  return contexts_[slot];
}

Context &Contexts::find_idle(int32_t id, const char *what) {
  Context &context = find(id);
  if (context.in_step) {
    fail(SOUNDER_BUSY, "Cannot %s context %d: it is in the running step.", what, id);
  }
  return context;
}

int32_t Contexts::fork(int32_t id, int tokens) {
  Context &source = find_idle(id, "fork");
  int length = static_cast<int>(source.tokens.size());
  if (tokens < 0 || tokens > length) {
    fail(SOUNDER_INVALID, "Cannot fork context %d at %d tokens: it has %d.", id, tokens, length);
  }
  std::vector<int32_t> copied_tokens(source.tokens.begin(), source.tokens.begin() + tokens);
  size_t whole = static_cast<size_t>(tokens / kBlockTokens), all = blocks_for(static_cast<size_t>(tokens));
  std::vector<int32_t> blocks(source.blocks.begin(), source.blocks.begin() + whole);
  blocks.reserve(all);
  if (all > whole && blocks_.free_blocks() == 0) {
    fail(SOUNDER_OUT_OF_BLOCKS, "Cannot fork context %d: all %d KV blocks are in use.", id,
         blocks_.capacity());
  }
  std::unique_ptr<LshTables> lsh = source.lsh == nullptr ? nullptr : source.lsh->fork(tokens);
  int slot = take_slot();
  for (int32_t block : blocks) blocks_.retain(block);
  if (all > whole) {
    blocks.push_back(blocks_.take());
    blocks_.copy_rows(source.blocks[whole], blocks.back(), tokens % kBlockTokens);
  }
  Context &context = contexts_[slot];
  context.tokens = std::move(copied_tokens);
  context.blocks = std::move(blocks);
  context.last_sampled = tokens == length ? source.last_sampled : -1;
  context.lsh = std::move(lsh);
  context.sampled_from = tokens > source.sampled_from ? source.sampled_from : Context::kNeverSampled;
  return id_of(slot);
}

void Contexts::release_blocks(Context &context, size_t keep) noexcept {
  for (size_t i = keep; i < context.blocks.size(); ++i) blocks_.release(context.blocks[i]);
  context.blocks.resize(std::min(keep, context.blocks.size()));
}

void Contexts::truncate(int32_t id, int tokens) {
  Context &context = find_idle(id, "truncate");
  int length = static_cast<int>(context.tokens.size());
  if (tokens < 0 || tokens > length) {
    fail(SOUNDER_INVALID, "Cannot truncate context %d to %d tokens: it has %d.", id, tokens, length);
  }
  if (tokens < length) context.last_sampled = -1;
  context.tokens.resize(static_cast<size_t>(tokens));
  release_blocks(context, blocks_for(context.tokens.size()));
  if (context.lsh != nullptr) context.lsh->truncate(tokens);
  if (tokens <= context.sampled_from) context.sampled_from = Context::kNeverSampled;
}

void Contexts::free(int32_t id) {
  Context &context = find_idle(id, "free");
  int slot = id & ((1 << kSlotBits) - 1);
  free_slots_.push_back(slot);
  release_blocks(context, 0);
  context.tokens = {};
  context.blocks = {};
  context.last_sampled = -1;
  context.lsh = nullptr;
  context.sampled_from = Context::kNeverSampled;
  context.live = false;
  --live_;
}

void Contexts::begin(Context &context, int new_tokens) {
  size_t length = context.tokens.size(), after = length + static_cast<size_t>(new_tokens);
  if (after > static_cast<size_t>(longest_)) {
    fail(SOUNDER_CONTEXT_FULL, "%zu tokens and %d new ones are over the longest context of %d.", length,
         new_tokens, longest_);
  }
  // A partial last block that others see too is replaced by a copy before it is written.
  bool copy = length % kBlockTokens != 0 && blocks_.is_shared(context.blocks.back());
  size_t more = blocks_for(after) - context.blocks.size(), taken = more + (copy ? 1 : 0);
  if (taken > static_cast<size_t>(blocks_.free_blocks())) {
    fail(SOUNDER_OUT_OF_BLOCKS, "%d new tokens take %zu KV blocks; %d of %d are free.", new_tokens, taken,
         blocks_.free_blocks(), blocks_.capacity());
  }
  context.blocks.reserve(blocks_for(after));
  if (context.tokens.capacity() < after) context.tokens.reserve(std::max(after, 2 * length));
  if (copy) {
    context.shared_tail = context.blocks.back();
    context.blocks.back() = blocks_.take();
    blocks_.copy_rows(context.shared_tail, context.blocks.back(), static_cast<int>(length % kBlockTokens));
  }
  for (size_t i = 0; i < more; ++i) context.blocks.push_back(blocks_.take());
  context.cancel.store(false);
  context.in_step = true;
}

void Contexts::commit(Context &context, const int32_t *new_tokens, int count, int32_t sampled,
                      int sampled_from) noexcept {
  if (context.shared_tail >= 0) blocks_.release(context.shared_tail);
  context.shared_tail = -1;
  context.tokens.insert(context.tokens.end(), new_tokens, new_tokens + count);
  context.last_sampled = sampled;
  context.sampled_from = std::min(context.sampled_from, sampled_from);
  if (context.lsh != nullptr) context.lsh->commit();
  context.in_step = false;
}

void Contexts::roll_back(Context &context) noexcept {
  release_blocks(context, blocks_for(context.tokens.size()));
  if (context.shared_tail >= 0) {
    blocks_.release(context.blocks.back());
    context.blocks.back() = context.shared_tail;
  }
  context.shared_tail = -1;
  if (context.lsh != nullptr) context.lsh->roll_back();
  context.in_step = false;
}

Context &Contexts::hold(int32_t id) {
  Context &context = find_idle(id, "read");
  context.in_step = true;
  return context;
}

ContextImage Contexts::snapshot(int32_t id, int tokens) {
  Context &source = find(id);
  const int length = static_cast<int>(source.tokens.size());
  if (tokens < 0 || tokens > length) {
    fail(SOUNDER_INVALID, "Cannot save %d tokens of context %d: it has %d.", tokens, id, length);
  }
  ContextImage image;
  const int full = tokens / kBlockTokens, rest = tokens % kBlockTokens;
  image.tokens.assign(source.tokens.begin(), source.tokens.begin() + tokens);
  image.blocks.assign(source.blocks.begin(), source.blocks.begin() + full);
  if (rest > 0) image.tail = blocks_.copy_of_rows(source.blocks[static_cast<size_t>(full)], rest);
  if (tokens > source.sampled_from) image.sampled_from = source.sampled_from;
  if (tokens == length) image.last_sampled = source.last_sampled;
  for (int32_t block : image.blocks) blocks_.retain(block);
  return image;
}

std::vector<int32_t> Contexts::take_blocks(int count) {
  if (count > blocks_.free_blocks()) {
    fail(SOUNDER_OUT_OF_BLOCKS, "The saved context takes %d KV blocks; %d of %d are free.", count,
         blocks_.free_blocks(), blocks_.capacity());
  }
  std::vector<int32_t> blocks(static_cast<size_t>(count));
  for (int32_t &block : blocks) block = blocks_.take();
  return blocks;
}

void Contexts::give_back(const std::vector<int32_t> &blocks) noexcept {
  for (int32_t block : blocks) blocks_.release(block);
}

int32_t Contexts::adopt(ContextImage &image) {
  if (free_slots_.empty())
    fail(SOUNDER_OUT_OF_BLOCKS, "All %d contexts are in use; free one first.", capacity_);
  const int slot = take_slot();
  Context &context = contexts_[slot];
  context.tokens = std::move(image.tokens);
  context.blocks = std::move(image.blocks);
  context.sampled_from = image.sampled_from;
  context.last_sampled = image.last_sampled;
  return id_of(slot);
}

LshTables &Contexts::lsh_of(Context &context) {
  if (context.lsh == nullptr) context.lsh = std::make_unique<LshTables>(lsh_);
  return *context.lsh;
}

}  // namespace sounder
