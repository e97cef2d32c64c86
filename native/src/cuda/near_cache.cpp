// SPDX-License-Identifier: Apache-2.0
#include "near_cache.h"

#include <algorithm>

#include "device_workspace.h"
#include "errors.h"

namespace sounder::cuda {

NearCache::NearCache(const ModelConfig &config, const Memory &memory)
    : config_(config),
      memory_(memory),
      slabs_(size_t(config.layers)),
      places_(size_t(config.layers), -1),
      written_(size_t(device_near_rows(config)) * size_t(device_table_width(config)), -1),
      slots_(size_t(device_near_slots(config))) {
  int place = 0;
  for (int layer = 0; layer < config.layers; ++layer)
    if (config.layer_samples(layer) && config.layer_on_host(layer)) places_[size_t(layer)] = place++;
}

char *NearCache::rows(int layer) const {
  return memory_.slots +
         int64_t{places_[size_t(layer)]} * int64_t(slots_.size()) * config_.layer_block_bytes();
}

// The exact tail of lsh may be longer than there is room for.
bool NearCache::serves(const DeviceStep &step) const {
  const int rows = device_near_rows(config_);
  if (static_cast<int>(step.sampled.size()) > rows) return false;
  return std::all_of(step.sampled.begin(), step.sampled.end(), [&](const DeviceStep::SampledRow &row) {
    const int sink = (row.range.begin + kBlockTokens - 1) / kBlockTokens;
    const int tail = row.position / kBlockTokens + 1 - row.range.end / kBlockTokens;
    return (sink + tail) * rows <= static_cast<int>(slots_.size());
  });
}

void NearCache::fill(cudaStream_t stream, int32_t block, int32_t slot) {
  const int64_t bytes = config_.layer_block_bytes();
  for (int layer = 0; layer < config_.layers; ++layer) {
    if (places_[size_t(layer)] < 0) continue;
    check(cudaMemcpyAsync(rows(layer) + slot * bytes, slabs_[size_t(layer)] + block * bytes, size_t(bytes),
                          cudaMemcpyHostToDevice, stream),
          "bring a KV block near");
  }
}

// Slots of this step have its time: the oldest is none of them, since there are enough.
int32_t NearCache::find(cudaStream_t stream, int32_t block, int tokens) {
  const auto known = slot_of_.find(block);
  if (known != slot_of_.end()) {
    slots_[size_t(known->second)].used = clock_;
    return known->second;
  }
  const auto older = [](const Slot &a, const Slot &b) { return a.used < b.used; };
  const auto oldest = std::min_element(slots_.begin(), slots_.end(), older);
  const int32_t slot = static_cast<int32_t>(oldest - slots_.begin());
  if (oldest->block >= 0) slot_of_.erase(oldest->block);
  *oldest = {block, clock_};
  slot_of_[block] = slot;
  if (tokens > 0) fill(stream, block, slot);
  return slot;
}

void NearCache::write(cudaStream_t stream, size_t row, int index, int32_t slot) {
  const size_t place = row * size_t(device_table_width(config_)) + size_t(index);
  if (written_[place] == slot) return;
  written_[place] = slot;
  check(cudaMemcpyAsync(memory_.tables + place, &written_[place], sizeof(int32_t), cudaMemcpyHostToDevice,
                        stream),
        "upload a step");
}

void NearCache::prepare(cudaStream_t stream, const DeviceStep &step) {
  std::lock_guard lock(mutex_);
  ++clock_;
  for (size_t i = 0; i < step.sampled.size(); ++i) {
    const DeviceStep::SampledRow &row = step.sampled[i];
    const int32_t *blocks = step.sequences[size_t(row.sequence)].blocks;
    auto bring = [&](int first, int end) {
      for (int b = first; b < end; ++b)
        write(stream, i, b, find(stream, blocks[b], row.position - b * kBlockTokens));
    };
    const int sink = (row.range.begin + kBlockTokens - 1) / kBlockTokens;
    bring(0, sink);
    bring(std::max(sink, row.range.end / kBlockTokens), row.position / kBlockTokens + 1);
  }
}

void NearCache::forget(int32_t block) {
  std::lock_guard lock(mutex_);
  const auto known = slot_of_.find(block);
  if (known == slot_of_.end()) return;
  slots_[size_t(known->second)] = {};
  slot_of_.erase(known);
}

void NearCache::forget_written(const DeviceStep &step) {
  for (const DeviceStep::Sequence &own : step.sequences)
    for (int b = own.position / kBlockTokens; own.rows > 0 && b * kBlockTokens < own.position + own.rows; ++b)
      forget(own.blocks[b]);
}

}  // namespace sounder::cuda
