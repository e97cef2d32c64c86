// SPDX-License-Identifier: Apache-2.0
//
// What all lsh tables of an engine share, and the memory of one segment of them. Inside lsh.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "../memory.h"
#include "lsh.h"
#include "lsh_kernels.h"

namespace sounder {

class LshIndex {
 public:
  LshIndex(const LshShape &shape, const char *level, uint64_t seed, int64_t most_bytes);

  const LshShape &shape() const { return shape_; }
  const LshKernels &kernels() const { return kernels_; }
  // In panels, as LshHashTask wants them; not on a device.
  const float *projections() const { return static_cast<const float *>(projections_.data()); }
  int slots() const { return slots_; }
  // The number of a layer among those with tables.
  int slot(int layer) const { return slot_of_layer_[static_cast<size_t>(layer)]; }

  int64_t most_bytes() const { return most_bytes_; }
  int64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  // Takes bytes of the shared memory if there are so many left.
  bool reserve(int64_t bytes);
  void give_back(int64_t bytes) { used_bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  // On a device: where signatures of 128 keys each go (lsh_signature.h); memory for them is reserved.
  std::vector<int32_t> take_places(int count);
  void give_back_places(const std::vector<int32_t> &places);

 private:
  LshShape shape_;
  const LshKernels &kernels_;
  Mapping projections_;  // in huge pages: every token of every layer reads them, mostly from far memory
  std::vector<int> slot_of_layer_;
  int slots_ = 0;
  int64_t most_bytes_;
  std::atomic<int64_t> used_bytes_{0};
  std::mutex places_mutex_;
  std::vector<int32_t> free_places_;  // the one that is taken next the last
};

// The tables of one segment, layer and KV head. All are of 16 bits:
//   inverse_norms[keys]          bf16 of 1 / |x_i|, 0 for a key that counts as the mean itself
//   starts[tables][2^bits + 1]   where the ids of each code begin; the last one is the end
//   ids[tables][keys]            key - segment begin, grouped by code, ascending in each group
struct LshHead {
  const uint16_t *inverse_norms, *starts, *ids;
  const float *mean;  // [head_dim] zeros without centring
};

// Values of 16 bits of the tables of one layer and KV head.
int64_t lsh_head_values(const LshShape &shape, int keys);

// The means of the keys of a context's first segment, which its later segments use too. A prompt of up to
// kLshSegmentKeys tokens is one segment, so this is the mean of its keys before the window, as published; of
// a longer prompt, computed in pieces whose tables cannot wait for its end, it is the mean of the first
// kLshSegmentKeys. Any mean is right (softmax does not see it); a good one spreads the keys over the codes.
struct LshMeans {
  std::vector<float> values;  // [slots][kv_heads][head_dim]
};

struct LshSegment {
  // Fails with SOUNDER_OUT_OF_MEMORY. means: nullptr for the first segment of a context, which makes them.
  LshSegment(std::shared_ptr<LshIndex> index, int begin, int keys, std::shared_ptr<LshMeans> means);
  ~LshSegment();
  LshSegment(const LshSegment &) = delete;
  LshSegment &operator=(const LshSegment &) = delete;

  int end() const { return begin + keys; }
  LshHead head(int slot, int kv_head) const;
  float *mean(int slot, int kv_head) const;

  // Computes the tables of a layer. Thread-safe against nothing.
  void build(ThreadTeam &team, int layer, const void *slab, const int32_t *blocks);

  std::shared_ptr<LshIndex> index;
  int begin, keys;
  bool makes_means;
  std::shared_ptr<LshMeans> means;
  std::vector<bool> is_built;   // [slots]
  int64_t bytes;                // of the shared memory
  Mapping memory;               // [slots][kv_heads] heads
  std::vector<int32_t> places;  // on a device, instead: [keys / 128]
};

}  // namespace sounder
