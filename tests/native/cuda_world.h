// SPDX-License-Identifier: Apache-2.0
//
// Made-up contexts for the GPU's kernels of sampled attention, and what the CPU's kernels
// make of the same bytes. device_memory.h and instructions.cuh are the GPU's, or the emulation's
// (emulated_cuda).
#pragma once

#include <device_memory.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <instructions.cuh>
#include <numeric>
#include <random>
#include <vector>

#include "attention/partial.h"
#include "cuda/sampled/strategies.h"
#include "reference/gather.h"
#include "sampled/draw_scratch.h"
#include "sampled/gather.h"
#include "sampled/sketch_kernels.h"
#include "sampled/strategies.h"
#include "sounder.h"

namespace cuda_world {

using namespace sounder;

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : count_(count), data_(device_memory::take(count * sizeof(T))) {}
  explicit DeviceArray(const std::vector<T> &values) : DeviceArray(values.size()) {
    device_memory::copy(data_, values.data(), values.size() * sizeof(T));
  }
  ~DeviceArray() { device_memory::give_back(data_); }
  DeviceArray(const DeviceArray &) = delete;
  DeviceArray &operator=(const DeviceArray &) = delete;
  T *data() const { return static_cast<T *>(data_); }
  std::vector<T> values() const {
    std::vector<T> all(count_);
    device_memory::copy(all.data(), data_, count_ * sizeof(T));
    return all;
  }

 private:
  size_t count_;
  void *data_;
};

template <typename T>
std::vector<T> copied(const T *device, size_t count) {
  std::vector<T> values(count);
  device_memory::copy(values.data(), device, count * sizeof(T));
  return values;
}

inline uint16_t to_bf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  return static_cast<uint16_t>((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
inline float from_bf16(uint16_t x) {
  const uint32_t u = uint32_t{x} << 16;
  float value;
  std::memcpy(&value, &u, 4);
  return value;
}

inline SampledParams asking(int attention, int draws = 0) {
  SampledParams params{};
  params.attention = attention;
  params.draws = draws;
  return params;
}

struct WorldShape {
  cuda::SketchShape sketch{8, 2, 128, 2};
  std::vector<int> lengths{1500};  // keys of each context, the new token's included
  int sink = 4, window = 64, segment_keys = 512, centring = 0;
  float budget = 0.1f, beta = 1.0f, spread = 1.5f;
  int branches = 0;  // streams beside which heads are attended
  int quest_page = 0;
  bool lsh_centred = true;
  // Queries and keys of few bits, and no RoPE: true scores are the same in whatever order they are summed.
  bool coarse = false;
};

// Several contexts in one slab, blocks in random order; the last row of each is the new token's, unwritten.
class World {
 public:
  static constexpr uint64_t kIndexSeed = 5;

  World(const WorldShape &shape_, uint32_t seed)
      : shape(shape_), random(seed), signs(rotation_signs(shape_.sketch.head_dim, kIndexSeed)) {
    const int d = shape.sketch.head_dim;
    for (int length : shape.lengths) {
      first_block.push_back(block_count);
      block_count += (length + kIndexTokens - 1) / kIndexTokens;
    }
    blocks.resize(static_cast<size_t>(block_count) + 3);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::shuffle(blocks.begin(), blocks.end(), random);
    fill_rows();
    std::normal_distribution<float> normal;
    qkv.resize(shape.lengths.size() * static_cast<size_t>(shape.sketch.heads + 2 * shape.sketch.kv_heads) *
               d);
    for (float &x : qkv) x = value(shape.spread * normal(random));
    records.assign(blocks.size() * shape.sketch.kv_heads * static_cast<size_t>(record_stride()) + 64, '\x55');
  }

  IndexShape index() const {
    return {shape.sketch.head_dim, shape.sketch.bits, shape.centring, shape.quest_page, false};
  }
  int64_t record_stride() const { return record_bytes(index()); }
  size_t row_values() const {
    return static_cast<size_t>(shape.sketch.kv_heads) * kIndexTokens * 2 * shape.sketch.head_dim;
  }
  char *aligned_records() {
    return records.data() + (64 - reinterpret_cast<uintptr_t>(records.data()) % 64) % 64;
  }

  // The records of all full blocks but the open ones, by the CPU's kernels.
  void seal(const SketchKernels &kernels) {
    const int d = shape.sketch.head_dim;
    std::vector<float> scratch(static_cast<size_t>(seal_scratch_floats(d)) + 16);
    float *aligned = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64) % 64 / 4;
    for (size_t c = 0; c < shape.lengths.size(); ++c)
      for (int b = 0; b < shape.lengths[c] / kIndexTokens; ++b)
        for (int h = 0; h < shape.sketch.kv_heads; ++h) {
          auto record_of = [&](int block) {
            return aligned_records() +
                   (int64_t{blocks[first_block[c] + block]} * shape.sketch.kv_heads + h) * record_stride();
          };
          SealTask task{};
          task.rows =
              rows.data() + blocks[first_block[c] + b] * row_values() + size_t(h) * kIndexTokens * 2 * d;
          task.shape = index();
          task.signs = signs.data();
          task.previous = b == 0 ? nullptr : record_of(b - 1);
          task.block = b;
          task.record = record_of(b);
          task.scratch = aligned;
          kernels.seal_bf16(task);
        }
  }

  cuda::SampledQuery query(size_t context, const int32_t *device_blocks, const SampledParams &params) const {
    cuda::SampledQuery q{};
    q.blocks = q.near_blocks = device_blocks + first_block[context];
    q.signatures = q.blocks;
    q.seed = 77 + context;
    q.draws = params.draws;
    q.collisions = params.collisions;
    q.row = q.statistics = static_cast<int32_t>(context);
    q.position = shape.lengths[context] - 1;
    q.begin = std::min(shape.sink, q.position + 1);
    q.end = std::max(0, q.position + 1 - shape.window) / kIndexTokens * kIndexTokens;
    q.budget = static_cast<int>(std::ceil(double{shape.budget} * (q.end - q.begin)));
    q.segment_keys = shape.segment_keys;
    q.beta = shape.beta;
    q.beta_shrink =
        static_cast<uint32_t>(std::lrint(std::min(65536.0 / double{shape.beta}, double{(1 << 20) - 1})));
    return q;
  }

  WorldShape shape;
  std::mt19937 random;
  std::vector<float> signs, qkv;
  std::vector<int> first_block;
  int block_count = 0;
  std::vector<int32_t> blocks;
  std::vector<uint16_t> rows;  // [block][kv head][token][K | V]
  std::vector<char> records;

 private:
  float value(float x) const { return shape.coarse ? std::clamp(std::rint(8 * x), -127.0f, 127.0f) / 8 : x; }

  // Keys lie around a mean, some of them much further out; unused rows are NaN.
  void fill_rows() {
    const size_t d = static_cast<size_t>(shape.sketch.head_dim);
    rows.assign(blocks.size() * row_values(), 0x7fc0);
    std::normal_distribution<float> normal;
    std::vector<float> mean(d);
    for (float &x : mean) x = 2 * normal(random);
    for (size_t c = 0; c < shape.lengths.size(); ++c)
      for (int token = 0; token + 1 < shape.lengths[c]; ++token)
        for (int h = 0; h < shape.sketch.kv_heads; ++h) {
          const size_t block = static_cast<size_t>(blocks[first_block[c] + token / kIndexTokens]);
          uint16_t *row =
              rows.data() + block * row_values() + (size_t(h) * kIndexTokens + token % kIndexTokens) * 2 * d;
          const float far = token % 29 == 0 ? 3.0f : 1.0f;
          for (size_t i = 0; i < 2 * d; ++i)
            row[i] = to_bf16(value(normal(random) * far + (i < d ? mean[i] : 0.3f)));
        }
  }
};

}  // namespace cuda_world
