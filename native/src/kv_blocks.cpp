// SPDX-License-Identifier: Apache-2.0
#include "kv_blocks.h"

#include <algorithm>
#include <cstring>

#include "plan.h"

namespace sounder {

KvBlocks::KvBlocks(const ModelConfig &config, Device *device)
    : device_(device),
      layers_(config.layers),
      kv_heads_(config.kv_heads),
      row_bytes_(int64_t{2} * config.head_dim * config.value_bytes()),
      record_bytes_(record_bytes(config.index_shape())) {
  int64_t heads = int64_t{config.kv_blocks} * config.kv_heads;
  for (int layer = 0; layer < config.layers && device == nullptr; ++layer) {
    slabs_.emplace_back(heads * kBlockTokens * row_bytes_, "the KV blocks of a layer");
    bool indexed = record_bytes_ > 0 && config.layer_samples(layer);
    records_.push_back(indexed ? Mapping(heads * record_bytes_, "the index of a layer's KV blocks")
                               : Mapping());
  }
  references_.assign(static_cast<size_t>(config.kv_blocks), 0);
  for (int32_t block = config.kv_blocks - 1; block >= 0; --block) free_.push_back(block);
}

int32_t KvBlocks::take() {
  if (free_.empty()) return -1;
  int32_t block = free_.back();
  free_.pop_back();
  references_[block] = 1;
  return block;
}

void KvBlocks::release(int32_t block) {
  // The capacity of free_ was reached once, when all blocks were free: this does not allocate.
  if (--references_[block] == 0) free_.push_back(block);
}

void KvBlocks::copy_rows(int32_t from, int32_t to, int tokens) {
  if (device_ != nullptr) return device_->copy_rows(from, to, tokens);
  for (size_t layer = 0; layer < slabs_.size(); ++layer) {
    for (int head = 0; head < kv_heads_; ++head) {
      std::memcpy(row(static_cast<int>(layer), to, head, 0), row(static_cast<int>(layer), from, head, 0),
                  static_cast<size_t>(tokens * row_bytes_));
    }
  }
}

std::vector<iovec> KvBlocks::pieces(int32_t block, bool sealed, std::vector<char> &copy) const {
  const size_t row_bytes = static_cast<size_t>(kv_heads_ * kBlockTokens * row_bytes_);
  if (device_ != nullptr) {
    copy.resize(static_cast<size_t>(layers_) * row_bytes);
    return {{copy.data(), copy.size()}};
  }
  std::vector<iovec> all;
  for (int layer = 0; layer < static_cast<int>(slabs_.size()); ++layer) {
    all.push_back({row(layer, block, 0, 0), row_bytes});
    if (sealed && has_records(layer))
      all.push_back({record(layer, block, 0), static_cast<size_t>(kv_heads_ * record_bytes_)});
  }
  return all;
}

void KvBlocks::fetch(int32_t block, std::vector<char> &copy) const {
  if (device_ != nullptr) device_->read_block(block, copy.data());
}

void KvBlocks::put(int32_t block, const std::vector<char> &copy) const {
  if (device_ != nullptr) device_->write_block(block, copy.data());
}

std::vector<char> KvBlocks::copy_of_rows(int32_t block, int tokens) const {
  const int64_t head_bytes = kBlockTokens * row_bytes_;
  if (device_ != nullptr) {
    std::vector<char> whole;
    pieces(block, false, whole);
    fetch(block, whole);
    for (int64_t head = 0; head < int64_t{layers_} * kv_heads_; ++head) {
      char *rows = whole.data() + head * head_bytes;
      std::fill(rows + tokens * row_bytes_, rows + head_bytes, char{0});
    }
    return whole;
  }
  std::vector<char> copy(slabs_.size() * static_cast<size_t>(kv_heads_ * head_bytes));
  char *to = copy.data();
  for (int layer = 0; layer < static_cast<int>(slabs_.size()); ++layer) {
    for (int head = 0; head < kv_heads_; ++head, to += head_bytes)
      std::memcpy(to, row(layer, block, head, 0), static_cast<size_t>(tokens * row_bytes_));
  }
  return copy;
}

}  // namespace sounder
