// SPDX-License-Identifier: Apache-2.0
//
// Which instruction levels this build has, and which of them this CPU and its operating system can run.
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>

#include "kernels.h"

namespace sounder {

extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512, kernels_amx;

namespace {

constexpr int kArchRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
constexpr int kTileData = 18;                   // XFEATURE_XTILEDATA

struct Features {
  uint32_t leaf1_c = 0, leaf7_b = 0, leaf7_d = 0;
  uint64_t enabled = 0;  // XCR0: the register files that the operating system saves
};

Features read_features() {
  Features f;
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  f.leaf1_c = c;
  constexpr uint32_t kOsXsave = 1u << 27;
  if (c & kOsXsave) {
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    f.enabled = uint64_t{high} << 32 | low;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    f.leaf7_b = b;
    f.leaf7_d = d;
  }
  return f;
}

const Features &features() {
  static const Features all = read_features();
  return all;
}

bool has(uint64_t word, uint64_t bits) { return (word & bits) == bits; }
constexpr uint64_t bit(int n) { return uint64_t{1} << n; }

bool scalar_runs() { return true; }

// FMA, AVX, F16C; AVX2; xmm and ymm saved
bool avx2_runs() {
  const Features &f = features();
  return has(f.leaf1_c, bit(12) | bit(28) | bit(29)) && has(f.leaf7_b, bit(5)) && has(f.enabled, 0x6);
}

// AVX512 F, DQ, BW, VL; mask registers and zmm saved
bool avx512_runs() {
  const Features &f = features();
  return avx2_runs() && has(f.leaf7_b, bit(16) | bit(17) | bit(30) | bit(31)) && has(f.enabled, 0xe6);
}

// AMX-BF16, AMX-TILE, and AVX512-BF16 whose intrinsics the level's files may use
bool amx_runs() {
  uint32_t a = 0, b, c, d;
  constexpr uint32_t kAvx512Bf16 = 1u << 5;
  return avx512_runs() && has(features().leaf7_d, bit(22) | bit(24)) &&
         __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvx512Bf16) != 0 && enable_amx();
}

struct Level {
  const Kernels *kernels;
  bool (*runs)();
  const char *needs;
};

constexpr int kLevelCount = 4;
// best first
constexpr Level kLevels[kLevelCount] = {
    {&kernels_amx, amx_runs, "AMX-BF16, AVX512-BF16, and an operating system that grants tile registers"},
    {&kernels_avx512, avx512_runs, "AVX-512 F, BW, DQ and VL"},
    {&kernels_avx2, avx2_runs, "AVX2, FMA and F16C"},
    {&kernels_scalar, scalar_runs, "nothing"},
};

struct Usable {
  const Kernels *levels[kLevelCount];
  int count = 0;
};

Usable find_usable() {
  Usable usable;
  for (const Level &level : kLevels) {
    if (level.runs()) usable.levels[usable.count++] = level.kernels;
  }
  return usable;
}

const Usable &usable() {
  static const Usable all = find_usable();
  return all;
}

// A copy of a sentence that lives as long as the process; the same sentence is kept once.
const char *keep(const std::string &sentence) {
  static std::mutex mutex;
  static std::set<std::string> sentences;
  std::lock_guard lock(mutex);
  return sentences.insert(sentence).first->c_str();
}

std::string usable_names() {
  std::string names;
  for (int i = 0; i < usable().count; ++i) names += (i ? ", " : "") + std::string(usable().levels[i]->name);
  return names;
}

}  // namespace

const Kernels *const *usable_levels(int *count) {
  *count = usable().count;
  return usable().levels;
}

const Kernels *choose_level(const char **problem) {
  *problem = nullptr;
  const char *wanted = std::getenv("SOUNDER_CPU");
  if (wanted == nullptr || *wanted == 0) return usable().levels[0];
  for (int i = 0; i < usable().count; ++i) {
    if (std::string(wanted) == usable().levels[i]->name) return usable().levels[i];
  }
  for (const Level &level : kLevels) {
    if (std::string(wanted) != level.kernels->name) continue;
    *problem =
        keep("SOUNDER_CPU is \"" + std::string(wanted) + "\", but this machine lacks what that needs (" +
             level.needs + "): set it to one of " + usable_names() + ", or unset it.");
    return nullptr;
  }
  *problem = keep("SOUNDER_CPU is \"" + std::string(wanted).substr(0, 64) +
                  "\", which is no instruction level: set it to one of " + usable_names() + ", or unset it.");
  return nullptr;
}

bool enable_amx() {
  constexpr uint64_t kTileConfigAndData = bit(17) | bit(18);
  static const bool granted = has(features().enabled, kTileConfigAndData) &&
                              syscall(SYS_arch_prctl, kArchRequestPermission, kTileData) == 0;
  return granted;
}

}  // namespace sounder
