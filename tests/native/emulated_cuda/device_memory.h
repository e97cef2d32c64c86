// SPDX-License-Identifier: Apache-2.0
//
// In place of gpu/device_memory.h where kernels run on the CPU.
#pragma once

#include <cstdlib>
#include <instructions.cuh>
#include <string>

namespace device_memory {

inline std::string why_no_device() { return ""; }
inline int multiprocessors() { return 3; }
inline void *take(size_t bytes) { return std::aligned_alloc(256, (bytes + 255) / 256 * 256); }
inline void give_back(void *p) { std::free(p); }
inline void copy(void *to, const void *from, size_t bytes) { __builtin_memcpy(to, from, bytes); }
inline void finish() {}

struct Branches {
  int count;
  void give(sounder::cuda::Launcher &launcher) const { launcher.branch_count = count; }
};

}  // namespace device_memory
