// SPDX-License-Identifier: Apache-2.0
//
// Rows that the CPU attends where a layer's KV lies in host memory: their queries go out, what they attended
// comes back.
#include <numeric>

#include "cuda_device.h"

namespace sounder::cuda {

namespace {

// Calls use(i, length) for runs of rows that follow each other, from rows[i] on.
template <typename Use>
void each_run(const std::vector<int32_t> &rows, const Use &use) {
  for (size_t first = 0, end; first < rows.size(); first = end) {
    end = first + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    use(first, end - first);
  }
}

}  // namespace

void CudaDevice::list_handed(const DeviceStep &step) {
  handed_.clear();
  if (config_->host_attention == SOUNDER_HOST_ATTENTION_GPU) return;
  for (const DeviceStep::SampledRow &row : step.sampled) handed_.push_back(row.row);
  const int64_t bytes = int64_t(handed_.size()) * config_->q_width() * (4 + config_->value_bytes());
  if (bytes <= handover_bytes_) return;
  state_->handover = PinnedBuffer(bytes, "pin memory for queries");
  handover_bytes_ = bytes;
}

// What is [R, …] and used between projection and completion of a layer.
void CudaDevice::look_at(int first_row, int rows) {
  const ModelConfig &c = *config_;
  DeviceState &s = *state_;
  const int64_t by = first_row - first_row_, value = c.value_bytes();
  s.x += by * c.hidden;
  s.normed += by * c.hidden * value;
  s.qkv += by * c.qkv_width();
  s.q += by * c.q_width() * value;
  s.attended += by * c.q_width() * value;
  s.gate_up += by * 2 * c.intermediate * value;
  s.activated += by * c.intermediate * value;
  s.cosine += by * c.rope_pairs();
  s.sine += by * c.rope_pairs();
  s.rows += by;
  first_row_ = first_row;
  rows_ = rows;
  handed_.resize(size_t(rows));
  std::iota(handed_.begin(), handed_.end(), 0);
}

// Of the rows that are looked at: queries, then answers.
char *CudaDevice::handover() const {
  return state_->handover.data() + int64_t{first_row_} * config_->q_width() * (4 + config_->value_bytes());
}

void CudaDevice::hand_over(int layer, int own_heads) {
  DeviceState &s = *state_;
  const size_t width = size_t(config_->q_width()) * 4, stride = size_t(config_->qkv_width()) * 4;
  each_run(handed_, [&](size_t first, size_t count) {
    const float *from = s.qkv + int64_t{handed_[first]} * config_->qkv_width();
    check(cudaMemcpy2DAsync(handover() + first * width, width, from, stride, width, count,
                            cudaMemcpyDeviceToHost, s.stream),
          "hand queries over");
  });
  if (stages(layer)) s.host->await_written();
  mark(SOUNDER_STAGE_OTHER);
  s.handed_over[part()].record(s.stream);
  own_heads_ = own_heads;
  if (own_heads > 0) attend_own_heads(layer, own_heads);
  if (is_whole()) attend_exactly(layer, exact_plan_, s.attended);
}

// What was appended before the queries went out is seen here.
Device::Handover CudaDevice::take_over() {
  check(cudaEventSynchronize(state_->handed_over[part()]), "hand queries over");
  const int64_t queries = int64_t(handed_.size()) * config_->q_width() * 4;
  return {reinterpret_cast<const float *>(handover()), handover() + queries};
}

void CudaDevice::await_rows(int layer) {
  if (stages(layer)) return state_->host->wait_written(layer);
  check(cudaEventSynchronize(state_->layer_appended[layer % 2]), "append KV");
}

void CudaDevice::attend_own_heads(int layer, int heads) {
  count_own_heads();
  DeviceState &s = *state_;
  NewRows rows{};
  rows.qkv = s.qkv;
  rows.is_done = true;
  rows.near_rows = reinterpret_cast<uint16_t *>(s.slabs[size_t(layer)]);
  s.own_begin.record(s.stream);
  s.sampled->attend_heads(s.stream, layer, s.slabs[size_t(layer)], rows,
                          reinterpret_cast<uint16_t *>(s.attended), heads);
  s.own_end.record(s.stream);
  is_timing_ = true;
}

void CudaDevice::count_own_heads() {
  if (!is_timing_) return;
  const DeviceState &s = *state_;
  float ms = 0;
  check(cudaEventSynchronize(s.own_end), "attend");
  check(cudaEventElapsedTime(&ms, s.own_begin, s.own_end), "say how long it took");
  own_heads_ms_ += double{ms};
  is_timing_ = false;
}

// While the CPU attends, and the device's own heads beside it, the stages are the CPU's.
void CudaDevice::take_answers() {
  DeviceState &s = *state_;
  marks_.skip(s.stream);
  const size_t value = size_t(config_->value_bytes()), width = size_t(config_->q_width()) * value;
  const size_t group = size_t(config_->heads / config_->kv_heads) * size_t(config_->head_dim);
  const size_t own = size_t(own_heads_) * group * value;  // of each row, which the device has
  const char *answers = handover() + handed_.size() * size_t(config_->q_width()) * 4 + own;
  each_run(handed_, [&](size_t first, size_t count) {
    check(cudaMemcpy2DAsync(s.attended + size_t(handed_[first]) * width + own, width, answers + first * width,
                            width, width - own, count, cudaMemcpyHostToDevice, s.stream),
          "take back what was attended");
  });
  mark(SOUNDER_STAGE_OTHER);
}

}  // namespace sounder::cuda
