// SPDX-License-Identifier: Apache-2.0
//
// Layers whose rows choose the keys that they read (sampled/sampled_cuda.h): the queries of a step, their
// kernels layer by layer, what they found, and the records of blocks that become full.
#pragma once

#include <array>
#include <vector>

#include "attend.h"
#include "branches.h"
#include "buffer.h"
#include "device.h"
#include "device_workspace.h"
#include "sampled/sampled_cuda.h"
#include "sampled/strategies.h"
#include "stage_marks.h"

namespace sounder::cuda {

class SampledLayers {
 public:
  // Parts of the workspace (device_workspace.h).
  struct Places {
    char *work;
    SampledQuery *queries;
    float *statistics;
    SketchConstants *constants;
    float *projections, *collisions;  // of lsh
    int32_t *signatures;
  };
  // What layers have of the index, each [layers], empty where one has none: records of KV blocks, and
  // signatures in places of contexts.
  struct Index {
    const std::vector<Buffer> &records, &signatures;
  };
  SampledLayers(const ModelConfig &config, int processors, const Index &index, const Places &places);

  // Whether `prepare` can do what comes before attention, so that nothing else need.
  bool can_prepare() const { return can_turn(shape_.head_dim, config_.rope_pairs()); }

  // half: 0 or 1, of what is pinned: one may still be copied from while the other is filled.
  // The rows of a step that sample, those of a strategy together, and the blocks that it fills; tables: where
  // those of its sequences lie.
  void describe(cudaStream_t stream, const DeviceStep &step, const int32_t *tables, int half);
  // The same rows once more, behind the others, with sink and tail of row i of the step's in the blocks of
  // table i.
  void describe_near(cudaStream_t stream, const int32_t *tables);
  int rows() const { return static_cast<int>(queries_.size()); }
  bool verifies() const { return verifies_; }
  // Blocks [first, end) of a sequence, which the step fills.
  struct Filled {
    int sequence, first, end;
  };
  const std::vector<Filled> &filled() const { return filled_; }
  // What a captured graph of these rows depends on besides their number: no context is longer.
  int longest() const { return longest_; }
  // How many rows each strategy has.
  using Counts = std::array<int, kDeviceStrategies>;
  const Counts &counts() const { return counts_; }

  // Makes the records of blocks [first, end) of a context. row_table, table: its blocks' ids in the slab of
  // rows and among the records, from its first on.
  void seal(cudaStream_t stream, int layer, const void *rows, const int32_t *row_table, const int32_t *table,
            int first, int end);

  // Makes the signatures of the step's signed_keys at a layer that samples, whose rows are there.
  bool signs() const { return !signed_.empty(); }
  void sign(cudaStream_t stream, int layer, const void *slab, const int32_t *tables);

  // Rows that sample, from q, k and v of `rows` to `output` [R, H D] in bf16. Their sinks and tails lie in
  // rows.near_rows: in the slab, or as describe_near says.
  void attend(cudaStream_t stream, int layer, const void *slab, const NewRows &rows, uint16_t *output,
              StageMarks &marks);
  // The first so many KV heads alone.
  void attend_heads(cudaStream_t stream, int layer, const void *slab, const NewRows &rows, uint16_t *output,
                    int heads);
  // How far `output` of rows that are verified is from `exact`.
  void verify(cudaStream_t stream, uint16_t *output, const uint16_t *exact);

  void clear_statistics(cudaStream_t stream);
  // Queues them; there when the stream is done.
  void fetch_statistics(cudaStream_t stream, int half);
  std::vector<SampledStatistics> statistics(int half) const;

 private:
  Launcher launcher(cudaStream_t stream, StageMarks *marks = nullptr) const;
  void order_by_strategy(const DeviceStep &step);
  void upload_signatures(cudaStream_t stream, const DeviceStep &step);
  const int32_t *signatures_of(int sequence) const {
    return places_.signatures + int64_t{sequence} * device_table_width(config_);
  }
  SampledStep step_of(int layer, const void *slab, uint16_t *output) const;
  // Cuts a step's queries into those of one strategy, and as many as there is room for.
  template <typename Body>
  void for_waves(SampledStep step, const Body &body) const;

  const ModelConfig &config_;
  SketchShape shape_;
  int processors_;
  Places places_;
  Index index_;
  int64_t staging_bytes_, found_bytes_;  // of a half
  PinnedBuffer staging_, found_;
  char *staged_ = nullptr;  // the half of this step
  Branches branches_;

  std::vector<SampledQuery> queries_;
  std::vector<int> order_;  // which of the step's sampled rows each of them is
  Counts counts_{};
  std::vector<Filled> filled_;
  std::vector<DeviceStep::Signed> signed_;
  bool verifies_ = false;
  int longest_ = 0, sequences_ = 0;
};

}  // namespace sounder::cuda
