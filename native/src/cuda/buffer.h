// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "errors.h"

namespace sounder::cuda {

// Memory of the device that is current.
class Buffer {
 public:
  Buffer() = default;
  Buffer(int64_t bytes, const char *what) {
    if (bytes > 0) check(cudaMalloc(&data_, static_cast<size_t>(bytes)), what);
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(Buffer &&other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Buffer &operator=(Buffer &&other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  char *data() const { return static_cast<char *>(data_); }

 private:
  void *data_ = nullptr;
};

// Host memory that the device copies from and to without the driver's detour.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(int64_t bytes, const char *what) {
    check(cudaHostAlloc(&data_, static_cast<size_t>(bytes), cudaHostAllocDefault), what);
  }
  ~PinnedBuffer() { cudaFreeHost(data_); }
  PinnedBuffer(PinnedBuffer &&other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  PinnedBuffer &operator=(PinnedBuffer &&other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  char *data() const { return static_cast<char *>(data_); }

 private:
  void *data_ = nullptr;
};

}  // namespace sounder::cuda
