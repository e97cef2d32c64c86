// SPDX-License-Identifier: Apache-2.0
//
// Attention beside its two roofs on the same threads: decode beside the bandwidth of reading memory, prefill
// beside the rate of f32 fused multiply-adds. Prints `name value unit` lines.
//
//   attention_bench [threads] [GiB of KV to read in turn, more than the last cache holds]
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "cpu/kernels.h"
#include "threads.h"

using sounder::AttentionShape;
using sounder::kBlockTokens;

namespace {

constexpr AttentionShape kShapes[] = {{9, 3, 64, 0, false}, {32, 8, 128, 0, false}};
constexpr int kGroups[] = {1, 2, 4, 8};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> x) {
  std::nth_element(x.begin(), x.begin() + x.size() / 2, x.end());
  return x[x.size() / 2];
}

template <typename F>
std::vector<double> times_of(int repeats, F body) {
  std::vector<double> times;
  for (int i = -1; i < repeats; ++i) {
    double start = seconds();
    body(i + 1);
    if (i >= 0) times.push_back(seconds() - start);
  }
  return times;
}

struct Slab {
  explicit Slab(int64_t bytes_) : bytes(bytes_) {
    data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
      std::fprintf(stderr, "no %lld bytes of memory for the KV; give fewer GiB\n",
                   static_cast<long long>(bytes));
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

void fill(sounder::ThreadTeam &team, const Slab &slab) {
  constexpr int64_t kPiece = 1 << 20;
  auto body = [&](int piece, int) {
    uint16_t *to = static_cast<uint16_t *>(slab.data) + piece * (kPiece / 2);
    std::minstd_rand random(piece + 1);
    // bf16 values of magnitude 1/8 to 2, either sign
    for (int64_t i = 0; i < kPiece / 2; ++i) {
      uint32_t r = random() >> 8;
      to[i] = static_cast<uint16_t>((r & 0x8000u) | (0x3e00u + (r & 0x1ffu)));
    }
  };
  team.run(static_cast<int>(slab.bytes / kPiece), body);
}

// ---- the roofs -------------------------------------------------------------------------------------

#define SUM_WORDS_BODY                                 \
  uint64_t sum = 0;                                    \
  for (int64_t i = 0; i < count; ++i) sum += words[i]; \
  return sum;
__attribute__((target("avx512f"))) uint64_t sum_words_avx512(const uint64_t *words, int64_t count) {
  SUM_WORDS_BODY
}
__attribute__((target("avx2"))) uint64_t sum_words_avx2(const uint64_t *words, int64_t count){
    SUM_WORDS_BODY} uint64_t sum_words_plain(const uint64_t *words, int64_t count) {
  SUM_WORDS_BODY
}

double stream_bandwidth(sounder::ThreadTeam &team, const Slab &slab) {
  auto sum_words = __builtin_cpu_supports("avx512f") ? sum_words_avx512
                   : __builtin_cpu_supports("avx2")  ? sum_words_avx2
                                                     : sum_words_plain;
  constexpr int64_t kPiece = 1 << 18;
  std::vector<uint64_t> sums(team.size() * 8);
  auto body = [&](int piece, int thread) {
    sums[thread * 8] +=
        sum_words(static_cast<const uint64_t *>(slab.data) + piece * (kPiece / 8), kPiece / 8);
  };
  auto times = times_of(9, [&](int) { team.run(static_cast<int>(slab.bytes / kPiece), body); });
  if (std::accumulate(sums.begin(), sums.end(), uint64_t{0}) == 1) std::printf("\n");  // keeps the loads
  return slab.bytes / median(times) / 1e9;
}

constexpr int kChains = 12, kMultiplies = 1 << 20;
using Eight = float __attribute__((vector_size(32)));
using Sixteen = float __attribute__((vector_size(64)));

#define MULTIPLY_BODY(Vector)                                                            \
  Vector sum[kChains];                                                                   \
  for (int c = 0; c < kChains; ++c) sum[c] = Vector{} + x;                               \
  for (int i = 0; i < kMultiplies; ++i)                                                  \
    for (int c = 0; c < kChains; ++c) sum[c] = sum[c] * (Vector{} + x) + (Vector{} + x); \
  Vector all{};                                                                          \
  for (int c = 0; c < kChains; ++c) all += sum[c];                                       \
  return all[0];
__attribute__((target("avx2,fma"), noinline)) float multiply_avx2(float x) { MULTIPLY_BODY(Eight) }
__attribute__((target("avx512f"), noinline)) float multiply_avx512(float x) { MULTIPLY_BODY(Sixteen) }

double multiply_rate(sounder::ThreadTeam &team) {
  const bool wide = __builtin_cpu_supports("avx512f");
  if (!wide && !__builtin_cpu_supports("fma")) return 0;
  volatile float sink = 0.5f;
  auto body = [&](int, int) { sink = wide ? multiply_avx512(sink * 1e-3f) : multiply_avx2(sink * 1e-3f); };
  auto times = times_of(7, [&](int) { team.run(team.size(), body); });
  return 2.0 * kChains * kMultiplies * (wide ? 16 : 8) * team.size() / median(times) / 1e9;
}

// ---- attention ---------------------------------------------------------------------------------------

struct Bench {
  sounder::ThreadTeam &team;
  const sounder::Kernels &level;
  const Slab &slab;

  // Contexts of `length` tokens that together fill the slab; block ids in random order.
  std::vector<std::vector<int32_t>> contexts(const AttentionShape &shape, int length) const {
    const int64_t block_bytes = int64_t{kBlockTokens} * 2 * shape.head_dim * 2 * shape.kv_heads;
    std::vector<int32_t> ids(slab.bytes / block_bytes);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(1));
    const size_t blocks = (length + kBlockTokens - 1) / kBlockTokens;
    std::vector<std::vector<int32_t>> all;
    for (size_t at = 0; at + blocks <= ids.size(); at += blocks)
      all.emplace_back(ids.begin() + at, ids.begin() + at + blocks);
    return all;
  }

  // Median seconds of one call for `tokens` new tokens after `position` others.
  double run(const AttentionShape &shape, int tokens, int position, int repeats) const {
    auto all = contexts(shape, tokens + position);
    if (all.empty()) return 0;
    const int width = shape.heads * shape.head_dim;
    std::vector<float> q(static_cast<size_t>(tokens) * width), out(q.size());
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (float &x : q) x = normal(random);
    sounder::Attention attention(team, level, shape, tokens, 1, tokens + position);
    return median(times_of(repeats, [&](int i) {
      sounder::AttentionJob job{
          q.data(), width, out.data(), width, tokens, position, all[i % all.size()].data()};
      attention.run(slab.data, &job, 1);
    }));
  }

  void decode(const AttentionShape &shape, int length, double stream) const {
    double time = run(shape, 1, length - 1, std::max(5, static_cast<int>(4e6 / length)));
    if (time == 0) return;
    double rate = 4.0 * length * shape.kv_heads * shape.head_dim / time / 1e9;
    std::string name = name_of("decode", shape, length);
    std::printf("%s %.1f us\n%s %.2f GB/s\n%s %.1f %%_of_stream\n", name.c_str(), time * 1e6, name.c_str(),
                rate, name.c_str(), 100 * rate / stream);
    std::fflush(stdout);
  }

  // The last `tokens` of a prompt of `length`.
  void prefill(const AttentionShape &shape, int tokens, int length, double peak) const {
    double pairs = double(tokens) * (length - tokens) + double(tokens) * (tokens + 1) / 2;
    double work = 4.0 * pairs * shape.heads * shape.head_dim;
    double time = run(shape, tokens, length - tokens, work > 1e11 ? 2 : work > 1e10 ? 5 : 15);
    if (time == 0) return;
    std::string name = name_of("prefill", shape, length);
    if (tokens < length) name += "_last" + std::to_string(tokens);
    std::printf("%s %.2f ms\n%s %.1f GFLOP/s\n", name.c_str(), time * 1e3, name.c_str(), work / time / 1e9);
    if (peak > 0) std::printf("%s %.1f %%_of_f32_peak\n", name.c_str(), 100 * work / time / 1e9 / peak);
    std::fflush(stdout);
  }

  static std::string name_of(const char *what, const AttentionShape &s, int length) {
    return std::string(what) + "_d" + std::to_string(s.head_dim) + "_heads" + std::to_string(s.heads) + "/" +
           std::to_string(s.kv_heads) + "_n" + std::to_string(length);
  }
};

}  // namespace

int main(int argc, char **argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : sounder::usable_cores();
  const int64_t gib = argc > 2 ? std::atoi(argv[2]) : 2;
  if (threads < 1 || gib < 1) {
    std::fprintf(stderr, "usage: attention_bench [threads] [GiB]\n");
    return 2;
  }
  const char *problem = nullptr;
  const sounder::Kernels *level = sounder::choose_level(&problem);
  if (level == nullptr) {
    std::fprintf(stderr, "%s\n", problem);
    return 2;
  }
  sounder::ThreadTeam team(threads);
  Slab slab(gib << 30);
  fill(team, slab);
  std::printf("level %s name\nthreads %d threads\n", level->name, threads);
  const double stream = stream_bandwidth(team, slab), peak = multiply_rate(team);
  std::printf("stream_read %.2f GB/s\nf32_fma_peak %.1f GFLOP/s\n", stream, peak);
  Bench bench{team, *level, slab};
  for (const AttentionShape &shape : kShapes)
    for (int length : {4096, 16384, 98304}) bench.decode(shape, length, stream);
  for (int head_dim : {64, 128})
    for (int group : kGroups) bench.decode({4 * group, 4, head_dim, 0, false}, 16384, stream);
  for (const AttentionShape &shape : kShapes) {
    bench.prefill(shape, 512, 512, peak);
    bench.prefill(shape, 4096, 4096, peak);
    bench.prefill(shape, shape.head_dim == 64 ? 16384 : 1024, 16384, peak);
  }
}
