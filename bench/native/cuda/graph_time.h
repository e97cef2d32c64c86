// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>

#include "token_memory.h"

namespace token_bench {

// Milliseconds of what `work` launches, as a graph; the median.
inline double median_ms(cudaStream_t stream, const std::function<void()> &work, int repeats) {
  cudaGraph_t graph;
  cudaGraphExec_t ready;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  work();
  check(cudaStreamEndCapture(stream, &graph), "capture");
  check(cudaGraphInstantiate(&ready, graph, 0), "make a graph");
  cudaEvent_t from, to;
  check(cudaEventCreate(&from), "make an event");
  check(cudaEventCreate(&to), "make an event");
  std::vector<float> times;
  for (int i = -3; i < repeats; ++i) {
    check(cudaEventRecord(from, stream), "record");
    check(cudaGraphLaunch(ready, stream), "launch a graph");
    check(cudaEventRecord(to, stream), "record");
    check(cudaStreamSynchronize(stream), "run a graph");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, from, to), "time");
    if (i >= 0) times.push_back(ms);
  }
  cudaGraphExecDestroy(ready);
  cudaGraphDestroy(graph);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace token_bench
