// SPDX-License-Identifier: Apache-2.0
//
// Attention beside its two roofs on the same threads: decode beside the bandwidth of reading memory, prefill
// beside the rate of f32 fused multiply-adds. Prints `name value unit` lines. On a machine that others use at
// the same time the best of several runs says most, so roofs are measured again beside every case and the
// best of all is taken; rates by processor time say what waiting for a core hides.
//
//   attention_bench [threads] [GiB of KV to read in turn, more than the last cache holds] [part of names]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "attention/attention.h"
#include "common.h"
#include "cpu/kernels.h"
#include "threads.h"

using bench::kNever;
using bench::measure;
using bench::read_stream;
using bench::Slab;
using sounder::AttentionShape;
using sounder::kBlockTokens;

namespace {

constexpr AttentionShape kShapes[] = {{9, 3, 64, 0, false}, {32, 8, 128, 0, false}};
constexpr int kGroups[] = {1, 2, 4, 8};

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

constexpr int64_t kStreamBytes = int64_t{256} << 20;

constexpr int kChains = 12, kMultiplies = 1 << 18;
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

void multiply(sounder::ThreadTeam &team, double &time) {
  if (!__builtin_cpu_supports("fma")) return;
  const bool wide = __builtin_cpu_supports("avx512f");
  volatile float sink = 0.5f;
  auto body = [&](int, int) { sink = wide ? multiply_avx512(sink * 1e-3f) : multiply_avx2(sink * 1e-3f); };
  measure(time, 1, [&] { team.run(team.size(), body); });
}

double multiply_work(int threads) {
  return 2.0 * kChains * kMultiplies * (__builtin_cpu_supports("avx512f") ? 16 : 8) * threads;
}

// ---- attention ---------------------------------------------------------------------------------------

struct Case {
  std::string name;
  bool is_decode;
  double work;  // bytes or floating-point operations
  double time;  // seconds
};

struct Bench {
  Bench(sounder::ThreadTeam &team_, const sounder::Kernels &level_, const Slab &slab_, std::string part_)
      : team(team_), level(level_), slab(slab_), part(std::move(part_)) {}

  sounder::ThreadTeam &team;
  const sounder::Kernels &level;
  const Slab &slab;
  std::string part;

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

  // One call for `tokens` new tokens after `position` others, each time on another context.
  double run(const AttentionShape &shape, int tokens, int position, int repeats) {
    double time = kNever;
    auto all = contexts(shape, tokens + position);
    if (all.empty()) return time;
    const int width = shape.heads * shape.head_dim;
    std::vector<float> q(static_cast<size_t>(tokens) * width), out(q.size());
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    for (float &x : q) x = normal(random);
    sounder::Attention attention(team, level, shape, tokens, 1, tokens + position);
    for (int round = 0; round < kRounds; ++round) {
      measure_roofs();
      measure(time, repeats, [&] {
        const int32_t *blocks = all[next_context++ % all.size()].data();
        sounder::AttentionJob job{q.data(), width, out.data(), width, tokens, position, blocks};
        attention.run(slab.data, &job, 1);
      });
    }
    return time;
  }

  void measure_roofs() {
    const char *from = static_cast<const char *>(slab.data) + (next_stream++ * kStreamBytes) % slab.bytes;
    measure(stream, 1, [&] { read_stream(team, from, kStreamBytes); });
    multiply(team, peak);
  }

  void decode(const AttentionShape &shape, int length) {
    add({name_of("decode", shape, length), true, 4.0 * length * shape.kv_heads * shape.head_dim, kNever},
        shape, 1, length - 1, std::max(3, static_cast<int>(4e5 / length)));
  }

  // The last `tokens` of a prompt of `length`; named prefill_end when that isn't all of it.
  void prefill(const AttentionShape &shape, int tokens, int length) {
    double pairs = double(tokens) * (length - tokens) + double(tokens) * (tokens + 1) / 2;
    double work = 4.0 * pairs * shape.heads * shape.head_dim;
    std::string name = name_of(tokens < length ? "prefill_end" : "prefill", shape, length);
    add({name, false, work, kNever}, shape, tokens, length - tokens, work > 1e10 ? 1 : 5);
  }

  void add(Case c, const AttentionShape &shape, int tokens, int position, int repeats) {
    if (c.name.find(part) == std::string::npos) return;
    c.time = run(shape, tokens, position, repeats);
    if (c.time < kNever) cases.push_back(c);
  }

  void print() const {
    const double bandwidth = kStreamBytes / stream, rate = multiply_work(team.size()) / peak;
    std::printf("stream_read %.2f GB/s\nf32_fma_peak %.1f GFLOP/s\n", bandwidth / 1e9, rate / 1e9);
    for (const Case &c : cases) {
      const double got = c.work / c.time;
      std::printf("%s %.1f us\n", c.name.c_str(), c.time * 1e6);
      std::printf("%s %.2f %s\n", c.name.c_str(), got / 1e9, c.is_decode ? "GB/s" : "GFLOP/s");
      std::printf("%s %.1f %%_of_%s\n", c.name.c_str(), 100 * got / (c.is_decode ? bandwidth : rate),
                  c.is_decode ? "stream" : "f32_peak");
    }
  }

  static std::string name_of(const char *what, const AttentionShape &s, int length) {
    char name[96];
    std::snprintf(name, sizeof name, "%s_d%d_heads%d/%d_n%d", what, s.head_dim, s.heads, s.kv_heads, length);
    return name;
  }

  static constexpr int kRounds = 5;
  std::vector<Case> cases;
  double stream = kNever, peak = kNever;
  size_t next_context = 0;
  int64_t next_stream = 0;
};

}  // namespace

int main(int argc, char **argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : sounder::usable_cores();
  const int64_t gib = argc > 2 ? std::atoi(argv[2]) : 2;
  if (threads < 1 || gib < 1) {
    std::fprintf(stderr, "usage: attention_bench [threads] [GiB] [part of names]\n");
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
  Bench bench(team, *level, slab, argc > 3 ? argv[3] : std::string());
  for (const AttentionShape &shape : kShapes)
    for (int length : {4096, 16384, 98304}) bench.decode(shape, length);
  for (int head_dim : {64, 128})
    for (int group : kGroups) bench.decode({4 * group, 4, head_dim, 0, false}, 16384);
  for (const AttentionShape &shape : kShapes) {
    bench.prefill(shape, 512, 512);
    bench.prefill(shape, 4096, 4096);
    bench.prefill(shape, shape.head_dim == 64 ? 16384 : 1024, 16384);
  }
  bench.print();
}
