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

uint16_t to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
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

void CudaDevice::describe(const DeviceStep &step) {
  make_current();
  synchronize();  // staging is free
  const DeviceWorkspace bytes = device_workspace(*config_);
  rows_ = static_cast<int>(step.tokens.size());
  capturing_ = step.capturing;
  Row *rows = reinterpret_cast<Row *>(state_->staging.data());
  std::vector<AttendJob> jobs;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const DeviceStep::Sequence &sequence = step.sequences[s];
    for (int i = 0; i < sequence.rows; ++i) {
      const int row = sequence.first_row + i;
      rows[row] = {step.tokens[size_t(row)], sequence.position + i, static_cast<int32_t>(s), 0};
    }
    jobs.push_back({sequence.first_row, sequence.rows, sequence.position, static_cast<int>(s)});
  }
  copy_in(state_->stream, state_->rows, rows, size_t(rows_) * sizeof(Row));
  upload_tables(step, reinterpret_cast<int32_t *>(state_->staging.data() + bytes.rows + bytes.kept));
  const bool hopper = can_attend_hopper(config_->attention_shape(), major_);
  plan_ = plan_attention(config_->attention_shape(), jobs, processors_, hopper ? kHopperTile : kLargeTile);
  AttendTile *tiles =
      reinterpret_cast<AttendTile *>(state_->staging.data() + bytes.rows + bytes.kept + bytes.tables);
  const size_t count = plan_.small.size() + plan_.large.size();
  if (count * sizeof(AttendTile) > size_t(bytes.tiles)) fail(SOUNDER_INTERNAL, "A step has too many tiles.");
  std::copy(plan_.large.begin(), plan_.large.end(), std::copy(plan_.small.begin(), plan_.small.end(), tiles));
  copy_in(state_->stream, state_->tiles, tiles, count * sizeof(AttendTile));
}

void CudaDevice::begin(const DeviceStep &step) {
  describe(step);
  embed_rows();
}

void CudaDevice::embed_rows() {
  const ModelConfig &c = *config_;
  embed(state_->stream, state_->rows, rows_, weights_->embedding.data, c.hidden, c.f32, state_->x);
  rotate_table(state_->stream, state_->rows, rows_, state_->frequencies, c.rope_pairs(), c.rope_scale,
               state_->cosine, state_->sine);
}

void CudaDevice::project(int layer) {
  const ModelConfig &c = *config_;
  const LayerWeights &w = weights_->layers[size_t(layer)];
  DeviceState &s = *state_;
  rms_norm(s.stream, s.x, w.attention_norm, c.norm_epsilon, rows_, c.hidden, c.f32, s.normed);
  s.products->multiply(w.qkv, s.normed, rows_, Into::kFloats, s.qkv);
  rotate_and_append(s.stream, {s.rows, rows_, s.qkv, w.qkv_bias, w.q_norm, w.k_norm, c.norm_epsilon, s.cosine,
                               s.sine, c.heads, c.kv_heads, c.head_dim, c.rope_pairs(), s.q,
                               s.slabs[size_t(layer)], s.tables, device_table_width(c), c.f32, capturing_});
}

void CudaDevice::attend_layer(int layer) {
  DeviceState &s = *state_;
  const AttentionShape shape = config_->attention_shape();
  const AttendCall call{s.q,       s.slabs[size_t(layer)], s.tables, device_table_width(*config_), s.attended,
                        s.partials};
  if (config_->f32) return attend_rows(s.stream, shape, call, s.rows, rows_);
  const int small = static_cast<int>(plan_.small.size()), large = static_cast<int>(plan_.large.size());
  attend_tiles(s.stream, shape, call, s.tiles, small, kSmallTile, plan_.small_splits);
  if (plan_.large_queries == kHopperTile)
    attend_hopper(s.stream, shape, call, s.tiles + small, large, plan_.large_splits);
  else
    attend_tiles(s.stream, shape, call, s.tiles + small, large, kLargeTile, plan_.large_splits);
}

void CudaDevice::feed_forward(const LayerWeights &w) {
  const ModelConfig &c = *config_;
  DeviceState &s = *state_;
  rms_norm(s.stream, s.x, w.feed_forward_norm, c.norm_epsilon, rows_, c.hidden, c.f32, s.normed);
  if (can_stream(w.gate_up, rows_)) {
    s.products->multiply(w.gate_up, s.normed, rows_, Into::kActivated, s.activated);
  } else {
    s.products->multiply(w.gate_up, s.normed, rows_, Into::kValues, s.gate_up);
    silu_multiply(s.stream, s.gate_up, rows_, c.intermediate, c.f32, s.activated);
  }
  s.products->multiply(w.down, s.activated, rows_, Into::kResidual, s.x);
}

void CudaDevice::complete(int layer) {
  const LayerWeights &w = weights_->layers[size_t(layer)];
  attend_layer(layer);
  state_->products->multiply(w.attention_output, state_->attended, rows_, Into::kResidual, state_->x);
  feed_forward(w);
  check(cudaEventRecord(state_->layer_done[layer % 2], state_->stream), "mark a layer");
  if (layer > 0) check(cudaEventSynchronize(state_->layer_done[(layer + 1) % 2]), "compute a layer");
}

// q too: in the last layer rows leave between its projection and its attention.
void CudaDevice::keep(const DeviceStep &step, const std::vector<int32_t> &kept) {
  DeviceState &s = *state_;
  const ModelConfig &c = *config_;
  describe(step);
  int32_t *staged = reinterpret_cast<int32_t *>(s.staging.data() + device_workspace(c).rows);
  std::copy(kept.begin(), kept.end(), staged);
  copy_in(s.stream, s.kept, staged, kept.size() * 4);
  auto close_up = [&](void *values, int64_t row_bytes) {
    gather_rows(s.stream, values, s.kept, rows_, row_bytes, s.spare);
    check(cudaMemcpyAsync(values, s.spare, size_t(rows_ * row_bytes), cudaMemcpyDeviceToDevice, s.stream),
          "close up rows");
  };
  close_up(s.x, int64_t{4} * c.hidden);
  close_up(s.q, int64_t{c.value_bytes()} * c.q_width());
  rotate_table(s.stream, s.rows, rows_, s.frequencies, c.rope_pairs(), c.rope_scale, s.cosine, s.sine);
}

void CudaDevice::normalise() {
  rms_norm(state_->stream, state_->x, weights_->final_norm, config_->norm_epsilon, rows_, config_->hidden,
           config_->f32, state_->normed);
}

void CudaDevice::output(int first, int count) {
  const int64_t row_bytes = int64_t{config_->hidden} * config_->value_bytes();
  state_->products->multiply(weights_->output, state_->normed + first * row_bytes, count, Into::kFloats,
                             state_->logits);
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

void CudaDevice::decode_all() {
  embed_rows();
  for (int layer = 0; layer < config_->layers; ++layer) {
    const LayerWeights &w = weights_->layers[size_t(layer)];
    project(layer);
    attend_layer(layer);
    state_->products->multiply(w.attention_output, state_->attended, rows_, Into::kResidual, state_->x);
    feed_forward(w);
  }
  normalise();
  output(0, rows_);
}

void CudaDevice::launch_graph() {
  Graph &graph = graphs_[rows_];
  if (graph == nullptr) {
    cudaGraph_t recorded = nullptr;
    check(cudaStreamBeginCapture(state_->stream, cudaStreamCaptureModeThreadLocal), "record a step");
    try {
      decode_all();
    } catch (...) {
      cudaStreamEndCapture(state_->stream, &recorded);
      if (recorded != nullptr) cudaGraphDestroy(recorded);
      throw;
    }
    check(cudaStreamEndCapture(state_->stream, &recorded), "record a step");
    cudaGraphExec_t made = nullptr;
    const cudaError_t status = cudaGraphInstantiate(&made, recorded, 0);
    cudaGraphDestroy(recorded);
    check(status, "prepare a recorded step");
    graph.reset(made);
  }
  check(cudaGraphLaunch(graph.get(), state_->stream), "run a recorded step");
}

// The first step of a size runs as it comes, so that whatever is loaded or chosen on first use is there when
// the second one is recorded.
const float *CudaDevice::decode(const DeviceStep &step) {
  describe(step);
  if (ran_.insert(rows_).second)
    decode_all();
  else
    launch_graph();
  synchronize();
  return reinterpret_cast<const float *>(state_->logits_out.data());
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

void CudaDevice::attend(int layer, const float *q, const int32_t *blocks, int position, float *output) {
  describe({{{0, 1, position, blocks}}, {0}, false});
  const size_t width = size_t(config_->q_width());
  std::vector<uint16_t> narrow(width);
  for (size_t i = 0; i < width; ++i) narrow[i] = to_bf16(q[i]);
  const void *values = config_->f32 ? static_cast<const void *>(q) : narrow.data();
  check(cudaMemcpy(state_->q, values, width * size_t(config_->value_bytes()), cudaMemcpyHostToDevice),
        "upload a query");
  attend_layer(layer);
  const std::vector<float> made = read_rows(SOUNDER_CAPTURE_ATTENTION);
  std::copy(made.begin(), made.end(), output);
}

}  // namespace sounder::cuda
