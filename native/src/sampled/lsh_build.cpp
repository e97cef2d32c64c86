// SPDX-License-Identifier: Apache-2.0
//
// Tables of a segment at one layer: the mean, codes, and a counting sort of each table, each in parallel.
#include <algorithm>
#include <cstring>

#include "../attention/attention.h"
#include "lsh_index.h"

namespace sounder {

namespace {

// Where K of a segment's tokens lie, for one KV head.
struct KeyRows {
  const void *slab;
  const int32_t *blocks;
  int kv_heads, kv_head, head_dim;

  template <typename T>
  const T *of_block(int block) const {
    const int64_t head_values = int64_t{kBlockTokens} * 2 * head_dim;
    return static_cast<const T *>(slab) + (int64_t{blocks[block]} * kv_heads + kv_head) * head_values;
  }
};

float widened(float x) { return x; }
float widened(uint16_t x) { return __builtin_bit_cast(float, uint32_t{x} << 16); }

// In double, block by block in order: the same whatever the number of threads.
template <typename T>
void find_mean(const KeyRows &rows, int first_block, int end_block, float *mean) {
  const int d = rows.head_dim;
  std::vector<double> sum(static_cast<size_t>(d));
  for (int block = first_block; block < end_block; ++block) {
    const T *row = rows.of_block<T>(block);
    for (int key = 0; key < kBlockTokens; ++key, row += 2 * d)
      for (int i = 0; i < d; ++i) sum[i] += double{widened(row[i])};
  }
  const double keys = double{kBlockTokens} * (end_block - first_block);
  for (int i = 0; i < d; ++i) mean[i] = static_cast<float>(sum[i] / keys);
}

// Codes, on entry in the place of the table's ids, become ids grouped by code. starts [buckets + 1].
void sort_table(uint16_t *ids, int keys, int buckets, uint16_t *starts, uint16_t *codes) {
  std::memcpy(codes, ids, 2 * static_cast<size_t>(keys));
  std::memset(starts, 0, 2 * (static_cast<size_t>(buckets) + 1));
  for (int i = 0; i < keys; ++i) ++starts[codes[i] + 1];
  for (int code = 0; code < buckets; ++code)
    starts[code + 1] = static_cast<uint16_t>(starts[code + 1] + starts[code]);
  // Each start moves on to its end, which is the next one's start.
  for (int i = 0; i < keys; ++i) ids[starts[codes[i]]++] = static_cast<uint16_t>(i);
  std::memmove(starts + 1, starts, 2 * static_cast<size_t>(buckets));
  starts[0] = 0;
}

class Builder {
 public:
  Builder(LshSegment &segment, int layer, const void *slab, const int32_t *blocks)
      : segment_(segment),
        shape_(segment.index->shape()),
        slot_(segment.index->slot(layer)),
        first_block_(segment.begin / kBlockTokens),
        blocks_(segment.keys / kBlockTokens),
        rows_{slab, blocks, shape_.kv_heads, 0, shape_.head_dim} {}

  void run(ThreadTeam &team);

 private:
  KeyRows rows_of(int kv_head) const {
    KeyRows rows = rows_;
    rows.kv_head = kv_head;
    return rows;
  }
  // The segment's arrays, to be written.
  static uint16_t *writable(const uint16_t *values) { return const_cast<uint16_t *>(values); }

  void find_mean_of(int kv_head) const;
  void hash_block(int kv_head, int block, float *scratch) const;

  LshSegment &segment_;
  const LshShape &shape_;
  int slot_, first_block_, blocks_;
  KeyRows rows_;
};

void Builder::find_mean_of(int kv_head) const {
  const KeyRows rows = rows_of(kv_head);
  float *mean = segment_.mean(slot_, kv_head);
  const int end = first_block_ + blocks_;
  shape_.kv_is_f32 ? find_mean<float>(rows, first_block_, end, mean)
                   : find_mean<uint16_t>(rows, first_block_, end, mean);
}

// scratch: the centred keys, then sign words
void Builder::hash_block(int kv_head, int block, float *scratch) const {
  const LshHead head = segment_.head(slot_, kv_head);
  const LshKernels &kernels = segment_.index->kernels();
  const KeyRows rows = rows_of(kv_head);
  const int d = shape_.head_dim, first = block * kBlockTokens;
  uint16_t *norms = writable(head.inverse_norms) + first;
  if (shape_.kv_is_f32)
    kernels.centre_f32(rows.of_block<float>(first_block_ + block), 2 * d, kBlockTokens, d, head.mean, scratch,
                       norms);
  else
    kernels.centre_bf16(rows.of_block<uint16_t>(first_block_ + block), 2 * d, kBlockTokens, d, head.mean,
                        scratch, norms);
  LshHashTask task;
  task.x = scratch;
  task.vectors = kBlockTokens;
  task.head_dim = d;
  task.projections = segment_.index->projections();
  task.bits = shape_.bits;
  task.tables = shape_.tables;
  task.codes = writable(head.ids) + first;
  task.code_stride = segment_.keys;
  task.sign_words = reinterpret_cast<uint32_t *>(scratch + int64_t{kBlockTokens} * d);
  kernels.hash(task);
}

void Builder::run(ThreadTeam &team) {
  if (segment_.makes_means && shape_.centred) {
    auto mean = [&](int kv_head, int) { find_mean_of(kv_head); };
    team.run(shape_.kv_heads, mean);
  }
  const size_t scratch_size = size_t{kBlockTokens} * shape_.head_dim +
                              static_cast<size_t>(lsh_sign_words(shape_.bits * shape_.tables, kBlockTokens));
  std::vector<std::vector<float>> scratch(static_cast<size_t>(team.size()));
  auto hash = [&](int chunk, int thread) {
    std::vector<float> &own = scratch[static_cast<size_t>(thread)];
    own.resize(scratch_size);
    hash_block(chunk / blocks_, chunk % blocks_, own.data());
  };
  team.run(shape_.kv_heads * blocks_, hash);

  std::vector<std::vector<uint16_t>> codes(static_cast<size_t>(team.size()));
  auto sort = [&](int chunk, int thread) {
    std::vector<uint16_t> &own = codes[static_cast<size_t>(thread)];
    own.resize(static_cast<size_t>(segment_.keys));
    const LshHead head = segment_.head(slot_, chunk / shape_.tables);
    const int64_t table = chunk % shape_.tables;
    const int buckets = 1 << shape_.bits;
    sort_table(writable(head.ids) + table * segment_.keys, segment_.keys, buckets,
               writable(head.starts) + table * (buckets + 1), own.data());
  };
  team.run(shape_.kv_heads * shape_.tables, sort);
}

}  // namespace

void LshSegment::build(ThreadTeam &team, int layer, const void *slab, const int32_t *blocks) {
  Builder(*this, layer, slab, blocks).run(team);
  is_built[static_cast<size_t>(index->slot(layer))] = true;
}

}  // namespace sounder
