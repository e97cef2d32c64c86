// SPDX-License-Identifier: Apache-2.0
//
// A device that does nothing: tests override what they look at.
#pragma once

#include "device.h"

namespace check {

class FakeDevice : public sounder::Device {
 public:
  std::string name() const override { return "fake"; }
  void prepare(const sounder::ModelConfig &, int64_t) override {}
  char *weights() override { return nullptr; }
  void upload(char *, const void *, int64_t) override {}
  void set_weights(const sounder::ModelWeights &) override {}
  void pin(int, void *, int64_t) override {}
  void unpin() noexcept override {}
  void copy_rows(int32_t, int32_t, int) override {}
  void read_block(int32_t, bool, char *) override {}
  void write_block(int32_t, bool, const char *) override {}
  void fill_with_noise(const int32_t *, int, int, uint32_t) override {}
  void attend(int, const float *, const sounder::DeviceStep &, float *) override {}
  void sign(const sounder::DeviceStep &) override {}
  void begin(const sounder::DeviceStep &) override {}
  void project(int) override {}
  void complete(int) override {}
  void look_at(int, int) override {}
  void hand_over(int, int) override {}
  Handover take_over() override { return {}; }
  void await_rows(int) override {}
  double own_heads_ms() override { return 0; }
  sounder::StageMs stage_ms() override { return {}; }
  void keep(const sounder::DeviceStep &, const std::vector<int32_t> &) override {}
  void normalise() override {}
  const float *logits(int, int) override { return nullptr; }
  Decoded decode(const DecodeCall &) override { return {}; }
  void await_block(int32_t) override {}
  std::vector<sounder::SampledStatistics> statistics() override { return {}; }
  std::vector<float> read_rows(int) override { return {}; }
  void wait() override {}
};

}  // namespace check
