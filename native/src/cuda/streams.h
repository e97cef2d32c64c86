// SPDX-License-Identifier: Apache-2.0
//
// Streams and events that end with their owner.
#pragma once

#include <cuda_runtime_api.h>

#include "errors.h"

namespace sounder::cuda {

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "make a stream"); }
  ~Stream() { cudaStreamDestroy(handle_); }
  Stream(const Stream &) = delete;
  Stream &operator=(const Stream &) = delete;
  operator cudaStream_t() const { return handle_; }

  void synchronize() const { check(cudaStreamSynchronize(handle_), "finish its work"); }

 private:
  cudaStream_t handle_ = nullptr;
};

class Event {
 public:
  explicit Event(unsigned flags = cudaEventDisableTiming) {
    check(cudaEventCreateWithFlags(&handle_, flags), "make an event");
  }
  ~Event() { cudaEventDestroy(handle_); }
  Event(const Event &) = delete;
  Event &operator=(const Event &) = delete;
  operator cudaEvent_t() const { return handle_; }

  // What is queued on the stream now has to be done before what is queued on others that wait.
  void record(cudaStream_t stream) const { check(cudaEventRecord(handle_, stream), "mark its work"); }
  // Nothing, when it was never recorded.
  void hold_up(cudaStream_t stream) const {
    check(cudaStreamWaitEvent(stream, handle_, 0), "wait for its work");
  }

 private:
  cudaEvent_t handle_ = nullptr;
};

}  // namespace sounder::cuda
