// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "device.h"
#include "forward.h"
#include "head_split.h"
#include "host_attention.h"

namespace sounder {

// The forward of a step on a device: decides which rows there are, and lets the device compute.
class DeviceForward : public Forward {
 public:
  // host: attends where the CPU does (ModelConfig::cpu_attends); nullptr where it does so nowhere.
  DeviceForward(const ModelConfig &config, Device &device, std::unique_ptr<HostAttention> host = nullptr)
      : config_(config),
        device_(device),
        host_(std::move(host)),
        split_(config.kv_heads),
        shape_(sampled_shape(config)) {}

  void run(Batch &batch, const UseLogits &use_logits) override;
  void attend_alone(int layer, const AttendRequest &request) override;
  void fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) override;
  void extend_lsh_of(LshTables &tables, const int32_t *blocks, int until) override;
  std::string description() const override;

 private:
  // The rows of a batch as the device takes them, in step_.
  void describe(const Batch &batch);
  // Those of a sequence, whose first row has this position.
  void add_sampled_rows(const BatchSequence &sequence, int index, int position, DeviceStep &step) const;
  // Extends contexts' signatures; the step makes them.
  void extend_on_device(Batch &batch);
  int covered(const LshTables *tables) const;
  std::vector<int32_t> places_of(const LshTables *tables) const;
  // Writes down which rows sampled at so many layers.
  void count_sampled(Batch &batch, int layers) const;
  void read_statistics(Batch &batch);
  void end_failed_step(const char *why);
  // The time since the last lap is the device's, whose stage it is unless it tells them apart itself.
  static void lap_of_device(Batch &batch, int stage);
  void tell_stages(Batch &batch);
  // device_forward_decode.cpp
  bool is_decode(const Batch &batch) const;
  bool make_next(const Batch &batch, DeviceStep &next) const;
  void decode(Batch &batch, const UseLogits &use_logits);
  void run_layers(Batch &batch, const UseLogits &use_logits);
  // False when no row is left.
  template <typename Keep>
  bool keep_rows(Batch &batch, const Keep &keep);
  bool drop_cancelled(Batch &batch);
  void add_hidden(Batch &batch);
  void output(Batch &batch, const UseLogits &use_logits);
  void capture(Batch &batch, int what, int layer);
  void attend_alone_on_host(int layer, const AttendRequest &request, const SampledRange &range);

  // device_forward_host.cpp: what the CPU does in a step. Before it, tables grow over keys that are there; at
  // a layer, sampled rows are attended; while the device computes the next layer, or after the step, blocks
  // that became full get records, and tables grow over the keys that came.
  void extend_before(Batch &batch);
  void attend_on_host(Batch &batch, int layer);
  // The rows [first, end) of those that were handed over.
  void answer(Batch &batch, int layer, size_t first, size_t end);
  // A step in which all rows sample, and all where the CPU attends alone, is run in two halves: while it
  // attends one of them, the device computes the other.
  bool can_halve(const Batch &batch) const;
  void run_halves(Batch &batch, const UseLogits &use_logits);
  // Layers [layer, end), where the CPU attends.
  void run_halves_through(Batch &batch, int layer, int end);
  // KV heads of sampled rows that the device attends beside the CPU.
  int device_heads() const;
  void index_on_host(Batch &batch, int layer);
  void finish_on_host(Batch &batch);
  // Extends a sequence's tables, at one layer or at all.
  template <typename... Layer>
  void extend(BatchSequence &sequence, Layer... layer);

  const ModelConfig &config_;
  Device &device_;
  std::unique_ptr<HostAttention> host_;
  HeadSplit split_;     // where heads are divided
  double host_ms_ = 0;  // that the CPU attended in this step
  int indexed_ = 0;     // layers whose index has what came in this step
  SampledShape shape_;
  DeviceStep step_;
  std::vector<DeviceStep::Signed> signed_;  // in this step, whichever rows are left
  // The step that comes after the last one if its contexts go on by the tokens that were found; empty where
  // none may be queued ahead.
  struct Ahead {
    std::vector<int32_t> step, tokens;
    bool is_queued = false;
  };
  Ahead ahead_;
  std::vector<HostAttention::Row> host_rows_;
  std::vector<SampledStatistics> host_found_;  // by sequence of the batch
  SampledStatistics other_rows_;               // of rows that are not the last of their sequence
};

}  // namespace sounder
