// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "../attention/attention.h"
#include "../failure.h"
#include "lsh_index.h"

namespace sounder {

LshTables::LshTables(std::shared_ptr<LshIndex> index) : index_(std::move(index)) {}

LshTables::~LshTables() = default;

int LshTables::target(int length, int prompt_tokens, int window) {
  auto before_window = [&](int tokens) { return std::max(0, tokens - window) / kBlockTokens * kBlockTokens; };
  const int now = covered(), most = before_window(length);
  growth_can_wait_ = false;
  if (most <= now) return now;
  if (length < prompt_tokens) return now + (most - now) / kLshSegmentKeys * kLshSegmentKeys;
  if (now < before_window(prompt_tokens)) return most;
  if (length - now < kLshTailKeys) return now;
  growth_can_wait_ = true;
  return most;
}

// Many short segments take more memory and time than one long one, so a new segment takes in those before it
// that are no longer than it: as in a binary counter, a key is hashed again at most a few times. The first
// segment, whose mean all use, stays. Returns how many segments stay.
size_t LshTables::stay_beside(int until) const {
  size_t count = segments_.size();
  int begin = covered();
  for (; count > 1; --count) {
    const LshSegment &last = *segments_[count - 1];
    if (last.keys > until - begin || until - last.begin > kLshSegmentKeys) break;
    begin = last.begin;
  }
  return count;
}

// All segments of the step at once, so that memory that is missing is missed at the first layer.
void LshTables::add_segments(size_t stay, int until) {
  new_segments_.clear();
  stay_ = stay;
  segments_.reserve(segments_.size() + static_cast<size_t>((until - covered()) / kLshSegmentKeys) + 1);
  std::shared_ptr<LshMeans> means = segments_.empty() ? nullptr : segments_.front()->means;
  for (int begin = stay == 0 ? 0 : segments_[stay - 1]->end(); begin < until;) {
    const int keys = std::min(kLshSegmentKeys, until - begin);
    new_segments_.push_back(std::make_shared<LshSegment>(index_, begin, keys, means));
    means = new_segments_.front()->means;
    begin += keys;
  }
}

// False when the tail waits for memory.
bool LshTables::begin_segments(int until) {
  const size_t stay = stay_beside(until);
  try {
    if (stay < segments_.size()) {
      add_segments(stay, until);
      return true;
    }
  } catch (const Failure &) {  // the old segments and the one that takes them in do not fit beside each other
  }
  try {
    add_segments(segments_.size(), until);
  } catch (const Failure &) {
    new_segments_.clear();
    if (!growth_can_wait_) throw;
    waits_ = true;
  }
  return !waits_;
}

void LshTables::extend(ThreadTeam &team, int layer, const void *slab, const int32_t *blocks, int until) {
  if (until <= covered() || waits_ || index_->slot(layer) < 0) return;
  if (new_segments_.empty() && !begin_segments(until)) return;
  for (const std::shared_ptr<LshSegment> &segment : new_segments_) segment->build(team, layer, slab, blocks);
}

LshTables::Signed LshTables::extend_on_device(int until) {
  if (until <= covered() || !begin_segments(until)) return {0, 0, 0};
  for (const std::shared_ptr<LshSegment> &segment : new_segments_)
    segment->is_built.assign(segment->is_built.size(), true);
  const int begin = new_segments_.front()->begin;
  return {begin, new_segments_.back()->end(), begin == 0 ? new_segments_.front()->end() : 0};
}

std::vector<int32_t> LshTables::places() const {
  std::vector<int32_t> all;
  auto add = [&](const LshSegment &segment) {
    all.insert(all.end(), segment.places.begin(), segment.places.end());
  };
  const size_t stay = new_segments_.empty() ? segments_.size() : stay_;
  for (size_t i = 0; i < stay; ++i) add(*segments_[i]);
  for (const std::shared_ptr<LshSegment> &segment : new_segments_) add(*segment);
  return all;
}

void LshTables::commit() noexcept {
  const auto is_whole = [](const std::shared_ptr<LshSegment> &segment) {
    return std::find(segment->is_built.begin(), segment->is_built.end(), false) == segment->is_built.end();
  };
  if (!new_segments_.empty() && std::all_of(new_segments_.begin(), new_segments_.end(), is_whole)) {
    segments_.resize(stay_);
    segments_.insert(segments_.end(), new_segments_.begin(), new_segments_.end());
  }
  roll_back();
}

void LshTables::roll_back() noexcept {
  new_segments_.clear();
  waits_ = growth_can_wait_ = false;
}

int LshTables::covered() const { return segments_.empty() ? 0 : segments_.back()->end(); }

int LshTables::covered(int layer) const {
  const int count = segment_count(layer);
  return count == 0 ? 0 : segment(layer, count - 1).end();
}

// Whether the segments of the step are there at this layer.
bool LshTables::has_new(int layer) const {
  const int slot = index_->slot(layer);
  return slot >= 0 && !new_segments_.empty() && new_segments_.back()->is_built[static_cast<size_t>(slot)];
}

int LshTables::segment_count(int layer) const {
  return static_cast<int>(has_new(layer) ? stay_ + new_segments_.size() : segments_.size());
}

const LshSegment &LshTables::segment(int layer, int number) const {
  const size_t place = static_cast<size_t>(number);
  return has_new(layer) && place >= stay_ ? *new_segments_[place - stay_] : *segments_[place];
}

void LshTables::truncate(int tokens) noexcept {
  while (covered() > tokens) segments_.pop_back();
}

std::unique_ptr<LshTables> LshTables::fork(int tokens) const {
  auto copy = std::make_unique<LshTables>(index_);
  for (const std::shared_ptr<const LshSegment> &segment : segments_)
    if (segment->end() <= tokens) copy->segments_.push_back(segment);
  return copy;
}

}  // namespace sounder
