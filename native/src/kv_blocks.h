// SPDX-License-Identifier: Apache-2.0
//
// The pool of KV blocks. A block is one id into slabs, one slab a layer, so that layers can lie in different
// memories: here, or in a device's. The owner guards it with a mutex; rows of a block are written by the step
// that owns it.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "device.h"
#include "load_control.h"
#include "memory.h"
#include "model.h"
#include "threads.h"

namespace sounder {

class KvBlocks {
 public:
  // device: has the layers that are not the host's (ModelConfig::layer_on_host), and the index; nullptr: all
  // is here.
  explicit KvBlocks(const ModelConfig &config, Device *device = nullptr);
  ~KvBlocks();
  KvBlocks(const KvBlocks &) = delete;
  KvBlocks &operator=(const KvBlocks &) = delete;

  // Takes the memory of the layers that lie here and shows it to the device, which needs it before a step.
  void pin(ThreadTeam &team, const LoadControl &control);

  int capacity() const { return static_cast<int>(references_.size()); }
  int free_blocks() const { return static_cast<int>(free_.size()); }

  // A block with one reference, or -1 when none is free. Its values are whatever was there.
  int32_t take();
  void retain(int32_t block) { ++references_[block]; }
  void release(int32_t block);
  bool is_shared(int32_t block) const { return references_[block] > 1; }

  // Copies the first tokens' rows over all layers and heads. The copy is not sealed: it has no records.
  void copy_rows(int32_t from, int32_t to, int tokens);

  // All memory of a block in the order of a saved context: for each layer its rows, then, of a sealed block,
  // its records.
  // What a device has of it lies in `copy`, which fetch fills from the block and put writes to it.
  std::vector<iovec> pieces(int32_t block, bool sealed, std::vector<char> &copy) const;
  void fetch(int32_t block, bool sealed, std::vector<char> &copy) const;
  void put(int32_t block, bool sealed, const std::vector<char> &copy) const;
  // The rows of its first tokens over all layers in that order, zeros after them.
  std::vector<char> copy_of_rows(int32_t block, int tokens) const;

  // nullptr where a device has it.
  void *slab(int layer) const { return slabs_[layer].data(); }
  // Where the row [K | V] of a token lies in its layer's slab.
  char *row(int layer, int32_t block, int kv_head, int token) const {
    return static_cast<char *>(slabs_[layer].data()) +
           ((int64_t{block} * kv_heads_ + kv_head) * kBlockTokens + token) * row_bytes_;
  }

  // The index records of a layer (sampled/index.h). A KV head's lie together: a scan, of one head, reads
  // neighbouring blocks as one stream.
  LayerRecords records(int layer) const {
    return {static_cast<char *>(records_[layer].data()), capacity() * record_bytes_, record_bytes_};
  }
  bool has_records(int layer) const { return records_[layer].bytes() > 0; }
  char *record(int layer, int32_t block, int kv_head) const {
    return static_cast<char *>(records_[layer].data()) +
           (int64_t{kv_head} * capacity() + block) * record_bytes_;
  }

 private:
  // Whether a device has the records of this layer; where both have them, they are the same.
  bool in_copy(int layer) const { return device_ != nullptr && config_.device_record_bytes(layer) > 0; }

  const ModelConfig config_;
  Device *device_;
  int kv_heads_;
  int64_t row_bytes_;
  int64_t record_bytes_;
  std::vector<Mapping> slabs_;    // [layers], empty where a device has it
  std::vector<Mapping> records_;  // [layers], empty where a layer never samples, or a device alone has it
  std::vector<int32_t> references_;
  // A heap, the least id first: memory that was touched is used again, and a context's blocks lie in its
  // order as far as they can, in which a GPU reads host memory up to a fifth faster.
  std::vector<int32_t> free_;
};

}  // namespace sounder
