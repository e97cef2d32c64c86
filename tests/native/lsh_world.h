// SPDX-License-Identifier: Apache-2.0
//
// Made-up keys of a context, laid out as blocks, with the lsh tables of them, and what the tables should hold
// by the reference.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "reference/lsh.h"
#include "sampled/gather.h"
#include "sampled/lsh_index.h"
#include "sampled/strategies.h"

namespace lsh_world {

using namespace sounder;

constexpr int64_t kPlenty = int64_t{1} << 40;

template <typename F>
void each_level(F body) {
  int count = 0;
  const Kernels *const *levels = usable_levels(&count);
  for (int i = 0; i < count; ++i) body(levels[i]->name);
}

inline LshShape shape_of(int head_dim, int bits, int tables, int layers = 1, int kv_heads = 1,
                         bool kv_is_f32 = false) {
  return {layers, kv_heads, head_dim, bits, tables, true, kv_is_f32, std::vector<bool>(layers, true)};
}

inline uint16_t as_bf16(float x) { return static_cast<uint16_t>(__builtin_bit_cast(uint32_t, x) >> 16); }
inline float of_bf16(uint16_t x) { return __builtin_bit_cast(float, uint32_t{x} << 16); }

inline std::shared_ptr<LshIndex> index_of(const LshShape &shape, const char *level = nullptr,
                                          int64_t most_bytes = kPlenty) {
  int count = 0;
  return make_lsh_index(shape, level != nullptr ? level : usable_levels(&count)[0]->name, 11, most_bytes);
}

// Keys around a mean of twice their spread, as keys of models lie; what lies beside K is NaN.
class Keys {
 public:
  Keys(const LshShape &shape_, int count_, uint32_t seed, int blocks_of_pool = 0)
      : shape(shape_), count(count_), random(seed) {
    blocks.resize(static_cast<size_t>(std::max(count / 128 + 2, blocks_of_pool)));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    values.resize(size_t(shape.layers) * shape.kv_heads * count * shape.head_dim);
    std::normal_distribution<float> normal;
    std::vector<float> offset(static_cast<size_t>(shape.head_dim));
    for (int head = 0; head < shape.layers * shape.kv_heads; ++head) {
      for (float &x : offset) x = 2 * normal(random);
      for (int i = 0; i < count * shape.head_dim; ++i)
        key(head, 0)[i] = offset[i % shape.head_dim] + normal(random);
    }
    lay_out();
  }

  float *key(int head, int i) { return &values[(size_t(head) * count + i) * shape.head_dim]; }
  const float *key(int head, int i) const { return &values[(size_t(head) * count + i) * shape.head_dim]; }

  // To be called again when keys have changed; with bf16 it rounds them.
  void lay_out() {
    const size_t width = shape.kv_is_f32 ? 4 : 2;
    slabs.assign(
        shape.layers,
        std::vector<char>(blocks.size() * size_t(shape.kv_heads) * 128 * 2 * shape.head_dim * width, '\xff'));
    for (int layer = 0; layer < shape.layers; ++layer)
      for (int h = 0; h < shape.kv_heads; ++h)
        for (int i = 0; i < count; ++i) {
          float *from = key(layer * shape.kv_heads + h, i);
          const size_t row = (size_t(blocks[i / 128]) * shape.kv_heads + h) * 128 + i % 128;
          char *to = slabs[layer].data() + row * 2 * shape.head_dim * width;
          for (int j = 0; j < shape.head_dim; ++j) {
            const uint16_t narrow = as_bf16(from[j]);
            if (!shape.kv_is_f32) from[j] = of_bf16(narrow);
            std::memcpy(to + j * width, shape.kv_is_f32 ? static_cast<void *>(from + j) : (void *)&narrow,
                        width);
          }
        }
  }

  // V beside K, the same in all layers and heads: value_of(key, dimension).
  template <typename F>
  void write_values(const F &value_of) {
    const int d = shape.head_dim;
    for (std::vector<char> &slab : slabs)
      for (int h = 0; h < shape.kv_heads; ++h)
        for (int i = 0; i < count; ++i) {
          const size_t row = (size_t(blocks[i / 128]) * shape.kv_heads + h) * 128 + i % 128;
          for (int j = 0; j < d; ++j) {
            const float value = float(value_of(i, j));
            const uint16_t narrow = as_bf16(value);
            const size_t place = row * 2 * d + d + j;
            if (shape.kv_is_f32)
              std::memcpy(slab.data() + place * 4, &value, 4);
            else
              std::memcpy(slab.data() + place * 2, &narrow, 2);
          }
        }
  }

  // A step that covers keys up to there, in all layers.
  void extend(LshTables &tables, ThreadTeam &team, int until) const {
    for (int layer = 0; layer < shape.layers; ++layer)
      tables.extend(team, layer, slabs[layer].data(), blocks.data(), until);
  }
  void cover(LshTables &tables, ThreadTeam &team, int until) const {
    extend(tables, team, until);
    tables.commit();
  }

  LshShape shape;
  int count;
  std::mt19937 random;
  std::vector<float> values;  // [layers * kv_heads][count][head_dim]
  std::vector<int32_t> blocks;
  std::vector<std::vector<char>> slabs;
};

// Projections as [projection][head_dim].
inline std::vector<double> projections_of(const LshIndex &index) {
  const LshShape &shape = index.shape();
  const int projections = shape.bits * shape.tables, d = shape.head_dim;
  std::vector<double> plain(size_t(projections) * d);
  for (int p = 0; p < projections; ++p)
    for (int k = 0; k < d; ++k)
      plain[size_t(p) * d + k] = index.projections()[(size_t(p / 32) * d + k) * 32 + p % 32];
  return plain;
}

// Codes [tables][keys] that a segment's tables say its keys have; every id must be there once, ascending
// within its code.
inline std::vector<uint32_t> codes_in(const LshSegment &segment, int slot, int kv_head) {
  const LshShape &shape = segment.index->shape();
  const LshHead head = segment.head(slot, kv_head);
  const int buckets = 1 << shape.bits;
  std::vector<uint32_t> codes(size_t(shape.tables) * segment.keys, ~0u);
  for (int table = 0; table < shape.tables; ++table) {
    const uint16_t *starts = head.starts + size_t(table) * (buckets + 1);
    const uint16_t *ids = head.ids + size_t(table) * segment.keys;
    CHECK(starts[0] == 0 && starts[buckets] == segment.keys);
    for (int code = 0; code < buckets; ++code)
      for (int i = starts[code]; i < starts[code + 1]; ++i) {
        CHECK(ids[i] < segment.keys && (i == starts[code] || ids[i] > ids[i - 1]));
        uint32_t &place = codes[size_t(table) * segment.keys + ids[i]];
        CHECK(place == ~0u);
        place = static_cast<uint32_t>(code);
      }
  }
  return codes;
}

inline bool same_tables(const LshSegment &a, const LshSegment &b) {
  const size_t means = a.means->values.size();
  return a.begin == b.begin && a.keys == b.keys && a.memory.bytes() == b.memory.bytes() &&
         std::memcmp(a.memory.data(), b.memory.data(), size_t(a.memory.bytes())) == 0 &&
         means == b.means->values.size() && a.means->values == b.means->values;
}
inline bool same_tables(const LshTables &a, const LshTables &b) {
  if (a.segment_count(0) != b.segment_count(0) || a.covered() != b.covered()) return false;
  for (int i = 0; i < a.segment_count(0); ++i)
    if (!same_tables(a.segment(0, i), b.segment(0, i))) return false;
  return true;
}

// What a strategy finds for one head, and how.
struct Found {
  std::vector<int> keys;
  std::vector<float> offsets;
  CollisionWeight collision{};
};

// Queries of one group at one layer and KV head against a context's tables.
class Asker {
 public:
  Asker(const Keys &keys_, const LshTables &tables, int heads, int begin, int end, int collisions)
      : keys(keys_) {
    params.collisions = collisions;
    q.resize(size_t(heads) * keys.shape.head_dim);
    scratch.resize(size_t(strategy_scratch_bytes(heads, keys.count)) + 128);
    view.heads = heads;
    view.head_dim = keys.shape.head_dim;
    view.kv_is_f32 = keys.shape.kv_is_f32;
    view.blocks = keys.blocks.data();
    view.begin = begin;
    view.end = end;
    view.params = &params;
    view.lsh = &tables;
    view.segment_keys = segment_keys_of(end, 8);
    aim(0, 0);
  }
  Asker(const Asker &) = delete;

  void aim(int layer, int kv_head) {
    const LshShape &shape = keys.shape;
    view.layer = layer;
    view.kv_head = kv_head;
    view.q = q.data();
    view.block_stride = int64_t{shape.kv_heads} * 128 * 2 * shape.head_dim;
    view.rows =
        keys.slabs[layer].data() + int64_t{kv_head} * 128 * 2 * shape.head_dim * (shape.kv_is_f32 ? 4 : 2);
    const auto start = reinterpret_cast<uintptr_t>(scratch.data());
    view.scratch = scratch.data() + (64 - start % 64) % 64;
  }

  std::vector<Found> ask(const Strategy &strategy) {
    std::fill(scratch.begin(), scratch.end(), '\x7e');
    const int64_t bytes = strategy_scratch_bytes(view.heads, keys.count);
    CHECK(!strategy.is_shared(view) && strategy.phases(view) == 1 && !strategy.is_segmented(0));
    segments = strategy.segments(view);
    CHECK(segments >= 1 && segments <= kMostSegments);
    strategy.run_phase(0, view, 0);
    strategy.finish_phase(0, view);
    std::vector<Found> found(size_t(view.heads));
    for (int head = 0; head < view.heads; ++head)
      for (int segment = 0; segment < segments; ++segment) choose(strategy, segment, head, found[head]);
    for (const char *p = view.scratch + bytes; p < scratch.data() + scratch.size(); ++p) CHECK(*p == '\x7e');
    return found;
  }

  const Keys &keys;
  SampledParams params{};
  StrategyView view{};
  std::vector<float> q;
  int segments = 0;

 private:
  void choose(const Strategy &strategy, int segment, int head, Found &all) {
    const int capacity = most_segment_keys(keys.count);
    chosen_keys.assign(size_t(capacity) + 1, -77);
    chosen_offsets.assign(size_t(capacity) + 1, -77.0f);
    Choice choice{chosen_keys.data(), chosen_offsets.data(), capacity};
    strategy.choose(view, segment, head, choice);
    CHECK(choice.count >= 0 && choice.count <= capacity && choice.by_collision && !choice.certain);
    CHECK(chosen_keys.back() == -77 && chosen_offsets.back() == -77.0f);
    for (int i = 0; i < choice.count; ++i) {
      CHECK(chosen_keys[i] >= view.begin && chosen_keys[i] < view.end);
      CHECK(all.keys.empty() || chosen_keys[i] > all.keys.back());
      CHECK(chosen_keys[i] - chosen_keys[0] < capacity);
      all.keys.push_back(chosen_keys[i]);
      all.offsets.push_back(chosen_offsets[i]);
    }
    all.collision = choice.collision;
  }

  std::vector<char> scratch;
  std::vector<int32_t> chosen_keys;
  std::vector<float> chosen_offsets;
};

// The sampled state of a head over what was found, attended as the driver does.
inline std::vector<float> attend(const Asker &asker, Found &found, int head, const char *level,
                                 const std::vector<float> &signs) {
  const int d = asker.view.head_dim;
  std::vector<float> state(sampled_floats(d)), scratch(gather_scratch_floats(d) + 16);
  GatherTask task{};
  task.rows = asker.view.rows;
  task.block_stride = asker.view.block_stride;
  task.blocks = asker.view.blocks;
  task.keys = found.keys.data();
  task.count = static_cast<int>(found.keys.size());
  task.offsets = found.offsets.data();
  task.collision = &found.collision;
  task.q = asker.q.data() + size_t(head) * d;
  task.queries = 1;
  task.head_dim = d;
  task.signs = signs.data();
  task.states = state.data();
  task.state_stride = sampled_floats(d);
  const auto start = reinterpret_cast<uintptr_t>(scratch.data());
  task.scratch = scratch.data() + (64 - start % 64) % 64 / 4;
  asker.view.kv_is_f32 ? gather_kernels(level)->gather_f32(task) : gather_kernels(level)->gather_bf16(task);
  return state;
}
inline std::vector<float> attend(const Asker &asker, Found &found, int head, const char *level) {
  return attend(asker, found, head, level, std::vector<float>(size_t(asker.view.head_dim), 1.0f));
}

inline std::unique_ptr<Strategy> strategy_of(const LshShape &shape, const char *level, int heads = 1) {
  return make_lsh_strategy(
      {level, heads, {shape.head_dim, 0, 0, 0, shape.kv_is_f32}, 0, shape.bits, shape.tables});
}

inline void draw_queries(Asker &asker, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (float &x : asker.q) x = normal(random);
}

}  // namespace lsh_world
