// SPDX-License-Identifier: Apache-2.0
//
// Decode steps that are recorded as graphs: the first step of a kind runs as it comes, so that whatever is
// loaded or chosen on first use is there when the second one is recorded; those that were not used for long
// go.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <tuple>
#include <type_traits>

#include "sampled/strategies.h"

namespace sounder::cuda {

// What the launches of a step depend on.
struct GraphKey {
  int rows;
  std::array<int, kDeviceStrategies> sampled;  // of them, by strategy
  int longest;                                 // SampledLayers::longest
  bool near;                                   // sinks and tails are read from the cache
  bool draws;                                  // tokens are drawn
  bool operator<(const GraphKey &other) const {
    return std::tie(rows, sampled, longest, near, draws) <
           std::tie(other.rows, other.sampled, other.longest, other.near, other.draws);
  }
};

class Graphs {
 public:
  // Runs what `queue` queues on the stream.
  void run(cudaStream_t stream, const GraphKey &key, const std::function<void()> &queue);
  void clear() { kept_.clear(); }

 private:
  struct Deleter {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  struct Kept {
    std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, Deleter> graph;  // nullptr: it ran once
    int64_t used = 0;
  };
  void record(cudaStream_t stream, const std::function<void()> &queue, Kept &kept);
  bool try_record(cudaStream_t stream, const std::function<void()> &queue, Kept &kept);
  void drop_oldest();

  std::map<GraphKey, Kept> kept_;
  int64_t clock_ = 0;
};

}  // namespace sounder::cuda
