// SPDX-License-Identifier: Apache-2.0
//
// Blocks of made-up keys in rows as the KV cache has them, and their records, sealed by a level's kernels.
// Whatever lies beside what kernels may read is NaN; whatever lies beside what they may write is checked.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "reference/sketch.h"
#include "sampled/sketch_kernels.h"

namespace sketch_world {

using namespace sounder;
using Floats = std::vector<float>;
using Keys = std::vector<Floats>;  // [keys][head_dim]

// Runs body with the kernels of every level that this machine has.
template <typename F>
void each_level(F body) {
  int count = 0;
  const Kernels *const *levels = usable_levels(&count);
  for (int i = 0; i < count; ++i) body(*sketch_kernels(levels[i]->name));
}

inline uint32_t bits_of(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return u;
}
// The upper half is kept: a value that bf16 has.
inline float cut_to_bf16(float x) {
  const uint32_t u = bits_of(x) & 0xffff0000u;
  std::memcpy(&x, &u, 4);
  return x;
}

// Memory of just so many bytes, aligned to 64, with nothing behind them: a sanitizer sees every step beyond.
class Exactly {
 public:
  explicit Exactly(int64_t bytes) : memory_(static_cast<size_t>(bytes) + kEdge, '\xff') {
    // The end of an allocation is what sanitizers know best, so the spare bytes lie in front.
    const uintptr_t end = reinterpret_cast<uintptr_t>(memory_.data() + memory_.size());
    data_ = memory_.data() + memory_.size() - bytes - (end - static_cast<uintptr_t>(bytes)) % 64;
  }
  char *data() { return data_; }
  const char *data() const { return data_; }

 private:
  static constexpr size_t kEdge = 64;
  std::vector<char> memory_;
  char *data_;
};

enum class Kind { kGaussian, kOffset, kLowRank, kWild, kZeros, kBroken, kKindCount };

inline Keys make_keys(Kind kind, int count, int d, std::mt19937 &random) {
  std::normal_distribution<float> normal;
  Keys keys(static_cast<size_t>(count), Floats(static_cast<size_t>(d)));
  Floats offset(static_cast<size_t>(d)), direction(offset);
  for (float &x : offset) x = 8 * normal(random);
  for (float &x : direction) x = 2 * normal(random);
  for (size_t i = 0; i < keys.size(); ++i) {
    const float along = normal(random);
    for (size_t j = 0; j < keys[i].size(); ++j) {
      float x = normal(random);
      if (kind == Kind::kOffset) x += offset[j];
      if (kind == Kind::kLowRank) x = along * direction[j] + 0.1f * x;
      if (kind == Kind::kWild)
        x = std::ldexp(x, static_cast<int>(random() % 41) - 20 - (i % 5 == 0 ? 90 : 0));
      if (kind == Kind::kZeros) x = i % 3 == 0 ? x : 0.0f;
      if (kind == Kind::kBroken && i % 7 == 3 && j % 3 == i % 3)
        x = i % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                       : (j % 2 == 0 ? 1.0f : -1.0f) * (i % 3 == 0 ? INFINITY : 3e38f);
      keys[i][j] = cut_to_bf16(x);
    }
  }
  return keys;
}

// Rows [K | V] of a block, V all NaN, in the KV's type.
inline Exactly rows_of(const Keys &keys, size_t first, bool is_f32) {
  const size_t d = keys[0].size(), width = is_f32 ? 4 : 2;
  Exactly rows(static_cast<int64_t>(kIndexTokens * 2 * d * width));
  std::memset(rows.data(), 0xff, kIndexTokens * 2 * d * width);
  for (size_t i = 0; i < kIndexTokens; ++i)
    for (size_t j = 0; j < d; ++j) {
      char *at = rows.data() + (i * 2 * d + j) * width;
      const uint32_t u = bits_of(keys[first + i][j]);
      const uint16_t top = static_cast<uint16_t>(u >> 16);
      is_f32 ? std::memcpy(at, &u, 4) : std::memcpy(at, &top, 2);
    }
  return rows;
}

// Consecutive blocks, their records by the kernels and their sketches by the reference.
struct World {
  IndexShape shape;
  Floats signs;
  Keys keys;
  std::vector<Exactly> records;
  std::vector<reference::Sketch> sketches;

  World(const SketchKernels &kernels, const IndexShape &shape_, Kind kind, int blocks, uint32_t seed)
      : shape(shape_), signs(rotation_signs(shape_.head_dim, seed)) {
    std::mt19937 random(seed);
    keys = make_keys(kind, blocks * kIndexTokens, shape.head_dim, random);
    for (int b = 0; b < blocks; ++b) seal(kernels, b);
  }

  Keys block(int b) const { return {keys.begin() + b * kIndexTokens, keys.begin() + (b + 1) * kIndexTokens}; }

  void seal(const SketchKernels &kernels, int b) {
    const size_t before = static_cast<size_t>(b) - 1;
    const Exactly rows = rows_of(keys, static_cast<size_t>(b) * kIndexTokens, shape.kv_is_f32);
    Floats scratch(static_cast<size_t>(seal_scratch_floats(shape.head_dim)));
    records.emplace_back(record_bytes(shape));
    SealTask task;
    task.rows = rows.data();
    task.shape = shape;
    task.signs = signs.data();
    task.previous = b == 0 ? nullptr : records[before].data();
    task.block = b;
    task.record = records.back().data();
    task.scratch = scratch.data();
    (shape.kv_is_f32 ? kernels.seal_f32 : kernels.seal_bf16)(task);
    if (shape.sketch_bits > 0)
      sketches.push_back(
          reference::seal_sketch(block(b), shape, signs.data(), b == 0 ? nullptr : &sketches[before], b));
  }

  // scores[head][key], by a scan of blocks first … end - 1 whose records lie in random order between others.
  std::vector<std::vector<int>> scan(const SketchKernels &kernels, const Keys &queries, float beta, int first,
                                     int end) const {
    const int heads = static_cast<int>(queries.size()), d = shape.head_dim;
    const int64_t stride = record_bytes(shape), query_bytes = sketch_query_bytes(d);
    const int slots = static_cast<int>(records.size()) * 2;
    Exactly all(slots * stride), prepared(heads * query_bytes);
    std::vector<int32_t> blocks;
    for (size_t b = 0; b < records.size(); ++b) {
      blocks.push_back(static_cast<int32_t>((slots - 1) - 2 * b));  // the first record ends the memory
      std::memcpy(all.data() + blocks[b] * stride, records[b].data(), static_cast<size_t>(stride));
    }
    for (int h = 0; h < heads; ++h) {
      const Floats q = queries[static_cast<size_t>(h)];
      kernels.prepare(q.data(), signs.data(), d, shape.sketch_bits, beta, prepared.data() + h * query_bytes);
    }
    const int64_t keys_of_scan = (end - first) * kIndexTokens, score_stride = keys_of_scan + 5;
    std::vector<int16_t> scores(static_cast<size_t>(heads * score_stride), kUntouched);
    ScanTask task{};
    task.records = all.data();
    task.record_stride = stride;
    task.blocks = blocks.data();
    task.first_block = first;
    task.end_block = end;
    task.head_dim = d;
    task.bits = shape.sketch_bits;
    task.queries = prepared.data();
    task.heads = heads;
    task.scores = scores.data() - first * kIndexTokens;
    task.score_stride = score_stride;
    kernels.scan(task);
    std::vector<std::vector<int>> result(queries.size());
    for (size_t i = 0; i < scores.size(); ++i) {
      const int64_t place = static_cast<int64_t>(i) % score_stride;
      if (place >= keys_of_scan)
        CHECK(scores[i] == kUntouched);
      else
        result[i / static_cast<size_t>(score_stride)].push_back(scores[i]);
    }
    return result;
  }

  static constexpr int16_t kUntouched = -32768;  // no score
};

}  // namespace sketch_world
