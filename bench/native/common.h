// SPDX-License-Identifier: Apache-2.0
//
// What the native benches share: time, memory that is not in any cache, and the roof of reading it.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "threads.h"

namespace bench {

inline double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr double kNever = 1e9;

// Lowers `least`, in seconds, to the shortest of the repeats.
template <typename F>
void measure(double &least, int repeats, F body) {
  for (int i = 0; i < repeats; ++i) {
    const double start = seconds();
    body();
    least = std::min(least, seconds() - start);
  }
}

// Zeros in huge pages, where the system grants them.
struct Slab {
  explicit Slab(int64_t bytes_) : bytes(bytes_) {
    data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      std::fprintf(stderr, "no %lld bytes of memory; give a smaller size\n", static_cast<long long>(bytes));
      std::exit(1);
    }
    madvise(data, bytes, MADV_HUGEPAGE);
  }
  ~Slab() { munmap(data, bytes); }
  Slab(const Slab &) = delete;
  Slab &operator=(const Slab &) = delete;

  int64_t bytes;
  void *data;
};

// ---- the roof of reading memory ------------------------------------------------------------------------

#define SUM_WORDS_BODY                                 \
  uint64_t sum = 0;                                    \
  for (int64_t i = 0; i < count; ++i) sum += words[i]; \
  return sum;
__attribute__((target("avx512f"))) inline uint64_t sum_words_avx512(const uint64_t *words, int64_t count) {
  SUM_WORDS_BODY
}
__attribute__((target("avx2"))) inline uint64_t sum_words_avx2(const uint64_t *words, int64_t count) {
  SUM_WORDS_BODY
}
inline uint64_t sum_words_plain(const uint64_t *words, int64_t count) { SUM_WORDS_BODY }

// Reads [data, data + bytes), a multiple of kStreamPiece, once.
constexpr int64_t kStreamPiece = 1 << 18;
inline void read_stream(sounder::ThreadTeam &team, const void *data, int64_t bytes) {
  auto sum_words = __builtin_cpu_supports("avx512f") ? sum_words_avx512
                   : __builtin_cpu_supports("avx2")  ? sum_words_avx2
                                                     : sum_words_plain;
  std::vector<uint64_t> sums(team.size() * 8);
  auto body = [&](int piece, int thread) {
    const char *from = static_cast<const char *>(data) + piece * kStreamPiece;
    sums[thread * 8] += sum_words(reinterpret_cast<const uint64_t *>(from), kStreamPiece / 8);
  };
  team.run(static_cast<int>(bytes / kStreamPiece), body);
  if (std::accumulate(sums.begin(), sums.end(), uint64_t{0}) == 1) std::printf("\n");  // keeps the loads
}

}  // namespace bench
