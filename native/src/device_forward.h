// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "device.h"
#include "forward.h"

namespace sounder {

// The forward of a step on a device: decides which rows there are, and lets the device compute.
class DeviceForward : public Forward {
 public:
  DeviceForward(const ModelConfig &config, Device &device)
      : config_(config), device_(device), shape_(sampled_shape(config)) {}

  void run(Batch &batch, const UseLogits &use_logits) override;
  void attend_alone(int layer, const AttendRequest &request) override;
  void fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) override;
  void extend_lsh_of(LshTables &tables, const int32_t *blocks, int until) override;
  std::string description() const override;

 private:
  // The rows of a batch as the device takes them, in step_.
  void describe(const Batch &batch);
  void add_sampled_rows(const BatchSequence &sequence, int index);
  // Writes down which rows sampled at so many layers.
  void count_sampled(Batch &batch, int layers) const;
  void read_statistics(Batch &batch);
  void decode(Batch &batch, const UseLogits &use_logits);
  void run_layers(Batch &batch, const UseLogits &use_logits);
  // False when no row is left.
  template <typename Keep>
  bool keep_rows(Batch &batch, const Keep &keep);
  bool drop_cancelled(Batch &batch);
  void add_hidden(Batch &batch);
  void output(Batch &batch, const UseLogits &use_logits);
  void capture(Batch &batch, int what, int layer);

  const ModelConfig &config_;
  Device &device_;
  SampledShape shape_;
  DeviceStep step_;
};

}  // namespace sounder
