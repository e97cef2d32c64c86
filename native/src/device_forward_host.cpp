// SPDX-License-Identifier: Apache-2.0
//
// The CPU's part of a step on a device, where it attends the rows that sample, and keeps the index of what
// lies in host memory.
#include <algorithm>
#include <chrono>
#include <vector>

#include "batch_rows.h"
#include "device_forward.h"
#include "lsh_extension.h"

namespace sounder {

template <typename... Layer>
void DeviceForward::extend(BatchSequence &sequence, Layer... layer) {
  end_where_it_fails(sequence,
                     [&] { host_->extend(*sequence.lsh, layer..., sequence.blocks, sequence.lsh_until); });
}

void DeviceForward::extend_before(Batch &batch) {
  for (BatchSequence &sequence : batch.sequences)
    if (sequence.lsh != nullptr && sequence.lsh_until <= sequence.position) extend(sequence);
}

// A row that is verified is the CPU's as a whole.
int DeviceForward::device_heads() const {
  if (config_.host_attention != SOUNDER_HOST_ATTENTION_SPLIT) return 0;
  for (const DeviceStep::SampledRow &row : step_.sampled)
    if (row.is_last && row.params->verify) return 0;
  return split_.device_heads();
}

void DeviceForward::attend_on_host(Batch &batch, int layer) {
  if (step_.sampled.empty()) return;
  device_.hand_over(layer, device_heads());
  answer(batch, layer, 0, step_.sampled.size());
}

void DeviceForward::answer(Batch &batch, int layer, size_t first, size_t end) {
  lap_of_device(batch, SOUNDER_STAGE_OTHER);
  const Device::Handover handover = device_.take_over();
  lap_of_device(batch, SOUNDER_STAGE_MATMUL);
  host_rows_.clear();
  const int64_t width = config_.q_width();
  for (size_t i = first; i < end; ++i) {
    const DeviceStep::SampledRow &row = step_.sampled[i];
    const BatchSequence &sequence = batch.sequences[size_t(row.sequence)];
    if (sequence.cancelled) continue;
    const int64_t place = static_cast<int64_t>(i - first) * width;
    SampledStatistics *found = row.is_last ? &host_found_[size_t(row.sequence)] : &other_rows_;
    host_rows_.push_back({handover.queries + place, handover.answers + place * config_.value_bytes(),
                          row.position, sequence.blocks, row.params, sequence.lsh, found, row.is_last});
  }
  const auto start = std::chrono::steady_clock::now();
  host_->attend(layer, host_rows_.data(), static_cast<int>(host_rows_.size()), device_heads());
  const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start;
  host_ms_ += taken.count();
  batch.clock.lap(SOUNDER_STAGE_ATTENTION);
}

bool DeviceForward::can_halve(const Batch &batch) const {
  const size_t rows = batch.row_token.size();
  if (config_.host_attention != SOUNDER_HOST_ATTENTION_CPU || batch.tells_stages || rows < 2 ||
      step_.sampled.size() != rows || config_.host_layers < config_.sampling_layers())
    return false;
  return std::none_of(step_.sampled.begin(), step_.sampled.end(),
                      [](const DeviceStep::SampledRow &row) { return row.params->verify; });
}

// Rows that are cancelled on the way are dropped at the end.
void DeviceForward::run_halves(Batch &batch, const UseLogits &use_logits) {
  const int layers = config_.layers;
  device_.begin(step_);
  for (int layer = 0, end; layer < layers; layer = end) {
    mark_cancelled(batch);
    for (end = layer; end < layers && config_.cpu_attends(end); ++end) continue;
    if (end > layer) {
      run_halves_through(batch, layer, end);
    } else {
      device_.project(layer);
      device_.complete(layer);
      end = layer + 1;
    }
  }
  count_sampled(batch, config_.sampling_layers());
  if (drop_cancelled(batch)) output(batch, use_logits);
}

void DeviceForward::run_halves_through(Batch &batch, int layer, int end) {
  const int rows = static_cast<int>(step_.sampled.size()), half = (rows + 1) / 2;
  auto ask = [&](int of) {
    device_.project(of);
    device_.hand_over(of, 0);
  };
  for (int first : {0, half}) {
    device_.look_at(first, first == 0 ? half : rows - half);
    ask(layer);
  }
  for (; layer < end; ++layer) {
    mark_cancelled(batch);
    for (int first : {0, half}) {
      const int count = first == 0 ? half : rows - half;
      device_.look_at(first, count);
      answer(batch, layer, size_t(first), size_t(first + count));
      device_.complete(layer);
      if (layer + 1 < end) ask(layer + 1);
    }
    batch.thousandths->store((layer + 1) * 1000 / (config_.layers + 1));
  }
  device_.look_at(0, rows);
}

// The layer's rows are here. In the order of the layers, from indexed_ on.
void DeviceForward::index_on_host(Batch &batch, int layer) {
  indexed_ = layer + 1;
  if (!config_.cpu_attends(layer)) return;
  std::vector<Sealer::Job> jobs;
  for (BatchSequence &sequence : batch.sequences) {
    if (sequence.cancelled) continue;
    const int first = sequence.position / kBlockTokens;
    const int end = (sequence.position + sequence.count) / kBlockTokens;
    if (end > first) jobs.push_back({sequence.blocks, first, end});
  }
  host_->seal(layer, jobs);
  for (BatchSequence &sequence : batch.sequences)
    if (!sequence.cancelled && sequence.lsh != nullptr && sequence.lsh_until > sequence.position)
      extend(sequence, layer);
}

void DeviceForward::finish_on_host(Batch &batch) {
  if (device_heads() > 0 && host_ms_ > 0) split_.record(device_.own_heads_ms(), host_ms_);
  for (int layer = indexed_; layer < config_.layers; ++layer) index_on_host(batch, layer);
}

// The answer comes in the values of KV, as in a step.
void DeviceForward::attend_alone_on_host(int layer, const AttendRequest &request, const SampledRange &range) {
  const size_t width = static_cast<size_t>(config_.q_width());
  SampledStatistics found;
  std::vector<char> answer(width * size_t(config_.value_bytes()));
  const HostAttention::Row row{request.q,       answer.data(), request.position, request.blocks,
                               &request.params, request.lsh,   &found,           true};
  host_->attend(layer, &row, 1);
  host_->widen(answer.data(), request.output);
  *request.statistics = found;
  request.statistics->layers = 1;
  request.statistics->offloaded = range.end - range.begin;
}

void DeviceForward::fill_with_noise(const int32_t *blocks, int first, int end, uint32_t seed) {
  ahead_ = {};
  device_.fill_with_noise(blocks, first, end, seed);
  if (host_ == nullptr || end / kBlockTokens == first / kBlockTokens) return;
  for (int layer = 0; layer < config_.layers; ++layer)
    if (config_.cpu_attends(layer)) host_->seal(layer, {{blocks, first / kBlockTokens, end / kBlockTokens}});
}

}  // namespace sounder
