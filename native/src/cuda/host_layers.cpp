// SPDX-License-Identifier: Apache-2.0
#include "host_layers.h"

#include <algorithm>

#include "attend.h"
#include "device_workspace.h"
#include "kv_kernels.h"

namespace sounder::cuda {

namespace {

int blocks_for(int tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

// Calls use(i, length) for runs of consecutive ids from ids[i] on.
template <typename Use>
void each_run(const int32_t *ids, int count, const Use &use) {
  for (int first = 0, end; first < count; first = end) {
    end = first + 1;
    while (end < count && ids[end] == ids[end - 1] + 1) ++end;
    use(first, end - first);
  }
}

}  // namespace

HostLayers::HostLayers(const ModelConfig &config, const Memory &memory, const Stream &compute)
    : config_(config), memory_(memory), compute_(compute), slabs_(size_t(config.layers), Slab{}) {
  std::vector<int32_t> ids(size_t(device_table_width(config)));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  check(cudaMemcpy(memory.identity, ids.data(), ids.size() * sizeof(int32_t), cudaMemcpyHostToDevice),
        "upload a list of blocks");
}

void HostLayers::begin(const DeviceStep &step) {
  staged_.clear();
  int place = 0;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const DeviceStep::Sequence &own = step.sequences[s];
    if (fits_small_tiles(config_.attention_shape(), own.rows)) continue;
    const int first = own.position / kBlockTokens, end = blocks_for(own.position + own.rows);
    staged_.push_back(
        {static_cast<int>(s), own.rows, own.blocks, own.position % kBlockTokens, first, end - first, place});
    place += end - first;
  }
  list_parts(step);
  for (Buffer &buffer : buffers_) buffer.layer = -1;
  job_layer_ = 0;
  job_index_ = -1;
  copy_ahead();
}

void HostLayers::list_parts(const DeviceStep &step) {
  parts_.clear();
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const DeviceStep::Sequence &own = step.sequences[s];
    const int sequence = static_cast<int>(s);
    const bool staged = stages(sequence);
    if (own.rows == 0) continue;
    if (!staged && !parts_.empty() && !parts_.back().staged) {
      parts_.back().rows += own.rows;
      parts_.back().end_sequence = sequence + 1;
    } else {
      parts_.push_back({own.first_row, own.rows, sequence, sequence + 1, staged});
    }
  }
}

void HostLayers::keep(const DeviceStep &step) {
  list_parts(step);
  for (Staged &staged : staged_) staged.rows = step.sequences[size_t(staged.sequence)].rows;
  for (Buffer &buffer : buffers_)
    if (buffer.layer >= 0 && find(buffer.sequence)->rows == 0) buffer.layer = -1;
  copy_ahead();
}

const HostLayers::Staged *HostLayers::find(int sequence) const {
  for (const Staged &staged : staged_)
    if (staged.sequence == sequence) return &staged;
  return nullptr;
}

char *HostLayers::buffer_at(size_t index) const {
  return memory_.copied_in + int64_t(index) * device_table_width(config_) * config_.layer_block_bytes();
}

// Block i of the context at i, if those before its first new one were there too.
RowPlace HostLayers::appended(int sequence) const {
  const Staged &staged = *find(sequence);
  return {memory_.appended + (staged.place - staged.first_block) * config_.layer_block_bytes(),
          memory_.identity, 0};
}

void HostLayers::bring_old_rows(int layer, int32_t block, int rows, char *to) {
  if (rows == 0) return;
  const int64_t row_bytes = int64_t{2} * config_.head_dim * config_.value_bytes();
  copy_block_rows(compute_, slabs_[size_t(layer)].address + block * config_.layer_block_bytes(), to,
                  config_.kv_heads, row_bytes, rows);
}

void HostLayers::copy_in(int layer, const Staged &staged, size_t index) {
  Buffer &buffer = buffers_[index];
  const int64_t block_bytes = config_.layer_block_bytes();
  buffer.used.hold_up(in_);
  each_run(staged.blocks, staged.first_block, [&](int first, int count) {
    check(cudaMemcpyAsync(buffer_at(index) + first * block_bytes,
                          slabs_[size_t(layer)].here + staged.blocks[first] * block_bytes,
                          size_t(count * block_bytes), cudaMemcpyHostToDevice, in_),
          "bring KV blocks in");
  });
  buffer.arrived.record(in_);
  buffer.layer = layer;
  buffer.sequence = staged.sequence;
}

void HostLayers::copy_out(int layer, const int32_t *blocks, int count, const char *from) {
  const int64_t block_bytes = config_.layer_block_bytes();
  each_run(blocks, count, [&](int first, int run) {
    check(
        cudaMemcpyAsync(slabs_[size_t(layer)].here + blocks[first] * block_bytes, from + first * block_bytes,
                        size_t(run * block_bytes), cudaMemcpyDeviceToHost, out_),
        "take KV blocks to the host");
  });
}

// Jobs: the host layers upwards, in each the staged contexts that have older blocks.
bool HostLayers::next_job() {
  for (; job_layer_ < config_.layers; ++job_layer_, job_index_ = -1) {
    if (!config_.layer_on_host(job_layer_)) continue;
    while (++job_index_ < static_cast<int>(staged_.size())) {
      const Staged &staged = staged_[size_t(job_index_)];
      if (staged.rows > 0 && staged.first_block > 0) return true;
    }
  }
  return false;
}

// In turn: the jobs are attended in the order in which they begin.
void HostLayers::copy_ahead() {
  for (size_t i = 0; i < 2; ++i) {
    const size_t index = buffers_[0].layer < 0 ? 0 : 1;
    if (buffers_[index].layer >= 0 || !next_job()) return;
    copy_in(job_layer_, staged_[size_t(job_index_)], index);
  }
}

RowPlace HostLayers::begin_append(int layer, int sequence) {
  const Staged &staged = *find(sequence);
  await_written();
  bring_old_rows(layer, staged.blocks[staged.first_block], staged.first_row,
                 memory_.appended + staged.place * config_.layer_block_bytes());
  return appended(sequence);
}

// Whole blocks: the old rows of the first one are written again as they are, those after the last new row are
// nobody's.
void HostLayers::end_append(int layer) {
  appended_.record(compute_);
  appended_.hold_up(out_);
  for (const Staged &staged : staged_) {
    if (staged.rows == 0) continue;  // cancelled: what lies there is another layer's
    copy_out(layer, staged.blocks + staged.first_block, staged.new_blocks,
             memory_.appended + staged.place * config_.layer_block_bytes());
  }
  written_[layer % 2].record(out_);
}

RowPlace HostLayers::begin_attention(int layer, int sequence) {
  const Staged &staged = *find(sequence);
  if (staged.first_block == 0) return appended(sequence);
  const size_t index = buffers_[0].layer == layer && buffers_[0].sequence == sequence ? 0 : 1;
  const Buffer &buffer = buffers_[index];
  if (buffer.layer != layer || buffer.sequence != sequence)
    fail(SOUNDER_INTERNAL, "The KV of sequence %d at layer %d is not on its way.", sequence, layer);
  buffer.arrived.hold_up(compute_);
  const int64_t block_bytes = config_.layer_block_bytes();
  check(cudaMemcpyAsync(buffer_at(index) + staged.first_block * block_bytes,
                        memory_.appended + staged.place * block_bytes,
                        size_t(staged.new_blocks * block_bytes), cudaMemcpyDeviceToDevice, compute_),
        "put new KV blocks beside the old");
  return {buffer_at(index), memory_.identity, 0};
}

void HostLayers::end_attention(int layer, int sequence) {
  for (Buffer &buffer : buffers_) {
    if (buffer.layer != layer || buffer.sequence != sequence) continue;
    buffer.used.record(compute_);
    buffer.layer = -1;
  }
  copy_ahead();
}

RowPlace HostLayers::begin_fill(int layer, const int32_t *blocks, int first) {
  const size_t index = size_t(layer % 2);
  filled_[index].hold_up(compute_);
  const int block = first / kBlockTokens;
  bring_old_rows(layer, blocks[block], first % kBlockTokens,
                 buffer_at(index) + block * config_.layer_block_bytes());
  return {buffer_at(index), memory_.identity, 0};
}

void HostLayers::end_fill(int layer, const int32_t *blocks, int first, int end) {
  const size_t index = size_t(layer % 2);
  const int block = first / kBlockTokens;
  appended_.record(compute_);
  appended_.hold_up(out_);
  copy_out(layer, blocks + block, blocks_for(end) - block,
           buffer_at(index) + block * config_.layer_block_bytes());
  filled_[index].record(out_);
}

void HostLayers::wait() {
  staged_.clear();
  parts_.clear();
  in_.synchronize();
  out_.synchronize();
}

}  // namespace sounder::cuda
