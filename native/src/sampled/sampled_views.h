// SPDX-License-Identifier: Apache-2.0
//
// Inside sampled attention: the views of the jobs that run at once, a view being one query token at one KV
// head, and the memory that they and the threads work in.
#pragma once

#include <memory>
#include <vector>

#include "../memory.h"
#include "sampled_attention.h"

namespace sounder {

struct View {
  StrategyView strategy_view;
  const Strategy *strategy;
  int job;  // of the wave
  int phases, segments;
  int first_segment;  // of the wave
  int piece;          // of its last planned pass (sampled_passes.h); -1 before the first
  float *states;      // [heads][segments] sampled states
  float *exact;       // [heads][sink, tail] partial states
  const float *signs;
};

// How many jobs run at once, and the bytes of each.
struct WavePlan {
  int group;
  int64_t view_bytes, job_bytes, thread_bytes;
  int jobs;
};

WavePlan plan_wave(const AttentionShape &shape, int threads, int most_jobs, int context);

class SampledViews {
 public:
  SampledViews(const char *level, const SampledShape &shape, int threads, int most_jobs, int context);

  // What a thread needs to attend a segment.
  struct Scratch {
    float *floats;
    int32_t *keys;  // kListsAtOnce lists
    float *offsets;
    uint64_t *seen;  // one bit for each key of a segment
  };
  Scratch scratch_of(int thread) const;

  // The views of these jobs at one layer, at most plan().jobs of them.
  void make(int layer, const void *slab, const LayerRecords &records, const SampledJob *jobs, int count);
  std::vector<View> &all() { return views_; }

  const SampledShape &shape() const { return shape_; }
  const WavePlan &plan() const { return plan_; }
  int context() const { return context_; }

 private:
  void add(int layer, const void *slab, const LayerRecords &records, const SampledJob &job, int job_index,
           int kv_head, const SampledRange &range);
  StrategyView strategy_view(int layer, const void *slab, const LayerRecords &records, const SampledJob &job,
                             int kv_head, const SampledRange &range) const;

  SampledShape shape_;
  WavePlan plan_;
  int context_;
  std::vector<std::unique_ptr<Strategy>> strategies_;
  Mapping memory_;
  std::vector<View> views_;
};

}  // namespace sounder
