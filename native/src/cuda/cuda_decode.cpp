// SPDX-License-Identifier: Apache-2.0
//
// Steps of one token a context: recorded as graphs, and queued one ahead of the caller where he will ask for
// the same once more, so that what lies between two calls costs no time.
#include <algorithm>

#include "cuda_device.h"
#include "draw_tokens.h"
#include "plan.h"

namespace sounder::cuda {

void CudaDevice::decode_all() {
  embed_rows();
  mark(SOUNDER_STAGE_OTHER);
  for (int layer = 0; layer < config_->layers; ++layer) {
    const LayerWeights &w = weights_->layers[size_t(layer)];
    multiply_qkv(layer);
    mark(SOUNDER_STAGE_MATMUL);
    if (!appends_late_ || !samples(layer)) append(layer);
    mark(SOUNDER_STAGE_OTHER);
    attend_layer(layer);
    state_->products->multiply(w.attention_output, state_->attended, rows_, Into::kResidual, state_->x);
    feed_forward(w);
    mark(SOUNDER_STAGE_MATMUL);
  }
  DeviceState &s = *state_;
  s.products->multiply_normed(weights_->output, s.x, weights_->final_norm, config_->norm_epsilon, rows_,
                              s.normed, Into::kFloats, s.logits);
  mark(SOUNDER_STAGE_OUTPUT);
  find_best(s.stream, s.logits, rows_, config_->vocabulary, s.best_parts, s.chosen);
  if (draws_)
    draw_tokens(s.stream, s.logits, rows_, config_->vocabulary, s.rows,
                reinterpret_cast<const TokenChoice *>(s.choices.data()), s.chosen);
  mark(SOUNDER_STAGE_SAMPLING);
}

void CudaDevice::upload_choices(const DeviceStep &step) {
  draws_ = std::any_of(step.sequences.begin(), step.sequences.end(),
                       [](const DeviceStep::Sequence &s) { return s.choice.factor > 0; });
  if (!draws_) return;
  TokenChoice *staged = choices_in(half_);
  for (const DeviceStep::Sequence &s : step.sequences) staged[s.first_row] = s.choice;
  check(cudaMemcpyAsync(state_->choices.data(), staged, size_t(rows_) * sizeof(TokenChoice),
                        cudaMemcpyHostToDevice, state_->stream),
        "upload a step");
}

// Blocks that are full now are sealed behind the recorded part: few steps fill one, and a token does not
// choose among the keys of its own block.
void CudaDevice::queue(const DeviceStep &step) {
  DeviceState &s = *state_;
  describe(step);
  SampledLayers *sampled = s.sampled.get();
  upload_choices(step);
  GraphKey key{rows_, {}, 0, false, draws_};
  if (sampled != nullptr) {
    sampled->clear_statistics(s.stream);
    appends_late_ = sampled->rows() == rows_ && !sampled->verifies() && sampled->can_prepare();
    describe_near(step);
    key.sampled = sampled->counts();
    key.longest = sampled->longest();
    key.near = near_;
  }
  marks_.begin(s.stream, step.tells_stages);
  if (marks_.tells() || (sampled != nullptr && sampled->verifies()))
    decode_all();
  else
    graphs_.run(s.stream, key, [this] { decode_all(); });
  for (int layer = 0; layer < config_->layers; ++layer) seal_blocks(layer);
  check(cudaMemcpyAsync(chosen_out(half_), s.chosen, size_t(rows_) * sizeof(ChosenToken),
                        cudaMemcpyDeviceToHost, s.stream),
        "read tokens");
  if (sampled != nullptr) sampled->fetch_statistics(s.stream, half_);
}

// Its pinned memory is the other half: what the step before it uploaded was there when that began.
void CudaDevice::queue_ahead(const DeviceStep &step) {
  std::lock_guard lock(ahead_mutex_);
  ahead_blocks_.clear();
  for (const DeviceStep::Sequence &own : step.sequences)
    ahead_blocks_.push_back(own.blocks[own.position / kBlockTokens]);
  queue(step);
  state_->step_done[half_].record(state_->stream);
}

void CudaDevice::await_block(int32_t block) {
  std::lock_guard lock(ahead_mutex_);
  if (std::find(ahead_blocks_.begin(), ahead_blocks_.end(), block) == ahead_blocks_.end()) return;
  make_current();
  synchronize();
  ahead_blocks_.clear();
}

void CudaDevice::forget_ahead() {
  std::lock_guard lock(ahead_mutex_);
  synchronize();
  ahead_blocks_.clear();
}

Device::Decoded CudaDevice::decode(const DecodeCall &call) {
  make_current();
  if (!call.is_running) {
    forget_ahead();
    queue(call.step);
    state_->step_done[half_].record(state_->stream);
  }
  const int own = half_;
  if (call.logits) {
    read_logits(rows_);
    state_->step_done[own].record(state_->stream);
  }
  if (call.next != nullptr) queue_ahead(*call.next);
  check(cudaEventSynchronize(state_->step_done[own]), "finish a step");
  shown_ = own;
  return {chosen_out(own),
          call.logits ? reinterpret_cast<const float *>(state_->logits_out.data()) : nullptr};
}

}  // namespace sounder::cuda
