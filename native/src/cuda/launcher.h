// SPDX-License-Identifier: Apache-2.0
//
// Where kernels are launched; how, is in instructions.cuh.
#pragma once

#include <cuda_runtime_api.h>

#include "errors.h"

namespace sounder::cuda {

// A stream beside the launcher's, and events to go there and come back by.
struct Branch {
  cudaStream_t stream;
  cudaEvent_t begins, ends;
};

class StageMarks;

// Where kernels are launched, and how many multiprocessors there are to fill.
struct Launcher {
  cudaStream_t stream = nullptr;
  int multiprocessors = 1;
  // From compute capability 9.0 on: a kernel's blocks may come up before the kernel before it in the stream
  // ends; each one calls wait_for_previous before it touches what an earlier one writes or reads. Among the
  // kernels of sampled attention this was slower (0.3 ms a token of 32 layers, H100); for the product behind
  // them it pays.
  bool overlap = false;
  const Branch *branches = nullptr;
  int branch_count = 0;
  int keys_of_part = 49152;     // fewer take no longer than the kernels of a branch take to begin
  StageMarks *marks = nullptr;  // where stages are told apart; parts follow each other then
};

// A launcher on a branch, whose kernels come after those launched by `from`.
inline Launcher branch_off(const Launcher &launcher, const Launcher &from, int branch) {
  const Branch &own = launcher.branches[branch];
  check(cudaEventRecord(own.begins, from.stream), "launch kernels beside others");
  check(cudaStreamWaitEvent(own.stream, own.begins, 0), "launch kernels beside others");
  Launcher made = launcher;
  made.stream = own.stream;
  return made;
}
// What the launcher launches next comes after the branch.
inline void join_branch(const Launcher &launcher, int branch) {
  const Branch &own = launcher.branches[branch];
  check(cudaEventRecord(own.ends, own.stream), "wait for kernels beside others");
  check(cudaStreamWaitEvent(launcher.stream, own.ends, 0), "wait for kernels beside others");
}

}  // namespace sounder::cuda
