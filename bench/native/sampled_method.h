// SPDX-License-Identifier: Apache-2.0
//
// One way of sampling on the bench's data: its index, and the driver that runs it as the engine does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "sampled/sampled_attention.h"
#include "sampled/sketch_kernels.h"
#include "sampled_data.h"
#include "sounder.h"

namespace bench {

using namespace sounder;

struct MethodShape {
  std::string name;
  int attention;    // enum sounder_attention
  int sketch_bits;  // of the sketch, otherwise 0
  int lsh_bits, lsh_tables;
};

class Method {
 public:
  Method(ThreadTeam &team, const Kernels &level, const Data &data, const MethodShape &shape)
      : team_(team),
        level_(level),
        data_(data),
        name_(shape.name),
        sampled_(sampled_shape(data.shape(), shape)),
        driver_(team, level, sampled_, 1, data.shape().length) {
    params_.attention = shape.attention;
    params_.budget = 0.02f;
    params_.beta = 1.0f;
    params_.collisions = 2;
    job_ = {nullptr, nullptr, data.shape().length - 1, data.blocks(), &params_, nullptr, &statistics_};
    if (is_sketch()) build_records();
    if (shape.lsh_bits > 0) build_tables();
  }

  const std::string &name() const { return name_; }
  bool is_sketch() const { return sampled_.index.sketch_bits > 0; }
  const SampledShape &shape() const { return sampled_; }
  const Data &data() const { return data_; }
  const Kernels &level() const { return level_; }
  ThreadTeam &team() const { return team_; }
  LayerRecords records() const {
    const int64_t bytes = record_bytes(sampled_.index);
    return {static_cast<const char *>(records_.data()), data_.block_count() * bytes, bytes};
  }
  int64_t index_bytes() const { return index_bytes_; }

  void set_budget(float budget) { params_.budget = budget; }
  float budget() const { return params_.budget; }
  void set_seed(uint64_t seed) { params_.seed = seed; }
  SampledJob job(int query) const {
    SampledJob job = job_;
    job.q = data_.q(query);
    return job;
  }

  void run(int query, float *output) {
    statistics_ = {};
    SampledJob job = this->job(query);
    job.output = output;
    driver_.run(0, data_.slab(), records(), &job, 1);
  }
  // Of the last run.
  const SampledStatistics &statistics() const { return statistics_; }

 private:
  static SampledShape sampled_shape(const DataShape &data, const MethodShape &shape) {
    const AttentionShape attention{data.kv_heads * data.group, data.kv_heads, data.head_dim, 0, false};
    const IndexShape index{data.head_dim, shape.sketch_bits, SOUNDER_CENTRING_BLOCK, 0, false};
    return {attention, index, 1, shape.lsh_bits, shape.lsh_tables, 4, 64, 256};
  }

  void build_records() {
    const int kv_heads = data_.shape().kv_heads, d = data_.shape().head_dim;
    const IndexShape &index = sampled_.index;
    const int64_t bytes = record_bytes(index);
    index_bytes_ = bytes * kv_heads * data_.block_count();
    records_ = Mapping(index_bytes_, "sketches");
    const int64_t scratch_bytes = index_aligned(4 * seal_scratch_floats(d));
    const Mapping scratch(scratch_bytes * team_.size(), "scratch of sealing");
    const std::vector<float> signs = rotation_signs(d, sampled_.index_seed);
    const SketchKernels &kernels = *sketch_kernels(level_.name);
    auto body = [&](int chunk, int thread) {
      const int kv_head = chunk % kv_heads, block = data_.blocks()[chunk / kv_heads];
      SealTask task{};
      task.rows = data_.rows(block, kv_head);
      task.shape = index;
      task.signs = signs.data();
      task.block = chunk / kv_heads;
      task.record =
          static_cast<char *>(records_.data()) + (int64_t{kv_head} * data_.block_count() + block) * bytes;
      task.scratch = reinterpret_cast<float *>(static_cast<char *>(scratch.data()) + thread * scratch_bytes);
      kernels.seal_bf16(task);
    };
    team_.run(data_.block_count() * kv_heads, body);
  }

  void build_tables() {
    const DataShape &data = data_.shape();
    const LshShape shape{1,    data.kv_heads, data.head_dim, sampled_.lsh_bits, sampled_.lsh_tables,
                         true, false,         {true}};
    tables_ = std::make_unique<LshTables>(make_lsh_index(shape, level_.name, 1, int64_t{1} << 40));
    const int until = tables_->target(data.length, data.length, sampled_.window);
    tables_->extend(team_, 0, data_.slab(), data_.blocks(), until);
    tables_->commit();
    job_.lsh = tables_.get();
    index_bytes_ = lsh_bytes(shape, until);
  }

  ThreadTeam &team_;
  const Kernels &level_;
  const Data &data_;
  std::string name_;
  SampledShape sampled_;
  SampledAttention driver_;
  SampledParams params_{};
  SampledStatistics statistics_;
  SampledJob job_;
  Mapping records_;
  std::unique_ptr<LshTables> tables_;
  int64_t index_bytes_ = 0;
};

}  // namespace bench
