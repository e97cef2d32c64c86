// SPDX-License-Identifier: Apache-2.0
#include "kv_blocks.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "plan.h"

namespace sounder {

KvBlocks::KvBlocks(const ModelConfig &config, Device *device)
    : config_(config),
      device_(device),
      kv_heads_(config.kv_heads),
      row_bytes_(int64_t{2} * config.head_dim * config.value_bytes()),
      record_bytes_(record_bytes(config.index_shape())) {
  int64_t heads = int64_t{config.kv_blocks} * config.kv_heads;
  for (int layer = 0; layer < config.layers; ++layer) {
    bool here = device == nullptr || config.layer_on_host(layer);
    slabs_.push_back(here ? Mapping(heads * kBlockTokens * row_bytes_, "the KV blocks of a layer")
                          : Mapping());
    bool indexed =
        record_bytes_ > 0 && (device == nullptr ? config.layer_samples(layer) : config.cpu_attends(layer));
    records_.push_back(indexed ? Mapping(heads * record_bytes_, "the index of a layer's KV blocks")
                               : Mapping());
  }
  references_.assign(static_cast<size_t>(config.kv_blocks), 0);
  for (int32_t block = 0; block < config.kv_blocks; ++block) free_.push_back(block);
}

int32_t KvBlocks::take() {
  if (free_.empty()) return -1;
  std::pop_heap(free_.begin(), free_.end(), std::greater<>());
  const int32_t block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  if (device_ != nullptr) device_->await_block(block);
  return block;
}

void KvBlocks::release(int32_t block) {
  // The capacity of free_ was reached once, when all blocks were free: this does not allocate.
  if (--references_[block] > 0) return;
  free_.push_back(block);
  std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

void KvBlocks::pin(ThreadTeam &team, const LoadControl &control) {
  if (device_ == nullptr || config_.host_layers == 0) return;
  constexpr int64_t kPiece = int64_t{64} << 20, kPage = 4096;
  int done = 0;
  for (int layer = 0; layer < config_.layers; ++layer) {
    const Mapping &slab = slabs_[layer];
    if (slab.data() == nullptr) continue;
    // Pages that the driver must take itself, it takes one at a time.
    auto touch = [&](int piece, int) {
      control.require_going_on();
      const int64_t end = std::min(slab.bytes(), (piece + 1) * kPiece);
      for (int64_t at = piece * kPiece; at < end; at += kPage)
        static_cast<volatile char *>(slab.data())[at] = 0;
    };
    team.run(static_cast<int>((slab.bytes() + kPiece - 1) / kPiece), touch);
    device_->pin(layer, slab.data(), slab.bytes());
    control.report(++done, config_.host_layers);
  }
}

KvBlocks::~KvBlocks() {
  if (device_ != nullptr) device_->unpin();
}

void KvBlocks::copy_rows(int32_t from, int32_t to, int tokens) {
  if (device_ != nullptr) device_->copy_rows(from, to, tokens);
  for (int layer = 0; layer < config_.layers; ++layer) {
    for (int head = 0; head < kv_heads_ && slab(layer) != nullptr; ++head)
      std::memcpy(row(layer, to, head, 0), row(layer, from, head, 0),
                  static_cast<size_t>(tokens * row_bytes_));
  }
}

std::vector<iovec> KvBlocks::pieces(int32_t block, bool sealed, std::vector<char> &copy) const {
  const int64_t row_bytes = config_.layer_block_bytes();
  int64_t copied = 0;  // bytes that a device has
  for (int layer = 0; layer < config_.layers && device_ != nullptr; ++layer) {
    copied += slab(layer) == nullptr ? row_bytes : 0;
    copied += sealed ? config_.device_record_bytes(layer) : 0;
  }
  copy.resize(static_cast<size_t>(copied));
  std::vector<iovec> all;
  char *next = copy.data();
  auto add = [&](char *here, int64_t bytes) {
    if (bytes == 0) return;
    all.push_back({here != nullptr ? here : next, static_cast<size_t>(bytes)});
    if (here == nullptr) next += bytes;
  };
  for (int layer = 0; layer < config_.layers; ++layer) {
    add(slab(layer) == nullptr ? nullptr : row(layer, block, 0, 0), row_bytes);
    if (!sealed) continue;
    if (in_copy(layer)) add(nullptr, config_.layer_record_bytes(layer));
    for (int head = 0; head < kv_heads_ && !in_copy(layer) && has_records(layer); ++head)
      add(record(layer, block, head), record_bytes_);
  }
  return all;
}

void KvBlocks::fetch(int32_t block, bool sealed, std::vector<char> &copy) const {
  if (!copy.empty()) device_->read_block(block, sealed, copy.data());
}

void KvBlocks::put(int32_t block, bool sealed, const std::vector<char> &copy) const {
  if (device_ == nullptr) return;
  device_->write_block(block, sealed, copy.data());
  const char *next = copy.data();
  for (int layer = 0; layer < config_.layers && sealed; ++layer) {
    next += slab(layer) == nullptr ? config_.layer_block_bytes() : 0;
    if (!in_copy(layer)) continue;
    const int64_t bytes = config_.device_record_bytes(layer);
    for (int head = 0; head < kv_heads_ && has_records(layer); ++head)
      std::memcpy(record(layer, block, head), next + head * record_bytes_,
                  static_cast<size_t>(record_bytes_));
    next += bytes;
  }
}

std::vector<char> KvBlocks::copy_of_rows(int32_t block, int tokens) const {
  const int64_t head_bytes = kBlockTokens * row_bytes_;
  std::vector<char> fetched, whole;
  whole.reserve(static_cast<size_t>(config_.layers * config_.layer_block_bytes()));
  const std::vector<iovec> parts = pieces(block, false, fetched);
  fetch(block, false, fetched);
  for (const iovec &part : parts) {
    const char *rows = static_cast<const char *>(part.iov_base);
    for (int head = 0; head < kv_heads_; ++head, rows += head_bytes) {
      whole.insert(whole.end(), rows, rows + tokens * row_bytes_);
      whole.resize(whole.size() + static_cast<size_t>(head_bytes - tokens * row_bytes_));
    }
  }
  return whole;
}

}  // namespace sounder
