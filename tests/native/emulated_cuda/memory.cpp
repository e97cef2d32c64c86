// SPDX-License-Identifier: Apache-2.0
//
// The device and its memory, which is the process's. What was never written reads as NaN, or as -1.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "failures.h"
#include "streams.h"

namespace {

enum class Kind { kDevice, kPinned, kRegistered };
struct Region {
  size_t bytes;
  Kind kind;
};

std::mutex mutex;
std::map<const char *, Region> regions;
size_t device_bytes = 0;

using Lock = std::lock_guard<std::mutex>;

size_t total_bytes() {
  static const size_t total = [] {
    const char *mebibytes = std::getenv("SOUNDER_EMULATED_MIB");
    return (mebibytes == nullptr ? size_t{2048} : std::strtoul(mebibytes, nullptr, 10)) << 20;
  }();
  return total;
}

// The region in which bytes lie, if all of them do.
const Region *region_of(const void *p, size_t bytes) {
  const char *first = static_cast<const char *>(p);
  auto next = regions.upper_bound(first);
  if (next == regions.begin()) return nullptr;
  const auto &[start, region] = *std::prev(next);
  return first + bytes <= start + region.bytes ? &region : nullptr;
}
bool overlaps_device(const void *p, size_t bytes) {
  const char *first = static_cast<const char *>(p);
  for (auto at = regions.lower_bound(first + std::max<size_t>(bytes, 1)); at != regions.begin();) {
    --at;
    if (at->first + at->second.bytes <= first) return false;
    if (at->second.kind == Kind::kDevice) return true;
  }
  return false;
}
bool is_device(const void *p, size_t bytes) {
  const Region *region = region_of(p, bytes);
  return region != nullptr && region->kind == Kind::kDevice;
}
bool is_pinned(const void *p, size_t bytes) {
  const Region *region = region_of(p, bytes);
  return region != nullptr && region->kind != Kind::kDevice;
}

cudaError_t take(void **p, size_t bytes, Kind kind) {
  if (emulated::is_recording()) return cudaErrorStreamCaptureUnsupported;
  if (emulated::is_lost()) return cudaErrorIllegalAddress;
  const Lock lock(mutex);
  if (kind == Kind::kDevice && bytes > total_bytes() - device_bytes) return cudaErrorMemoryAllocation;
  if (emulated::refuses_memory()) return cudaErrorMemoryAllocation;
  *p = std::aligned_alloc(512, (std::max<size_t>(bytes, 1) + 511) / 512 * 512);
  if (*p == nullptr) return cudaErrorMemoryAllocation;
  std::memset(*p, 0xff, bytes);
  regions[static_cast<char *>(*p)] = {bytes, kind};
  if (kind == Kind::kDevice) device_bytes += bytes;
  return cudaSuccess;
}

cudaError_t give_back(void *p, Kind kind) {
  if (p == nullptr) return cudaSuccess;
  if (const cudaError_t error = emulated::finish_all(); error != cudaSuccess) return error;
  const Lock lock(mutex);
  const auto found = regions.find(static_cast<char *>(p));
  if (found == regions.end() || found->second.kind != kind) return cudaErrorInvalidValue;
  if (kind == Kind::kDevice) device_bytes -= found->second.bytes;
  regions.erase(found);
  std::free(p);
  return cudaSuccess;
}

struct Copy {
  char *to;
  const char *from;
  size_t to_pitch, from_pitch, width, height;
  size_t to_extent() const { return height == 0 ? 0 : (height - 1) * to_pitch + width; }
  size_t from_extent() const { return height == 0 ? 0 : (height - 1) * from_pitch + width; }
  void run() const {
    for (size_t row = 0; row < height; ++row)
      std::memmove(to + row * to_pitch, from + row * from_pitch, width);
  }
};

bool is_valid(const Copy &copy, cudaMemcpyKind kind) {
  const Lock lock(mutex);
  if (copy.width * copy.height == 0) return true;
  if (copy.width > copy.to_pitch || copy.width > copy.from_pitch) return false;
  const size_t to = copy.to_extent(), from = copy.from_extent();
  const bool to_device = is_device(copy.to, to), from_device = is_device(copy.from, from);
  // No piece of device memory is left by its end.
  if (!to_device && overlaps_device(copy.to, to)) return false;
  if (!from_device && overlaps_device(copy.from, from)) return false;
  if (kind == cudaMemcpyDefault) return true;
  return to_device == (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
         from_device == (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);
}

// Memory that is not pinned is read before a call returns, and written: CUDA's "API synchronization
// behavior".
bool is_pageable(const char *p, size_t extent) {
  const Lock lock(mutex);
  return region_of(p, extent) == nullptr;
}

cudaError_t queue_copy(const Copy &copy, cudaStream_t stream, bool keeps_values) {
  if (!keeps_values) return emulated::queue_work(stream, [copy] { copy.run(); });
  auto values = std::make_shared<std::vector<char>>(copy.from, copy.from + copy.from_extent());
  Copy kept = copy;
  kept.from = values->data();
  return emulated::queue_work(stream, [kept, values] { kept.run(); });
}

// What goes to the device from such memory has been read then, but need not be there yet: the rest is the
// stream's without a name, for which streams that do not block do not wait.
cudaError_t copy_now(const Copy &copy, cudaMemcpyKind kind) {
  if (!is_valid(copy, kind)) return cudaErrorInvalidValue;
  if (emulated::is_recording()) return cudaErrorStreamCaptureUnsupported;
  if (const cudaError_t error = emulated::finish_stream(nullptr); error != cudaSuccess) return error;
  if (is_pageable(copy.from, copy.from_extent()) && !is_pageable(copy.to, copy.to_extent()))
    return queue_copy(copy, nullptr, true);
  copy.run();
  return cudaSuccess;
}

cudaError_t copy_later(const Copy &copy, cudaMemcpyKind kind, cudaStream_t stream) {
  if (!is_valid(copy, kind)) return cudaErrorInvalidValue;
  const bool reads_pageable = is_pageable(copy.from, copy.from_extent());
  if (reads_pageable && !emulated::is_recorded(stream)) return queue_copy(copy, stream, true);
  const cudaError_t error = queue_copy(copy, stream, false);
  return error == cudaSuccess && is_pageable(copy.to, copy.to_extent()) ? emulated::finish_stream(stream)
                                                                        : error;
}

Copy copy_of(void *to, const void *from, size_t bytes) {
  return {static_cast<char *>(to), static_cast<const char *>(from), bytes, bytes, bytes, 1};
}
Copy copy_of(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height) {
  return {static_cast<char *>(to), static_cast<const char *>(from), to_pitch, from_pitch, width, height};
}

}  // namespace

const char *cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    default:
      return "an error";
  }
}
cudaError_t cudaGetLastError() { return cudaSuccess; }

cudaError_t cudaGetDeviceCount(int *count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  *properties = {"an emulated GPU", 8, 0, 3, total_bytes()};
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  *value = attribute == cudaDevAttrMultiProcessorCount ? 3 : 8;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return emulated::finish_all(); }

cudaError_t cudaMalloc(void **p, size_t bytes) { return take(p, bytes, Kind::kDevice); }
cudaError_t cudaFree(void *p) { return give_back(p, Kind::kDevice); }
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) { return take(p, bytes, Kind::kPinned); }
cudaError_t cudaFreeHost(void *p) { return give_back(p, Kind::kPinned); }

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned) {
  const Lock lock(mutex);
  if (p == nullptr || bytes == 0) return cudaErrorInvalidValue;
  if (region_of(p, 1) != nullptr) return cudaErrorHostMemoryAlreadyRegistered;
  if (emulated::refuses_memory()) return cudaErrorMemoryAllocation;
  regions[static_cast<char *>(p)] = {bytes, Kind::kRegistered};
  return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *p) {
  if (const cudaError_t error = emulated::finish_all(); error != cudaSuccess) return error;
  const Lock lock(mutex);
  const auto found = regions.find(static_cast<char *>(p));
  if (found == regions.end() || found->second.kind != Kind::kRegistered)
    return cudaErrorHostMemoryNotRegistered;
  regions.erase(found);
  return cudaSuccess;
}
cudaError_t cudaHostGetDevicePointer(void **device, void *host, unsigned) {
  const Lock lock(mutex);
  if (!is_pinned(host, 1)) return cudaErrorInvalidValue;
  *device = host;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  const Lock lock(mutex);
  *total = total_bytes();
  *free = total_bytes() - device_bytes;
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  return copy_now(copy_of(to, from, bytes), kind);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return copy_later(copy_of(to, from, bytes), kind, stream);
}
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                         size_t height, cudaMemcpyKind kind) {
  return copy_now(copy_of(to, to_pitch, from, from_pitch, width, height), kind);
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  return copy_later(copy_of(to, to_pitch, from, from_pitch, width, height), kind, stream);
}
cudaError_t cudaMemset(void *to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  return emulated::queue_work(stream, [=] { std::memset(to, value, bytes); });
}
