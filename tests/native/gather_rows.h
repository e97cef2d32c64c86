// SPDX-License-Identifier: Apache-2.0
//
// Chosen rows for tests of the gather kernels: a slab in which every row that is not chosen is NaN, and
// arrays that end where the kernel may read no further.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "reference/gather.h"
#include "sampled/gather.h"

namespace gather_rows {

constexpr int kBlock = 128;
constexpr float kUntouched = 12345.0f;

// How the choice was made: everything certain, probabilities of the strategy's, or of collisions.
enum class Kind { kCertain, kOffsets, kCollision };

struct Case {
  int head_dim, queries, count;
  bool is_f32;
  Kind kind;
  float spread = 1.0f;  // standard deviation of queries and keys
  uint32_t seed = 1;
};

// -log2 of the chance to share two of 150 tables of 10 bits, at each point's cosine, and a slope that is
// nowhere 0, so that places beyond the table's ends would show.
inline std::vector<float> collision_table() {
  std::vector<float> table(sounder::kCollisionPoints + 1);
  for (int i = 0; i <= sounder::kCollisionPoints; ++i) {
    const double cosine = 2.0 * i / sounder::kCollisionPoints - 1;
    const double p = std::pow(1 - std::acos(cosine) / std::acos(-1.0), 10.0);
    const double u = 1 - std::pow(1 - p, 150) - 150 * p * std::pow(1 - p, 149);
    table[i] = static_cast<float>(-std::log2(std::max(u, 1e-4)) + 0.4 * (1 - cosine));
  }
  return table;
}

struct Rows {
  Case shape;
  std::vector<uint16_t> slab_bf16;
  std::vector<float> slab_f32;
  int64_t block_stride;
  std::vector<int32_t> blocks, keys;
  std::vector<float> q, k, v;  // of the chosen keys, as stored
  std::vector<float> signs, offsets;
  std::vector<float> table;
  sounder::CollisionWeight collision;

  const void *slab() const {
    return shape.is_f32 ? static_cast<const void *>(slab_f32.data()) : slab_bf16.data();
  }
};

inline float as_bf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
  std::memcpy(&x, &u, 4);
  return x;
}

// Ascending keys, the first and last of blocks among them.
inline std::vector<int32_t> choose_keys(int count, int most, std::mt19937 &random) {
  std::vector<int32_t> keys(most);
  std::iota(keys.begin(), keys.end(), 0);
  std::shuffle(keys.begin(), keys.end(), random);
  const int32_t ends[] = {0, kBlock - 1, kBlock, most - 1};
  for (int i = 0; i < 4; ++i) std::swap(keys[i], *std::find(keys.begin(), keys.end(), ends[i]));
  keys.resize(count);
  std::sort(keys.begin(), keys.end());
  return keys;
}

inline void write_row(Rows &rows, int i) {
  const int d = rows.shape.head_dim;
  const int64_t at =
      rows.blocks[rows.keys[i] / kBlock] * rows.block_stride + int64_t{rows.keys[i] % kBlock} * 2 * d;
  for (int c = 0; c < 2 * d; ++c) {
    const float x = c < d ? rows.k[i * d + c] : rows.v[i * d + c - d];
    if (rows.shape.is_f32) {
      rows.slab_f32[at + c] = x;
    } else {
      uint32_t u;
      std::memcpy(&u, &x, 4);
      rows.slab_bf16[at + c] = static_cast<uint16_t>(u >> 16);
    }
  }
}

inline void make_offsets(Rows &rows, std::mt19937 &random) {
  if (rows.shape.kind == Kind::kCertain) return;
  std::uniform_real_distribution<float> uniform;
  rows.offsets.resize(rows.shape.count);
  if (rows.shape.kind == Kind::kOffsets) {
    // A third certain; the rest down to 2^-16; a few below 0, as draws with counts have them.
    for (float &x : rows.offsets) {
      const float u = uniform(random);
      x = u < 0.3f ? 0.0f : u < 0.35f ? -2.0f * uniform(random) : 16 * uniform(random);
    }
    return;
  }
  rows.table = collision_table();
  rows.collision = {rows.table.data(), 0.3f};
  const double unit = std::log2(std::exp(1.0)) / std::sqrt(double(rows.shape.head_dim));
  for (int i = 0; i < rows.shape.count; ++i) {
    double square_k = 0, square_q = 0;
    for (int c = 0; c < rows.shape.head_dim; ++c) {
      square_k += double(rows.k[i * rows.shape.head_dim + c]) * rows.k[i * rows.shape.head_dim + c];
      square_q += double(rows.q[c]) * rows.q[c];
    }
    // A few norms are too small, as rounded ones are: their cosines lie beyond 1.
    const double norm = std::sqrt(square_k * square_q) * (uniform(random) < 0.1f ? 0.2 : 1.0);
    rows.offsets[i] = static_cast<float>(1 / (norm * unit));
  }
}

inline Rows make_rows(const Case &shape) {
  Rows rows;
  rows.shape = shape;
  const int d = shape.head_dim;
  std::mt19937 random(shape.seed);
  std::normal_distribution<float> normal;
  const int context = (std::max(2 * shape.count, 300) + kBlock - 1) / kBlock * kBlock;
  rows.blocks.resize(context / kBlock + 2);  // two blocks are nobody's
  std::iota(rows.blocks.begin(), rows.blocks.end(), 0);
  std::shuffle(rows.blocks.begin(), rows.blocks.end(), random);
  rows.block_stride = int64_t{2} * kBlock * 2 * d;  // two KV heads, this is the first
  const size_t values = rows.blocks.size() * rows.block_stride;
  if (shape.is_f32)
    rows.slab_f32.assign(values, std::nanf(""));
  else
    rows.slab_bf16.assign(values, 0x7fc0);
  rows.keys = choose_keys(shape.count, context, random);
  auto fill = [&](std::vector<float> &to, size_t count, float scale, bool is_stored) {
    to.resize(count);
    for (float &x : to)
      x = is_stored && !shape.is_f32 ? as_bf16(normal(random) * scale) : normal(random) * scale;
  };
  fill(rows.q, size_t(shape.queries) * d, shape.spread, false);
  fill(rows.k, size_t(shape.count) * d, shape.spread, true);
  fill(rows.v, size_t(shape.count) * d, 1.0f, true);
  for (int i = 0; i < shape.count; ++i) write_row(rows, i);
  make_offsets(rows, random);
  for (int i = 0; i < d; ++i) rows.signs.push_back(random() & 1 ? 1.0f : -1.0f);
  return rows;
}

inline sounder::GatherTask task_of(const Rows &rows, int from = 0, int to = -1) {
  sounder::GatherTask task{};
  task.rows = rows.slab();
  task.block_stride = rows.block_stride;
  task.blocks = rows.blocks.data();
  task.keys = rows.keys.data() + from;
  task.count = (to < 0 ? rows.shape.count : to) - from;
  task.offsets = rows.offsets.empty() ? nullptr : rows.offsets.data() + from;
  task.collision = rows.shape.kind == Kind::kCollision ? &rows.collision : nullptr;
  task.q = rows.q.data();
  task.queries = rows.shape.queries;
  task.head_dim = rows.shape.head_dim;
  task.signs = rows.signs.data();
  return task;
}

// The states of all queries, without gaps. Scratch and results hold NaN before; nothing may be written
// beside them.
inline std::vector<float> run(const sounder::GatherKernels &kernels, const Rows &rows, int from = 0,
                              int to = -1) {
  constexpr int kGap = 3;
  const int size = sounder::sampled_floats(rows.shape.head_dim);
  const int64_t scratch_floats = sounder::gather_scratch_floats(rows.shape.head_dim);
  std::unique_ptr<float, decltype(&std::free)> scratch(
      static_cast<float *>(std::aligned_alloc(64, (scratch_floats + 16 + 15) / 16 * 64)), &std::free);
  std::fill_n(scratch.get(), scratch_floats, std::nanf(""));
  std::fill_n(scratch.get() + scratch_floats, 16, kUntouched);
  std::vector<float> states(size_t(rows.shape.queries) * (size + kGap), kUntouched);
  sounder::GatherTask task = task_of(rows, from, to);
  task.states = states.data();
  task.state_stride = size + kGap;
  task.scratch = scratch.get();
  (rows.shape.is_f32 ? kernels.gather_f32 : kernels.gather_bf16)(task);
  for (int i = 0; i < 16; ++i) CHECK(scratch.get()[scratch_floats + i] == kUntouched);
  std::vector<float> packed;
  for (int r = 0; r < rows.shape.queries; ++r) {
    const float *state = states.data() + r * (size + kGap);
    packed.insert(packed.end(), state, state + size);
    for (int i = 0; i < kGap; ++i) CHECK(state[size + i] == kUntouched);
  }
  return packed;
}

// What a state says, in units in which any maximum is as good as another.
struct Meaning {
  std::vector<double> output;
  double log_sum, inverse_samples, squared_error;
};

inline Meaning meaning_of(const float *state, const std::vector<float> &signs, int d) {
  Meaning meaning;
  std::vector<float> output(d);
  const sounder::SampledResult result = sounder::finish_sampled(state, signs.data(), d, output.data());
  meaning.output.assign(output.begin(), output.end());
  meaning.log_sum = std::log2(state[d]) + state[d + 1];
  meaning.inverse_samples = result.inverse_samples;
  meaning.squared_error = result.squared_error;
  return meaning;
}

inline std::vector<double> widened(const std::vector<float> &x) { return {x.begin(), x.end()}; }

inline Meaning exact_meaning(const Rows &rows, int query) {
  namespace reference = sounder::reference;
  const int d = rows.shape.head_dim;
  std::vector<double> k = widened(rows.k), v = widened(rows.v), q = widened(rows.q),
                      signs = widened(rows.signs), offsets = widened(rows.offsets), state(d + 5);
  if (rows.shape.kind == Kind::kCollision)
    for (int i = 0; i < rows.shape.count; ++i)
      offsets[i] = reference::interpolate(
          rows.table.data(), sounder::kCollisionPoints,
          (reference::logit(&q[size_t(query) * d], &k[size_t(i) * d], d) - rows.collision.mean) * offsets[i]);
  reference::gather({rows.shape.count, d, k.data(), v.data(), offsets.empty() ? nullptr : offsets.data()},
                    &q[size_t(query) * d], signs.data(), state.data());
  Meaning meaning;
  meaning.output.resize(d);
  auto result = reference::finish_gather(state.data(), signs.data(), d, meaning.output.data());
  meaning.log_sum = std::log2(state[d]) + state[d + 1];
  meaning.inverse_samples = result.inverse_samples;
  meaning.squared_error = result.squared_error;
  return meaning;
}

inline std::string name_of(const char *level, const Case &c) {
  const char *kinds[] = {"certain", "offsets", "collision"};
  return std::string(level) + (c.is_f32 ? " f32 " : " bf16 ") + kinds[static_cast<int>(c.kind)] + " d " +
         std::to_string(c.head_dim) + " queries " + std::to_string(c.queries) + " keys " +
         std::to_string(c.count);
}

template <typename F>
void for_levels(const F &body) {
  int count = 0;
  const sounder::Kernels *const *levels = sounder::usable_levels(&count);
  for (int i = 0; i < count; ++i) body(*sounder::gather_kernels(levels[i]->name));
}

}  // namespace gather_rows
