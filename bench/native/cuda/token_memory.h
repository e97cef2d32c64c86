// SPDX-License-Identifier: Apache-2.0
//
// The memory of the bench: pinned slabs on the host, arrays on the device, the model's seeded weights.
#pragma once

#include <cuda_runtime.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "products.cuh"

namespace token_bench {

inline void check(cudaError_t error, const char *what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "Cannot %s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename T>
struct DeviceArray {
  explicit DeviceArray(int64_t count_) : count(count_) {
    check(cudaMalloc(&data, static_cast<size_t>(count) * sizeof(T)), "allocate device memory");
    check(cudaMemset(data, 0, static_cast<size_t>(count) * sizeof(T)), "clear device memory");
  }
  explicit DeviceArray(const std::vector<T> &values) : DeviceArray(static_cast<int64_t>(values.size())) {
    put(values);
  }
  ~DeviceArray() { cudaFree(data); }
  DeviceArray(const DeviceArray &) = delete;
  DeviceArray &operator=(const DeviceArray &) = delete;
  void put(const std::vector<T> &values) {
    check(cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copy");
  }
  std::vector<T> values() const {
    std::vector<T> all(static_cast<size_t>(count));
    check(cudaMemcpy(all.data(), data, all.size() * sizeof(T), cudaMemcpyDeviceToHost), "copy");
    return all;
  }
  int64_t count;
  T *data = nullptr;
};

// Huge pages, touched by many threads, then pinned piece by piece: pinning touches too, with one thread.
class PinnedSlab {
 public:
  explicit PinnedSlab(int64_t bytes) : bytes_(bytes) {
    map_and_pin();
    void *device = nullptr;
    check(cudaHostGetDevicePointer(&device, host_, 0), "map host memory");
    device_ = static_cast<char *>(device);
  }
  PinnedSlab(const PinnedSlab &) = delete;
  PinnedSlab &operator=(const PinnedSlab &) = delete;

  char *host() const { return host_; }
  template <typename T>
  T *device() const {
    return reinterpret_cast<T *>(device_);
  }
  static double &touch_seconds() {
    static double all = 0;
    return all;
  }
  static double &pin_seconds() {
    static double all = 0;
    return all;
  }

 private:
  void map_and_pin() {
    constexpr int64_t kHuge = 2 << 20;
    void *mapped = mmap(nullptr, static_cast<size_t>(bytes_ + kHuge), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
      std::fprintf(stderr, "Cannot map %.1f GiB\n", static_cast<double>(bytes_) / (1 << 30));
      std::exit(1);
    }
    const auto at = (reinterpret_cast<uintptr_t>(mapped) + kHuge - 1) / kHuge * kHuge;
    host_ = reinterpret_cast<char *>(at);
    madvise(host_, static_cast<size_t>(bytes_), MADV_HUGEPAGE);
    const double start = seconds();
    touch();
    const double touched = seconds();
    check(cudaHostRegister(host_, static_cast<size_t>(bytes_), cudaHostRegisterMapped), "pin host memory");
    touch_seconds() += touched - start;
    pin_seconds() += seconds() - touched;
  }
  void touch() {
    const int count = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    std::vector<std::thread> threads;
    for (int t = 0; t < count; ++t)
      threads.emplace_back([&, t] {
        for (int64_t at = bytes_ * t / count / 4096 * 4096; at < bytes_ * (t + 1) / count; at += 4096)
          host_[at] = 1;
      });
    for (std::thread &thread : threads) thread.join();
  }

  int64_t bytes_;
  char *host_, *device_;
};

// Llama-3.1-8B.
struct Model {
  static constexpr int kLayers = 32, kHidden = 4096, kHeads = 32, kKvHeads = 8, kHeadDim = 128,
                       kIntermediate = 14336, kVocabulary = 128256;
  static constexpr int kQkvRows = (kHeads + 2 * kKvHeads) * kHeadDim;
  static constexpr int64_t kRowBytes = 2 * 2 * kHeadDim;  // of a token and KV head

  struct Layer {
    std::unique_ptr<DeviceArray<uint16_t>> qkv, out, gate_up, down;
  };

  explicit Model(const sounder::cuda::Launcher &launcher) {
    uint64_t seed = 1;
    auto matrix = [&](int64_t rows, int64_t columns, float deviation) {
      auto values = std::make_unique<DeviceArray<uint16_t>>(rows * columns);
      launch_fill(launcher, values->data, values->count, seed++, deviation);
      weight_bytes += 2 * rows * columns;
      return values;
    };
    for (int l = 0; l < kLayers; ++l)
      layers.push_back({matrix(kQkvRows, kHidden, 0.02f), matrix(kHidden, kHidden, 0.02f),
                        matrix(2 * kIntermediate, kHidden, 0.02f), matrix(kHidden, kIntermediate, 0.02f)});
    head = matrix(kVocabulary, kHidden, 0.02f);
    streamed_bytes = weight_bytes;
    embedding = matrix(kVocabulary, kHidden, 0.02f);
    norm = std::make_unique<DeviceArray<float>>(std::vector<float>(kHidden, 1.0f));
  }

  std::vector<Layer> layers;
  std::unique_ptr<DeviceArray<uint16_t>> embedding, head;
  std::unique_ptr<DeviceArray<float>> norm;
  int64_t weight_bytes = 0, streamed_bytes = 0;
};

}  // namespace token_bench
