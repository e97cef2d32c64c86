// SPDX-License-Identifier: Apache-2.0
//
// A step on the GPU: everything is queued on one stream, and what the host must see is waited for.
#include <algorithm>
#include <cstring>

#include "cuda_device.h"
#include "failure.h"
#include "plan.h"

namespace sounder::cuda {

namespace {

void copy_in(cudaStream_t stream, void *to, const void *from, size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "upload a step");
}

float from_bf16(uint16_t value) {
  const uint32_t bits = uint32_t{value} << 16;
  float widened;
  std::memcpy(&widened, &bits, 4);
  return widened;
}

}  // namespace

// staging: one row of device_table_width ids a sequence.
void CudaDevice::upload_tables(const DeviceStep &step, int32_t *staging) {
  const size_t width = static_cast<size_t>(device_table_width(*config_));
  size_t most = 1;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const DeviceStep::Sequence &sequence = step.sequences[s];
    const size_t blocks = size_t(sequence.position + sequence.rows + kBlockTokens - 1) / kBlockTokens;
    std::copy_n(sequence.blocks, blocks, staging + s * width);
    most = std::max(most, blocks);
  }
  check(cudaMemcpy2DAsync(state_->tables, width * 4, staging, width * 4, most * 4, step.sequences.size(),
                          cudaMemcpyHostToDevice, state_->stream),
        "upload a step");
}

void CudaDevice::describe_rows(const DeviceStep &step) {
  Row *rows = reinterpret_cast<Row *>(staging());
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const DeviceStep::Sequence &sequence = step.sequences[s];
    for (int i = 0; i < sequence.rows; ++i) {
      const int row = sequence.first_row + i;
      rows[row] = {step.tokens[size_t(row)], sequence.position + i, static_cast<int32_t>(s), 0};
    }
  }
  copy_in(state_->stream, state_->rows, rows, size_t(rows_) * sizeof(Row));
}

void CudaDevice::describe(const DeviceStep &step) {
  half_ ^= 1;
  look_at(0, 0);
  const DeviceWorkspace bytes = device_workspace(*config_);
  rows_ = step_rows_ = static_cast<int>(step.tokens.size());
  capturing_ = step.capturing;
  appends_late_ = near_ = false;
  describe_rows(step);
  upload_tables(step, reinterpret_cast<int32_t *>(staging() + bytes.rows + bytes.kept));
  plan_tiles(step);
  list_handed(step);
  if (state_->sampled != nullptr) state_->sampled->describe(state_->stream, step, state_->tables, half_);
}

void CudaDevice::begin(const DeviceStep &step) {
  make_current();
  forget_ahead();
  describe(step);
  own_heads_ms_ = 0;
  if (state_->host != nullptr) state_->host->begin(step);
  if (state_->near != nullptr) state_->near->forget_written(step);
  if (state_->sampled != nullptr) state_->sampled->clear_statistics(state_->stream);
  marks_.begin(state_->stream, step.tells_stages);
  embed_rows();
  mark(SOUNDER_STAGE_OTHER);
}

void CudaDevice::embed_rows() {
  const ModelConfig &c = *config_;
  embed(state_->stream, state_->rows, state_->chosen, rows_, weights_->embedding.data, c.hidden, c.f32,
        state_->x);
  rotate_table(state_->stream, state_->rows, rows_, state_->frequencies, c.rope_pairs(), c.rope_scale,
               state_->cosine, state_->sine);
}

void CudaDevice::multiply_qkv(int layer) {
  const ModelConfig &c = *config_;
  const LayerWeights &w = weights_->layers[size_t(layer)];
  DeviceState &s = *state_;
  if (capturing_) {  // what the norm makes is looked at
    rms_norm(s.stream, s.x, w.attention_norm, c.norm_epsilon, rows_, c.hidden, c.f32, s.normed);
    s.products->multiply(w.qkv, s.normed, rows_, Into::kFloats, s.qkv);
  } else {
    s.products->multiply_normed(w.qkv, s.x, w.attention_norm, c.norm_epsilon, rows_, s.normed, Into::kFloats,
                                s.qkv);
  }
}

void CudaDevice::project(int layer) {
  multiply_qkv(layer);
  mark(SOUNDER_STAGE_MATMUL);
  append(layer);
  if (first_row_ + rows_ == step_rows_) seal_blocks(layer);  // its halves are there
  if (stages(layer))
    state_->host->end_append(layer);
  else if (config_->cpu_attends(layer))
    state_->layer_appended[layer % 2].record(state_->stream);
  sign_keys(layer);
  mark(SOUNDER_STAGE_OTHER);
}

void CudaDevice::feed_forward(const LayerWeights &w) {
  const ModelConfig &c = *config_;
  DeviceState &s = *state_;
  const bool streams = s.products->streams(w.gate_up, rows_);
  s.products->multiply_normed(w.gate_up, s.x, w.feed_forward_norm, c.norm_epsilon, rows_, s.normed,
                              streams ? Into::kActivated : Into::kValues, streams ? s.activated : s.gate_up);
  if (!streams) silu_multiply(s.stream, s.gate_up, rows_, c.intermediate, c.f32, s.activated);
  s.products->multiply(w.down, s.activated, rows_, Into::kResidual, s.x);
}

void CudaDevice::complete(int layer) {
  const LayerWeights &w = weights_->layers[size_t(layer)];
  attend_layer(layer);
  state_->products->multiply(w.attention_output, state_->attended, rows_, Into::kResidual, state_->x);
  feed_forward(w);
  mark(SOUNDER_STAGE_MATMUL);
  check(cudaEventRecord(state_->layer_done[layer % 2], state_->stream), "mark a layer");
  if (layer > 0 && is_whole())
    check(cudaEventSynchronize(state_->layer_done[(layer + 1) % 2]), "compute a layer");
}

// q too: in the last layer rows leave between its projection and its attention.
void CudaDevice::keep(const DeviceStep &step, const std::vector<int32_t> &kept) {
  DeviceState &s = *state_;
  const ModelConfig &c = *config_;
  make_current();
  synchronize();  // staging is free
  describe(step);
  if (s.host != nullptr) s.host->keep(step);
  int32_t *staged = reinterpret_cast<int32_t *>(staging() + device_workspace(c).rows);
  std::copy(kept.begin(), kept.end(), staged);
  copy_in(s.stream, s.kept, staged, kept.size() * 4);
  auto close_up = [&](void *values, int64_t stride, int64_t row_bytes) {
    gather_rows(s.stream, values, stride, s.kept, rows_, row_bytes, s.spare);
    check(cudaMemcpy2DAsync(values, size_t(stride), s.spare, size_t(row_bytes), size_t(row_bytes),
                            size_t(rows_), cudaMemcpyDeviceToDevice, s.stream),
          "close up rows");
  };
  const int64_t value = c.value_bytes();
  close_up(s.x, int64_t{4} * c.hidden, int64_t{4} * c.hidden);
  close_up(s.q, value * c.q_width(), value * c.q_width());
  if (!handed_.empty() || sampled_rows() > 0)
    close_up(s.qkv, int64_t{4} * c.qkv_width(), int64_t{4} * c.q_width());
  rotate_table(s.stream, s.rows, rows_, s.frequencies, c.rope_pairs(), c.rope_scale, s.cosine, s.sine);
}

void CudaDevice::normalise() {
  rms_norm(state_->stream, state_->x, weights_->final_norm, config_->norm_epsilon, rows_, config_->hidden,
           config_->f32, state_->normed);
  mark(SOUNDER_STAGE_OTHER);
}

void CudaDevice::output(int first, int count) {
  const int64_t row_bytes = int64_t{config_->hidden} * config_->value_bytes();
  state_->products->multiply(weights_->output, state_->normed + first * row_bytes, count, Into::kFloats,
                             state_->logits);
  mark(SOUNDER_STAGE_OUTPUT);
  read_logits(count);
}

void CudaDevice::read_logits(int count) {
  check(cudaMemcpyAsync(state_->logits_out.data(), state_->logits, size_t(count) * config_->vocabulary * 4,
                        cudaMemcpyDeviceToHost, state_->stream),
        "read logits");
}

const float *CudaDevice::logits(int first, int count) {
  make_current();
  output(first, count);
  synchronize();
  return reinterpret_cast<const float *>(state_->logits_out.data());
}

void CudaDevice::wait() {
  if (state_->sampled != nullptr) state_->sampled->fetch_statistics(state_->stream, half_);
  shown_ = half_;
  synchronize();
  count_own_heads();
  if (state_->host != nullptr) state_->host->wait();
}

std::vector<float> CudaDevice::read_rows(int what) {
  const ModelConfig &c = *config_;
  const DeviceState &s = *state_;
  struct Source {
    const void *values;
    int width, stride, bytes;
  };
  const int value = c.value_bytes(), qkv = c.qkv_width();
  Source from{s.x, c.hidden, c.hidden, 4};
  if (what == SOUNDER_CAPTURE_ATTENTION_NORM || what == SOUNDER_CAPTURE_FINAL_NORM)
    from = {s.normed, c.hidden, c.hidden, value};
  if (what == SOUNDER_CAPTURE_ATTENTION) from = {s.attended, c.q_width(), c.q_width(), value};
  if (what == SOUNDER_CAPTURE_Q) from = {s.qkv, c.q_width(), qkv, 4};
  if (what == SOUNDER_CAPTURE_K) from = {s.qkv + c.q_width(), c.kv_width(), qkv, 4};
  if (what == SOUNDER_CAPTURE_V) from = {s.qkv + c.q_width() + c.kv_width(), c.kv_width(), qkv, 4};
  synchronize();
  std::vector<char> raw(size_t(rows_) * from.width * from.bytes);
  const size_t row = size_t(from.width) * from.bytes;
  check(cudaMemcpy2D(raw.data(), row, from.values, size_t(from.stride) * from.bytes, row, size_t(rows_),
                     cudaMemcpyDeviceToHost),
        "read rows");
  std::vector<float> values(size_t(rows_) * from.width);
  if (from.bytes == 4) {
    std::memcpy(values.data(), raw.data(), raw.size());
  } else {
    const uint16_t *narrow = reinterpret_cast<const uint16_t *>(raw.data());
    for (size_t i = 0; i < values.size(); ++i) values[i] = from_bf16(narrow[i]);
  }
  return values;
}

}  // namespace sounder::cuda
