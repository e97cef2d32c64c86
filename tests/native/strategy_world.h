// SPDX-License-Identifier: Apache-2.0
//
// Made-up queries and keys of one group, laid out as a strategy sees them, and the passes of a strategy over
// them. Whatever lies beside what the strategy may read is NaN; whatever lies beside what it may write is
// checked afterwards.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "attention/partial.h"
#include "check.h"
#include "cpu/kernels.h"
#include "sampled/sketch_kernels.h"
#include "sampled/strategies.h"
#include "threads.h"

namespace strategy_world {

using namespace sounder;

// Runs body with the name of every level that this machine has.
template <typename F>
void each_level(F body) {
  int count = 0;
  const Kernels *const *levels = usable_levels(&count);
  for (int i = 0; i < count; ++i) body(levels[i]->name);
}

struct WorldShape {
  int heads = 4, head_dim = 64;
  int begin = 4, end = 1024;
  int budget = 256;
  bool kv_is_f32 = false;
  int quest_page = 0;
  int segment_keys = 4096;
  int sketch_bits = 0;
};

inline uint16_t as_bf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return static_cast<uint16_t>(u >> 16);
}

struct Chosen {
  std::vector<int> keys;
  std::vector<float> offsets;
  bool certain = false;
  bool operator==(const Chosen &) const = default;
};

class World {
 public:
  // Queries and keys are small integers: their products are exact at every level, and many are equal. Scores
  // spread by about three octaves.
  World(const WorldShape &shape_, uint32_t seed) : shape(shape_), random(seed) {
    auto integers = [&](std::vector<float> &to, int count, int most) {
      to.resize(static_cast<size_t>(count) * shape.head_dim);
      for (float &x : to) x = static_cast<float>(static_cast<int>(random() % (2 * most + 1)) - most);
    };
    integers(q, shape.heads, 1);
    integers(k, shape.end, 4);
    blocks.resize(static_cast<size_t>(shape.end) / kIndexTokens + 3);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    // Sink and tail of which each head attends something else.
    exact.resize(size_t(shape.heads) * 2 * partial_floats(shape.head_dim));
    for (int part = 0; part < 2 * shape.heads; ++part) {
      float *state = exact.data() + size_t(part) * partial_floats(shape.head_dim);
      make_partial_empty(state, shape.head_dim);
      if (part % 3 == 0) continue;
      state[shape.head_dim] = 1.0f + static_cast<float>(part);
      state[shape.head_dim + 1] = static_cast<float>(part % 5);
    }
    scratch.resize(static_cast<size_t>(strategy_scratch_bytes(shape.heads, shape.end)) + 128);
    lay_out();
  }

  // To be called again when k has changed.
  void lay_out() {
    const size_t values = blocks.size() * kIndexTokens * 2 * shape.head_dim;
    const size_t width = shape.kv_is_f32 ? 4 : 2;
    rows.assign(values * width, '\xff');  // NaN in both types
    for (int i = 0; i < shape.end; ++i) {
      const size_t row = static_cast<size_t>(blocks[i / kIndexTokens]) * kIndexTokens + i % kIndexTokens;
      write(rows.data() + row * 2 * shape.head_dim * width, &k[static_cast<size_t>(i) * shape.head_dim]);
    }
    const size_t bytes = static_cast<size_t>(record_bytes(index()));
    records.assign(blocks.size() * bytes + 64, '\xff');
    if (shape.sketch_bits > 0) seal();
    if (shape.quest_page > 0) write_bounds();
  }

  IndexShape index() const {
    return {shape.head_dim, shape.sketch_bits, 0, shape.quest_page, shape.kv_is_f32};
  }
  StrategyShape strategy_shape(const char *level) const {
    return {level, shape.heads, index(), kIndexSeed, 0, 0};
  }

  // log2 of sum exp of what a head attends in sink and tail.
  double log2_exact(int head) const {
    double sum = 0;
    for (int part = 2 * head; part < 2 * head + 2; ++part) {
      const float *state = exact.data() + size_t(part) * partial_floats(shape.head_dim);
      if (state[shape.head_dim] > 0) sum += state[shape.head_dim] * std::exp2(state[shape.head_dim + 1]);
    }
    return std::log2(sum);
  }

  // Leaves sink and tail out of all heads' attention, so that heads differ by their scores only.
  void attend_nothing_exactly() {
    for (int part = 0; part < 2 * shape.heads; ++part)
      make_partial_empty(exact.data() + size_t(part) * partial_floats(shape.head_dim), shape.head_dim);
  }

  StrategyView view(uint64_t draw_seed) {
    StrategyView view{};
    view.q = q.data();
    view.heads = shape.heads;
    view.head_dim = shape.head_dim;
    view.kv_is_f32 = shape.kv_is_f32;
    view.rows = rows.data();
    view.block_stride = int64_t{kIndexTokens} * 2 * shape.head_dim;
    view.records = record_of(0) - record_bytes(index()) * blocks[0];
    view.record_stride = record_bytes(index());
    view.blocks = blocks.data();
    view.begin = shape.begin;
    view.end = shape.end;
    view.budget = shape.budget;
    view.params = &params;
    view.draw_seed = draw_seed;
    view.segment_keys = shape.segment_keys;
    view.exact = exact.data();
    const auto start = reinterpret_cast<uintptr_t>(scratch.data());
    view.scratch = scratch.data() + (64 - start % 64) % 64;
    return view;
  }

  // q·k as a double.
  double dot(int head, int key) const {
    double sum = 0;
    for (int j = 0; j < shape.head_dim; ++j)
      sum += double{q[size_t(head) * shape.head_dim + j]} * k[size_t(key) * shape.head_dim + j];
    return sum;
  }

  // What the strategy chooses: once when the choice is shared, otherwise for each head.
  std::vector<Chosen> run(const Strategy &strategy, uint64_t draw_seed, int threads = 1) {
    const StrategyView seen = view(draw_seed);
    const int64_t bytes = strategy_scratch_bytes(shape.heads, shape.end);
    std::fill(scratch.begin(), scratch.end(), '\x7e');
    ThreadTeam team(threads);
    const int segments = strategy.segments(seen);
    CHECK(segments <= kMostSegments);
    for (int phase = 0; phase < strategy.phases(seen); ++phase) {
      // Segments in descending order too: who comes first must not matter.
      const int count = strategy.is_segmented(phase) ? segments : 1;
      auto body = [&](int chunk, int) { strategy.run_phase(phase, seen, count - 1 - chunk); };
      team.run(count, body);
      strategy.finish_phase(phase, seen);
    }
    std::vector<Chosen> chosen(strategy.is_shared(seen) ? 1 : shape.heads);
    for (int head = 0; head < static_cast<int>(chosen.size()); ++head)
      for (int segment = 0; segment < segments; ++segment)
        choose(strategy, seen, segment, head, chosen[head]);
    for (const char *p = seen.scratch + bytes; p < scratch.data() + scratch.size(); ++p) CHECK(*p == '\x7e');
    for (const char *p = scratch.data(); p < seen.scratch; ++p) CHECK(*p == '\x7e');
    return chosen;
  }

  WorldShape shape;
  std::mt19937 random;
  SampledParams params{};
  std::vector<float> q, k;
  std::vector<int32_t> blocks;

 private:
  static constexpr uint64_t kIndexSeed = 5;

  // The record of the context's block.
  char *record_of(int block) {
    char *start = records.data() + (64 - reinterpret_cast<uintptr_t>(records.data()) % 64) % 64;
    return start + record_bytes(index()) * blocks[block];
  }

  void seal() {
    const std::vector<float> signs = rotation_signs(shape.head_dim, kIndexSeed);
    std::vector<float> floats(static_cast<size_t>(seal_scratch_floats(shape.head_dim)) + 16);
    const SketchKernels &kernels = *sketch_kernels("scalar");
    const size_t block_bytes = size_t{kIndexTokens} * 2 * shape.head_dim * (shape.kv_is_f32 ? 4 : 2);
    for (int block = 0; block < shape.end / kIndexTokens; ++block) {
      SealTask task{};
      task.rows = rows.data() + block_bytes * blocks[block];
      task.shape = index();
      task.signs = signs.data();
      task.block = block;
      task.record = record_of(block);
      task.scratch = floats.data() + (64 - reinterpret_cast<uintptr_t>(floats.data()) % 64) % 64 / 4;
      (shape.kv_is_f32 ? kernels.seal_f32 : kernels.seal_bf16)(task);
    }
  }

  void write_bounds() {
    const size_t width = shape.kv_is_f32 ? 4 : 2;
    for (int first = 0; first < shape.end; first += shape.quest_page) {
      std::vector<float> least(&k[size_t(first) * shape.head_dim], &k[size_t(first + 1) * shape.head_dim]);
      std::vector<float> greatest = least;
      for (size_t i = 0; i < static_cast<size_t>(shape.quest_page) * shape.head_dim; ++i) {
        const float x = k[size_t(first) * shape.head_dim + i];
        least[i % shape.head_dim] = std::min(least[i % shape.head_dim], x);
        greatest[i % shape.head_dim] = std::max(greatest[i % shape.head_dim], x);
      }
      char *page = record_of(first / kIndexTokens) + quest_place(index()) +
                   size_t(first % kIndexTokens / shape.quest_page) * 2 * shape.head_dim * width;
      write(page, least.data());
      write(page + shape.head_dim * width, greatest.data());
    }
  }

  void write(char *to, const float *from) const {
    for (int j = 0; j < shape.head_dim; ++j) {
      const uint16_t narrow = as_bf16(from[j]);
      std::memcpy(to + size_t(j) * (shape.kv_is_f32 ? 4 : 2),
                  shape.kv_is_f32 ? static_cast<const void *>(from + j) : &narrow, shape.kv_is_f32 ? 4 : 2);
    }
  }

  static void choose(const Strategy &strategy, const StrategyView &view, int segment, int head, Chosen &all) {
    const KeyRange range = segment_range(view, segment);
    const int capacity = range.end - range.begin;
    std::vector<int32_t> keys(static_cast<size_t>(capacity) + 1, -77);
    std::vector<float> offsets(static_cast<size_t>(capacity) + 1, -77.0f);
    Choice choice{keys.data(), offsets.data(), capacity};
    strategy.choose(view, segment, head, choice);
    CHECK(choice.count >= 0 && choice.count <= capacity);
    CHECK(keys.back() == -77 && offsets.back() == -77.0f);
    CHECK(!choice.by_collision);
    all.certain = choice.certain;
    for (int i = 0; i < choice.count; ++i) {
      CHECK(keys[i] >= range.begin && keys[i] < range.end);
      CHECK(i == 0 || keys[i] > keys[i - 1]);
    }
    all.keys.insert(all.keys.end(), keys.begin(), keys.begin() + choice.count);
    if (!choice.certain)
      all.offsets.insert(all.offsets.end(), offsets.begin(), offsets.begin() + choice.count);
  }

  std::vector<float> exact;
  std::vector<char> rows, records, scratch;
};

}  // namespace strategy_world
