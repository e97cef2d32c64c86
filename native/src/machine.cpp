// SPDX-License-Identifier: Apache-2.0
//
// What this process may use. Memory: the machine's, or its cgroup's where that is less (v1 and v2, the
// whole chain of parents, since a limit may stand at any of them).
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>

#include "cgroup.h"
#include "sounder.h"
#include "threads.h"

namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// First number in a file, kUnlimited when there is none ("max", or no such file).
int64_t read_number(const std::string &path) {
  std::ifstream file(path);
  int64_t value = 0;
  // cgroup v1 writes "no limit" as a number near 2^63.
  if (!(file >> value) || value < 0 || value > (int64_t{1} << 60)) return kUnlimited;
  return value;
}

// A field of a memory.stat file in bytes, 0 when it is missing.
int64_t stat_field(const std::string &path, const char *name) {
  std::ifstream file(path);
  std::string key;
  int64_t bytes = 0;
  while (file >> key >> bytes) {
    if (key == name) return bytes;
  }
  return 0;
}

// A field of /proc/meminfo in bytes, 0 when it is missing.
int64_t meminfo(const char *name) {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  int64_t kib = 0;
  while (file >> key >> kib) {
    std::getline(file, unit);
    if (key == name) return kib * 1024;
  }
  return 0;
}

void apply_cgroups(int64_t &total, int64_t &available) {
  for (const auto &[folder, v2] : sounder::cgroup_folders("memory")) {
    int64_t limit = read_number(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
    if (limit == kUnlimited) continue;
    int64_t usage = read_number(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
    // Cached file pages count as used, but the kernel gives them up before it refuses memory.
    int64_t cached = stat_field(folder + "/memory.stat", v2 ? "inactive_file" : "total_inactive_file");
    int64_t used = usage == kUnlimited ? 0 : std::max<int64_t>(0, usage - cached);
    total = std::min(total, limit);
    available = std::min(available, std::max<int64_t>(0, limit - used));
  }
}

}  // namespace

extern "C" int32_t sounder_machine_figures(int64_t *figures, int32_t count) {
  if (figures == nullptr || count < SOUNDER_MACHINE_COUNT) return SOUNDER_INVALID;
  try {
    int64_t total = meminfo("MemTotal:"), available = meminfo("MemAvailable:");
    if (total <= 0) return SOUNDER_IO;
    apply_cgroups(total, available);
    figures[SOUNDER_MACHINE_MEMORY_TOTAL] = total;
    figures[SOUNDER_MACHINE_MEMORY_AVAILABLE] = std::min(total, available);
    figures[SOUNDER_MACHINE_CORES] = sounder::usable_cores();
    return SOUNDER_OK;
  } catch (...) {
    return SOUNDER_INTERNAL;
  }
}
