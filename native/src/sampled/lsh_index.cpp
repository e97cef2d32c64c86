// SPDX-License-Identifier: Apache-2.0
#include "lsh_index.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "../failure.h"
#include "../random.h"

namespace sounder {

namespace {

// Two independent normal values (Box and Muller 1958), for dimensions 2 pair and 2 pair + 1 of a projection.
struct NormalPair {
  double values[2];
};
NormalPair normal_pair(uint64_t seed, int projection, int pair) {
  constexpr uint64_t kRadius = 0, kAngle = 1;
  const uint64_t place = static_cast<uint64_t>(projection) << 32 | static_cast<uint64_t>(pair) << 1;
  const double u = 1.0 - random_uniform(random_bits(seed, 0x15a, place | kRadius));  // (0, 1]
  const double turn = random_uniform(random_bits(seed, 0x15a, place | kAngle));
  const double radius = std::sqrt(-2.0 * std::log(u)), angle = 2.0 * std::numbers::pi * turn;
  return {{radius * std::cos(angle), radius * std::sin(angle)}};
}

std::vector<float> make_projections(int projections, int head_dim, uint64_t seed) {
  std::vector<float> values(static_cast<size_t>(lsh_projection_floats(projections, head_dim)));
  for (int p = 0; p < projections; ++p) {
    float *column = values.data() + int64_t{p / kLshPanel} * head_dim * kLshPanel + p % kLshPanel;
    for (int k = 0; k < head_dim; ++k)
      column[int64_t{k} * kLshPanel] = static_cast<float>(normal_pair(seed, p, k / 2).values[k % 2]);
  }
  return values;
}

int64_t segment_bytes(const LshShape &shape, int keys) {
  const auto slots = std::count(shape.layer_has_tables.begin(), shape.layer_has_tables.end(), true);
  return slots * shape.kv_heads * 2 * lsh_head_values(shape, keys);
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
    : shape_(shape),
      kernels_(*lsh_kernels(level)),
      projections_(make_projections(shape.bits * shape.tables, shape.head_dim, seed)),
      most_bytes_(most_bytes) {
  for (bool has_tables : shape.layer_has_tables) slot_of_layer_.push_back(has_tables ? slots_++ : -1);
}

bool LshIndex::reserve(int64_t bytes) {
  int64_t used = used_bytes_.load(std::memory_order_relaxed);
  do {
    if (bytes > most_bytes_ - used) return false;
  } while (!used_bytes_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  return true;
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
    means->values.resize(static_cast<size_t>(index->slots()) * shape.kv_heads * shape.head_dim);
  }
  const int64_t bytes = segment_bytes(shape, keys);
  memory = Mapping(bytes, "lsh tables");
  if (index->reserve(bytes)) return;
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

LshSegment::~LshSegment() { index->give_back(memory.bytes()); }

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
