// SPDX-License-Identifier: Apache-2.0
//
// Sink and tail of contexts that decode, which every token reads, kept in device memory too where the rows
// lie in host memory. A slot has one KV block at all sampling layers that are the host's; decode appends to
// both places, whatever else writes a block makes its slot be forgotten.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "device.h"

namespace sounder::cuda {

class NearCache {
 public:
  // Device memory as device_workspace.h has it.
  struct Memory {
    char *slots;      // [near layers][slots] blocks
    int32_t *tables;  // [rows][table_width] slots in the place of blocks
  };
  NearCache(const ModelConfig &config, const Memory &memory);

  // Where a layer's slab lies in host memory.
  void set_slab(int layer, const char *here) { slabs_[size_t(layer)] = here; }

  // Whether there is room for the rows of a step that sample.
  bool serves(const DeviceStep &step) const;
  // Brings what they need there; copies are queued on the stream.
  void prepare(cudaStream_t stream, const DeviceStep &step);
  // A step that does not append here writes its blocks.
  void forget_written(const DeviceStep &step);
  // From any thread.
  void forget(int32_t block);

  // The slab of a layer, and the table of the step's sampled row i at i * table_width.
  char *rows(int layer) const;
  const int32_t *tables() const { return memory_.tables; }

 private:
  struct Slot {
    int32_t block = -1;
    int64_t used = 0;
  };
  // Where a block's rows before `tokens` are now.
  int32_t find(cudaStream_t stream, int32_t block, int tokens);
  void fill(cudaStream_t stream, int32_t block, int32_t slot);
  void write(cudaStream_t stream, size_t row, int index, int32_t slot);

  const ModelConfig &config_;
  Memory memory_;
  std::vector<const char *> slabs_;  // [layers]
  std::vector<int> places_;          // [layers] among the near layers; -1: not one of them
  std::vector<int32_t> written_;     // what the tables are, [rows][table_width]

  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::map<int32_t, int32_t> slot_of_;  // by block
  int64_t clock_ = 0;
};

}  // namespace sounder::cuda
