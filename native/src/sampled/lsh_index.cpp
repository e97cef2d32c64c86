// SPDX-License-Identifier: Apache-2.0
#include "lsh_index.h"

#include <algorithm>

#include "../failure.h"
#include "lsh_projections.h"

namespace sounder {

namespace {

Mapping make_projections(int projections, int head_dim, uint64_t seed) {
  Mapping memory(4 * lsh_projection_floats(projections, head_dim), "lsh projections");
  float *values = static_cast<float *>(memory.data());
  for (int p = 0; p < projections; ++p) {
    float *column = values + int64_t{p / kLshPanel} * head_dim * kLshPanel + p % kLshPanel;
    for (int k = 0; k < head_dim; ++k)
      column[int64_t{k} * kLshPanel] = static_cast<float>(lsh_projection(seed, p, k / 2).values[k % 2]);
  }
  return memory;
}

int64_t segment_bytes(const LshShape &shape, int keys) {
  const auto slots = std::count(shape.layer_has_tables.begin(), shape.layer_has_tables.end(), true);
  const int64_t places = (int64_t{keys} + kIndexTokens - 1) / kIndexTokens;
  return slots * shape.kv_heads *
         (shape.on_device ? places * shape.signature().bytes() : 2 * lsh_head_values(shape, keys));
}

}  // namespace

int64_t lsh_head_values(const LshShape &shape, int keys) {
  return int64_t{keys} * (shape.tables + 1) + int64_t{shape.tables} * ((1 << shape.bits) + 1);
}

int64_t lsh_bytes(const LshShape &shape, int keys) {
  const int whole = keys / kLshSegmentKeys, rest = keys % kLshSegmentKeys;
  return whole * segment_bytes(shape, kLshSegmentKeys) + (rest > 0 ? segment_bytes(shape, rest) : 0);
}

int64_t published_lsh_bytes(const LshShape &shape, int keys) {
  const int64_t head = int64_t{keys} * 4 * (shape.tables + 1) + int64_t{shape.tables} * 8 * (1 << shape.bits);
  return head * shape.layers * shape.kv_heads;
}

LshIndex::LshIndex(const LshShape &shape, const char *level, uint64_t seed, int64_t most_bytes)
    : shape_(shape), kernels_(*lsh_kernels(level)), most_bytes_(most_bytes) {
  for (bool has_tables : shape.layer_has_tables) slot_of_layer_.push_back(has_tables ? slots_++ : -1);
  if (!shape.on_device) {
    projections_ = make_projections(shape.bits * shape.tables, shape.head_dim, seed);
    return;
  }
  for (int64_t i = most_bytes / std::max<int64_t>(1, segment_bytes(shape, kIndexTokens)); i > 0; --i)
    free_places_.push_back(static_cast<int32_t>(i - 1));
}

bool LshIndex::reserve(int64_t bytes) {
  int64_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > most_bytes_ - used) return false;
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return true;
}

std::vector<int32_t> LshIndex::take_places(int count) {
  std::lock_guard lock(places_mutex_);
  const auto first = free_places_.end() - count;
  std::vector<int32_t> places(first, free_places_.end());
  free_places_.erase(first, free_places_.end());
  return places;
}

void LshIndex::give_back_places(const std::vector<int32_t> &places) {
  std::lock_guard lock(places_mutex_);
  free_places_.insert(free_places_.end(), places.begin(), places.end());
}

std::shared_ptr<LshIndex> make_lsh_index(const LshShape &shape, const char *level, uint64_t seed,
                                         int64_t most_bytes) {
  return std::make_shared<LshIndex>(shape, level, seed, most_bytes);
}

LshSegment::LshSegment(std::shared_ptr<LshIndex> index_, int begin_, int keys_,
                       std::shared_ptr<LshMeans> means_)
    : index(std::move(index_)),
      begin(begin_),
      keys(keys_),
      makes_means(means_ == nullptr),
      means(std::move(means_)),
      is_built(static_cast<size_t>(index->slots())) {
  const LshShape &shape = index->shape();
  if (makes_means) {
    means = std::make_shared<LshMeans>();
    if (!shape.on_device)
      means->values.resize(static_cast<size_t>(index->slots()) * shape.kv_heads * shape.head_dim);
  }
  bytes = segment_bytes(shape, keys);
  if (!shape.on_device) memory = Mapping(bytes, "lsh tables");
  if (index->reserve(bytes)) {
    if (shape.on_device) places = index->take_places(keys / kIndexTokens);
    return;
  }
  const int64_t used = index->used_bytes();
  memory = Mapping();
  fail(
      SOUNDER_OUT_OF_MEMORY,
      "The tables of --index lsh for %d more keys take %s, but of the %s that all contexts share only %s are "
      "left. Try again when other requests have ended, ask for attention \"full\", or give the server more "
      "memory or fewer tables.",
      keys, size_text(bytes).c_str(), size_text(index->most_bytes()).c_str(),
      size_text(std::max<int64_t>(0, index->most_bytes() - used)).c_str());
}

// Places first: whoever has reserved bytes finds some.
LshSegment::~LshSegment() {
  index->give_back_places(places);
  index->give_back(bytes);
}

float *LshSegment::mean(int slot, int kv_head) const {
  const LshShape &shape = index->shape();
  return means->values.data() + (int64_t{slot} * shape.kv_heads + kv_head) * shape.head_dim;
}

LshHead LshSegment::head(int slot, int kv_head) const {
  const LshShape &shape = index->shape();
  const uint16_t *values = static_cast<const uint16_t *>(memory.data()) +
                           (int64_t{slot} * shape.kv_heads + kv_head) * lsh_head_values(shape, keys);
  const uint16_t *starts = values + keys;
  return {values, starts, starts + int64_t{shape.tables} * ((1 << shape.bits) + 1), mean(slot, kv_head)};
}

}  // namespace sounder
