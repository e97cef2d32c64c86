// SPDX-License-Identifier: Apache-2.0
#include "graphs.h"

#include <algorithm>

#include "errors.h"

namespace sounder::cuda {

namespace {
constexpr size_t kMostKept = 64;
}

void Graphs::drop_oldest() {
  const auto older = [](const auto &a, const auto &b) { return a.second.used < b.second.used; };
  kept_.erase(std::min_element(kept_.begin(), kept_.end(), older));
}

void Graphs::record(cudaStream_t stream, const std::function<void()> &queue, Kept &kept) {
  cudaGraph_t recorded = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "record a step");
  try {
    queue();
  } catch (...) {
    cudaStreamEndCapture(stream, &recorded);
    cudaGetLastError();  // what was recorded is no good any more, and the next launch would be blamed for it
    if (recorded != nullptr) cudaGraphDestroy(recorded);
    throw;
  }
  check(cudaStreamEndCapture(stream, &recorded), "record a step");
  cudaGraphExec_t made = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&made, recorded, 0);
  cudaGraphDestroy(recorded);
  check(status, "prepare a recorded step");
  kept.graph.reset(made);
}

// Graphs take memory of the device that nobody planned; where none is left, steps go without.
bool Graphs::try_record(cudaStream_t stream, const std::function<void()> &queue, Kept &kept) {
  try {
    record(stream, queue, kept);
    return true;
  } catch (const Failure &failure) {
    if (failure.status() != SOUNDER_OUT_OF_MEMORY) throw;
    return false;
  }
}

void Graphs::run(cudaStream_t stream, const GraphKey &key, const std::function<void()> &queue) {
  auto known = kept_.find(key);
  if (known == kept_.end()) {
    queue();
    if (kept_.size() >= kMostKept) drop_oldest();
    kept_[key].used = ++clock_;
    return;
  }
  Kept &kept = known->second;
  kept.used = ++clock_;
  if (kept.graph == nullptr && !try_record(stream, queue, kept)) return queue();
  const cudaError_t status = cudaGraphLaunch(kept.graph.get(), stream);
  if (status == cudaErrorMemoryAllocation) {  // the first time it takes some too
    cudaGetLastError();
    kept.graph.reset();
    return queue();
  }
  check(status, "run a recorded step");
}

}  // namespace sounder::cuda
