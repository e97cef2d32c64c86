// SPDX-License-Identifier: Apache-2.0
#include "device_forward.h"

#include <algorithm>

#include "batch_rows.h"
#include "plan.h"

namespace sounder {

void DeviceForward::describe(const Batch &batch) {
  step_ = {};
  step_.capturing = batch.capture != nullptr;
  step_.tells_stages = batch.tells_stages;
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const BatchSequence &s = batch.sequences[i];
    step_.sequences.push_back({s.first_row, s.rows, s.position + s.count - s.rows, s.blocks, places_of(s.lsh),
                               s.choice.value_or(TokenChoice{})});
    add_sampled_rows(s, static_cast<int>(i), step_.sequences.back().position, step_);
  }
  for (int32_t token : batch.row_token) step_.tokens.push_back(batch.tokens[size_t(token)]);
  step_.signed_keys = signed_;
}

void DeviceForward::add_sampled_rows(const BatchSequence &s, int index, int position,
                                     DeviceStep &step) const {
  const int covers = covered(s.lsh);
  for (int i = exact_rows(shape_, s.params, position, s.rows, covers); i < s.rows; ++i) {
    DeviceStep::SampledRow row{s.first_row + i, index, position + i, {}, &s.params, i == s.rows - 1};
    sampled_range(shape_, s.params, row.position, covers, &row.range);
    step.sampled.push_back(row);
  }
}

void DeviceForward::count_sampled(Batch &batch, int layers) const {
  for (const DeviceStep::SampledRow &row : step_.sampled) {
    BatchSequence &s = batch.sequences[size_t(row.sequence)];
    s.sampled_from = std::min(s.sampled_from, row.position);
    if (!row.is_last) continue;
    s.statistics.layers += layers;
    s.statistics.offloaded = row.range.end - row.range.begin;
  }
}

// Layers and keys to choose from were counted before.
void DeviceForward::read_statistics(Batch &batch) {
  const bool any = std::any_of(batch.sequences.begin(), batch.sequences.end(),
                               [](const BatchSequence &s) { return s.statistics.layers > 0; });
  if (!any) return;
  for (const std::vector<SampledStatistics> &found : {device_.statistics(), host_found_}) {
    for (size_t i = 0; i < found.size(); ++i) {
      SampledStatistics &own = batch.sequences[i].statistics;
      own.chosen_keys += found[i].chosen_keys;
      own.chosen_rows += found[i].chosen_rows;
      own.inverse_samples += found[i].inverse_samples;
      own.squared_error += found[i].squared_error;
      own.verify_error += found[i].verify_error;
    }
  }
}

void DeviceForward::lap_of_device(Batch &batch, int stage) {
  if (batch.tells_stages)
    batch.clock.skip();
  else
    batch.clock.lap(stage);
}

void DeviceForward::tell_stages(Batch &batch) {
  if (!batch.tells_stages) return;
  const StageMs ms = device_.stage_ms();
  for (int stage = 0; stage < SOUNDER_STAGE_COUNT; ++stage) batch.clock.add(stage, ms[size_t(stage)]);
}

// What is queued writes to blocks that are given back next. A device that cannot even be waited for is of no
// more use.
void DeviceForward::end_failed_step(const char *why) {
  try {
    device_.wait();
  } catch (...) {
    fail(SOUNDER_LOST, "%s", why);
  }
}

void DeviceForward::run(Batch &batch, const UseLogits &use_logits) {
  place_rows(batch);
  if (host_ != nullptr) extend_before(batch);
  extend_on_device(batch);
  mark_cancelled(batch);
  describe(batch);
  host_ms_ = 0;
  indexed_ = 0;
  host_found_.assign(host_ == nullptr ? 0 : batch.sequences.size(), {});
  // A step that the CPU has a part in goes layer by layer.
  const bool alone = host_ == nullptr || step_.sampled.empty();
  try {
    if (alone && is_decode(batch) && signed_.empty()) {
      decode(batch, use_logits);
    } else {
      ahead_ = {};
      if (is_decode(batch) && can_halve(batch))
        run_halves(batch, use_logits);
      else
        run_layers(batch, use_logits);
      device_.wait();
      read_statistics(batch);
    }
    tell_stages(batch);
  } catch (const std::exception &failure) {
    end_failed_step(failure.what());
    throw;
  }
  if (host_ != nullptr) finish_on_host(batch);
}

void DeviceForward::run_layers(Batch &batch, const UseLogits &use_logits) {
  device_.begin(step_);
  capture(batch, SOUNDER_CAPTURE_EMBEDDING, 0);
  const int layers = config_.layers;
  for (int layer = 0; layer < layers; ++layer) {
    if (!drop_cancelled(batch)) return;
    device_.project(layer);
    capture(batch, SOUNDER_CAPTURE_ATTENTION_NORM, layer);
    for (int what : {SOUNDER_CAPTURE_Q, SOUNDER_CAPTURE_K, SOUNDER_CAPTURE_V}) capture(batch, what, layer);
    const bool last = layer == layers - 1;
    if (last && batch.capture == nullptr &&
        !keep_rows(batch, [&](size_t row) { return row_is_needed(batch, row); }))
      return;
    if (host_ != nullptr && config_.cpu_attends(layer)) attend_on_host(batch, layer);
    device_.complete(layer);
    if (host_ != nullptr && layer > 0) {
      if (config_.cpu_attends(layer - 1)) device_.await_rows(layer - 1);
      index_on_host(batch, layer - 1);
    }
    if (config_.layer_samples(layer)) count_sampled(batch, 1);
    capture(batch, SOUNDER_CAPTURE_ATTENTION, layer);
    capture(batch, SOUNDER_CAPTURE_LAYER, layer);
    batch.thousandths->store((layer + 1) * 1000 / (layers + 1));
  }
  if (drop_cancelled(batch)) output(batch, use_logits);
}

void DeviceForward::output(Batch &batch, const UseLogits &use_logits) {
  device_.normalise();
  capture(batch, SOUNDER_CAPTURE_FINAL_NORM, 0);
  add_hidden(batch);
  const int rows = static_cast<int>(batch.row_token.size());
  const int step = std::min(config_.max_step_tokens, kLogitsRows);
  for (int first = 0, count = 0; first < rows; first += std::max(count, 1)) {
    count = std::min(step, logits_rows(batch, first));
    if (count == 0) continue;
    mark_cancelled(batch);
    const float *logits = device_.logits(first, count);
    if (batch.capture != nullptr)
      batch.capture->keep(SOUNDER_CAPTURE_LOGITS, 0, logits, config_.vocabulary, batch.row_token, first,
                          count);
    lap_of_device(batch, SOUNDER_STAGE_OTHER);
    use_logits(logits, first, count);
    batch.clock.lap(SOUNDER_STAGE_SAMPLING);
  }
}

void DeviceForward::add_hidden(Batch &batch) {
  const bool asked = std::any_of(batch.sequences.begin(), batch.sequences.end(),
                                 [](const BatchSequence &s) { return s.hidden != nullptr; });
  if (!asked) return;
  const std::vector<float> states = device_.read_rows(SOUNDER_CAPTURE_FINAL_NORM);
  for (BatchSequence &s : batch.sequences) {
    if (s.hidden == nullptr) continue;
    const float *next = states.data() + int64_t{s.first_row} * config_.hidden;
    for (int row = 0; row < s.rows; ++row)
      for (int i = 0; i < config_.hidden; ++i) s.hidden[i] += *next++;
    s.hidden_tokens = s.rows;
  }
}

template <typename Keep>
bool DeviceForward::keep_rows(Batch &batch, const Keep &keep) {
  std::vector<int32_t> kept;
  const size_t before = batch.row_token.size();
  keep_batch_rows(batch, keep, [&](size_t from, size_t) { kept.push_back(static_cast<int32_t>(from)); });
  if (kept.empty()) return false;
  if (kept.size() == before) return true;
  describe(batch);
  device_.keep(step_, kept);
  return true;
}

bool DeviceForward::drop_cancelled(Batch &batch) {
  if (!mark_cancelled(batch)) return true;
  return keep_rows(batch, [&](size_t row) { return !batch.sequences[batch.row_sequence[row]].cancelled; });
}

void DeviceForward::capture(Batch &batch, int what, int layer) {
  if (batch.capture == nullptr) return;
  const std::vector<float> values = device_.read_rows(what);
  const size_t rows = batch.row_token.size();
  batch.capture->keep(what, layer, values.data(), static_cast<int64_t>(values.size() / rows), batch.row_token,
                      0, static_cast<int>(rows));
}

void DeviceForward::attend_alone(int layer, const AttendRequest &request) {
  ahead_ = {};
  step_ = {};
  step_.sequences.push_back({0, 1, request.position, request.blocks, places_of(request.lsh)});
  step_.tokens.push_back(0);
  DeviceStep::SampledRow row{0, 0, request.position, {}, &request.params, true};
  const int covers = request.lsh == nullptr ? 0 : request.lsh->covered(layer);
  if (config_.layer_samples(layer) &&
      sampled_range(shape_, request.params, request.position, covers, &row.range)) {
    if (host_ != nullptr && config_.cpu_attends(layer))
      return attend_alone_on_host(layer, request, row.range);
    step_.sampled.push_back(row);
  }
  device_.attend(layer, request.q, step_, request.output);
  *request.statistics = {};
  if (step_.sampled.empty()) return;
  *request.statistics = device_.statistics()[0];
  request.statistics->layers = 1;
  request.statistics->offloaded = row.range.end - row.range.begin;
}

std::string DeviceForward::description() const { return device_.name() + ", cuBLASLt"; }

}  // namespace sounder
