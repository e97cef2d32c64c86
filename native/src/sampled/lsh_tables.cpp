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

// All segments of the step at once, so that memory that is missing is missed at the first layer.
void LshTables::add_segments(int until) {
  segments_.reserve(segments_.size() + static_cast<size_t>((until - covered()) / kLshSegmentKeys) + 1);
  std::shared_ptr<LshMeans> means = segments_.empty() ? nullptr : segments_.front()->means;
  for (int begin = covered(); begin < until;) {
    const int keys = std::min(kLshSegmentKeys, until - begin);
    new_segments_.push_back(std::make_shared<LshSegment>(index_, begin, keys, means));
    means = new_segments_.front()->means;
    begin += keys;
  }
}

void LshTables::extend(ThreadTeam &team, int layer, const void *slab, const int32_t *blocks, int until) {
  if (until <= covered() || waits_ || index_->slot(layer) < 0) return;
  if (new_segments_.empty()) {
    try {
      add_segments(until);
    } catch (const Failure &) {
      new_segments_.clear();
      if (!growth_can_wait_) throw;
      waits_ = true;
      return;
    }
  }
  for (const std::shared_ptr<LshSegment> &segment : new_segments_) segment->build(team, layer, slab, blocks);
}

namespace {
bool is_whole(const LshSegment &segment) {
  return std::find(segment.is_built.begin(), segment.is_built.end(), false) == segment.is_built.end();
}
}  // namespace

void LshTables::commit() noexcept {
  for (std::shared_ptr<LshSegment> &segment : new_segments_) {
    if (!is_whole(*segment)) break;
    segments_.push_back(std::move(segment));
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

int LshTables::segment_count(int layer) const {
  const int slot = index_->slot(layer);
  size_t count = segments_.size();
  if (slot < 0) return static_cast<int>(count);
  for (const std::shared_ptr<LshSegment> &segment : new_segments_)
    count += segment->is_built[static_cast<size_t>(slot)] ? 1 : 0;
  return static_cast<int>(count);
}

const LshSegment &LshTables::segment(int, int number) const {
  const size_t place = static_cast<size_t>(number);
  return place < segments_.size() ? *segments_[place] : *new_segments_[place - segments_.size()];
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
