// SPDX-License-Identifier: Apache-2.0
//
// MagicPIG's own strategy: a key is read when it shares the query's code in enough tables, and the weight it
// gets is the inverse of how likely that was for its angle to the query. Each query head has its own keys.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "lsh_collision.h"
#include "lsh_index.h"
#include "strategies.h"

namespace sounder {

namespace {

constexpr int kMostCollisions = 3;
static_assert(kLshMostHeads >= kListsAtOnce);

// What the phase leaves in the scratch for a query head, beside its codes.
struct QueryFigures {
  float unit;  // an inverse norm times it is CollisionWeight's: sqrt(d) log 2 / |q|
  float mean;  // q·μ in the unit of logits
};

struct QueryScratch {
  QueryFigures *figures;  // [heads]
  uint16_t *codes;        // [tables][heads]
  uint32_t *sign_words;
};
QueryScratch scratch_of(const StrategyView &view, const LshShape &shape) {
  const int64_t codes = int64_t{view.heads} * shape.tables;
  QueryScratch scratch;
  scratch.figures = reinterpret_cast<QueryFigures *>(view.scratch);
  scratch.codes = reinterpret_cast<uint16_t *>(view.scratch + index_aligned(8 * view.heads));
  scratch.sign_words = reinterpret_cast<uint32_t *>(scratch.codes + index_aligned(codes));
  return scratch;
}

// Segments of tables that a driver's segment stands for, and the keys of them that it may find.
struct Part {
  int first, end;  // segments of tables
  KeyRange keys;
};

// Whole segments of tables that lie one after the other, of together at most kLshSegmentKeys keys. Returns
// how many parts there are; *part is set to that number `wanted`.
int cut_whole(const StrategyView &view, int wanted, Part *part) {
  const int count = view.lsh->segment_count(view.layer);
  int parts = 0;
  for (int first = 0; first < count; ++parts) {
    const int begin = view.lsh->segment(view.layer, first).begin;
    if (begin >= view.end) break;
    int next = first + 1;
    while (next < count && view.lsh->segment(view.layer, next).end() - begin <= kLshSegmentKeys) ++next;
    const int end = std::min(view.end, view.lsh->segment(view.layer, next - 1).end());
    if (parts == wanted) *part = {first, next, {std::min(end, std::max(begin, view.begin)), end}};
    first = next;
  }
  return parts;
}

// Where there are more parts than the driver takes, keys are cut evenly, whatever segments they are from.
Part cut_evenly(const StrategyView &view, int wanted) {
  const KeyRange keys = segment_range(view, wanted);
  const int count = view.lsh->segment_count(view.layer);
  int first = 0;
  while (first < count && view.lsh->segment(view.layer, first).end() <= keys.begin) ++first;
  int end = first;
  while (end < count && view.lsh->segment(view.layer, end).begin < keys.end) ++end;
  return {first, end, keys};
}

class LshStrategy : public Strategy {
 public:
  explicit LshStrategy(const StrategyShape &shape) {
    for (int i = 0; i < kMostCollisions; ++i)
      offsets_[i] = make_collision_offsets(shape.lsh_bits, shape.lsh_tables, i + 1);
  }

  bool is_shared(const StrategyView &) const override { return false; }
  int segments(const StrategyView &view) const override {
    const int parts = cut_whole(view, -1, nullptr);
    return parts <= kMostSegments ? parts : Strategy::segments(view);
  }
  int phases(const StrategyView &) const override { return 1; }
  bool is_segmented(int) const override { return false; }
  void run_phase(int, const StrategyView &view, int) const override;
  void choose(const StrategyView &view, int segment, int head, Choice &choice) const override {
    choose_heads(view, segment, head, 1, &choice);
  }
  void choose_heads(const StrategyView &view, int segment, int first, int count,
                    Choice *choices) const override;

 private:
  std::vector<float> offsets_[kMostCollisions];
};

// Codes of the queries themselves: they are not centred.
void LshStrategy::run_phase(int, const StrategyView &view, int) const {
  const LshIndex &index = view.lsh->index();
  const LshShape &shape = index.shape();
  const QueryScratch scratch = scratch_of(view, shape);
  index.kernels().hash({view.q, view.heads, view.head_dim, index.projections(), shape.bits, shape.tables,
                        scratch.codes, view.heads, scratch.sign_words});
  const LshHead head_tables = view.lsh->segment(view.layer, 0).head(index.slot(view.layer), view.kv_head);
  const double root = std::sqrt(double{1} * view.head_dim);
  for (int head = 0; head < view.heads; ++head) {
    const float *q = view.q + int64_t{head} * view.head_dim;
    double mean = 0, square = 0;
    for (int i = 0; i < view.head_dim; ++i) {
      mean += double{q[i]} * head_tables.mean[i];
      square += double{q[i]} * q[i];
    }
    const double norm = std::sqrt(square);
    // A query of zero has the code of zero: it meets keys as one at a right angle would.
    scratch.figures[head] = {
        norm < kLshLeastNorm ? 0.0f : static_cast<float>(root * std::numbers::ln2 / norm),
        static_cast<float>(mean * std::numbers::log2e / root)};
  }
}

// Adds what a head found in a segment of tables to its choice.
void add_found(const LshRetrieveTask &task, int head, const uint16_t *inverse_norms, float unit,
               Choice &choice) {
  const int32_t *keys = task.found[head].keys;
  float *offsets = choice.offsets + choice.count;
  for (int j = 0; j < task.found[head].count; ++j) {
    const uint32_t norm = inverse_norms[keys[j] - task.first_key];
    offsets[j] = unit * __builtin_bit_cast(float, norm << 16);
  }
  choice.count += task.found[head].count;
}

void LshStrategy::choose_heads(const StrategyView &view, int segment, int first, int count,
                               Choice *choices) const {
  const LshIndex &index = view.lsh->index();
  const LshShape &shape = index.shape();
  const QueryScratch scratch = scratch_of(view, shape);
  Part part;
  if (cut_whole(view, segment, &part) > kMostSegments) part = cut_evenly(view, segment);
  for (int i = 0; i < count; ++i) {
    choices[i].count = 0;
    choices[i].by_collision = true;
    choices[i].collision = {offsets_[view.params->collisions - 1].data(), scratch.figures[first + i].mean};
  }

  alignas(64) uint8_t counters[kLshMostKeys] = {};
  LshRetrieveTask task;
  task.bits = shape.bits;
  task.tables = shape.tables;
  task.codes = scratch.codes + first;
  task.code_stride = view.heads;
  task.heads = count;
  task.collisions = view.params->collisions;
  task.counters = counters;
  for (int s = part.first; s < part.end; ++s) {
    const LshSegment &tables = view.lsh->segment(view.layer, s);
    const LshHead own = tables.head(index.slot(view.layer), view.kv_head);
    task.starts = own.starts;
    task.ids = own.ids;
    task.keys = tables.keys;
    task.from = std::max(part.keys.begin, tables.begin) - tables.begin;
    task.until = std::min(part.keys.end, tables.end()) - tables.begin;
    task.first_key = tables.begin;
    if (task.from >= task.until) continue;
    task.next = own.inverse_norms + task.from;
    task.next_bytes = 2 * (task.until - task.from);
    for (int i = 0; i < count; ++i) task.found[i].keys = choices[i].keys + choices[i].count;
    index.kernels().retrieve(task);
    for (int i = 0; i < count; ++i)
      add_found(task, i, own.inverse_norms, scratch.figures[first + i].unit, choices[i]);
  }
}

}  // namespace

std::unique_ptr<Strategy> make_lsh_strategy(const StrategyShape &shape) {
  if (shape.lsh_bits == 0) return nullptr;
  return std::make_unique<LshStrategy>(shape);
}

}  // namespace sounder
