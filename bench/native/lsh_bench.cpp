// SPDX-License-Identifier: Apache-2.0
//
// MagicPIG's tables at one layer: building them, hashing queries, finding keys, and attending what was found.
// Prints `name value unit` lines. Caches are flushed before each timed call, and the best of several is
// taken.
//
//   lsh_bench [threads] [keys] [KxL] [kv heads] [heads in a group] [head_dim]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "attention/attention.h"
#include "memory.h"
#include "sampled/gather.h"
#include "sampled/lsh_index.h"
#include "sampled/strategies.h"

using namespace sounder;

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Setup {
  int threads, keys, bits, tables, kv_heads, group, head_dim;
};

// Values of a spectrum that decays so that the cosine of two has the spread 1 / sqrt(0.6 head_dim), which is
// what keys of models show when they are centred.
struct Noise {
  explicit Noise(int d) : scale(static_cast<size_t>(d)) {
    for (int i = 0; i < d; ++i) scale[i] = std::exp(-0.5f * 3.07f * i / d);
    std::normal_distribution<float> normal;
    std::mt19937 random(1);
    for (float &x : table) x = normal(random);
  }
  float draw(std::minstd_rand &random, int i) const { return scale[i] * table[random() >> 3 & 4095]; }
  std::vector<float> scale;
  float table[4096];
};

class Bench {
 public:
  Bench(const Setup &setup, const Kernels &level)
      : s(setup),
        kernels(level),
        team(s.threads),
        kv(int64_t{s.keys} * s.kv_heads * 4 * s.head_dim, "keys and values"),
        flushed(int64_t{320} << 20, "what flushes caches"),
        blocks(static_cast<size_t>(s.keys / kBlockTokens)),
        q(static_cast<size_t>(s.kv_heads) * s.group * s.head_dim),
        tables(make_lsh_index({1, s.kv_heads, s.head_dim, s.bits, s.tables, true, false, {true}}, level.name,
                              1, int64_t{1} << 40)),
        strategy(
            make_lsh_strategy({level.name, s.group, {s.head_dim, 0, 0, 0, false}, 1, s.bits, s.tables})) {
    std::iota(blocks.begin(), blocks.end(), 0);
    fill();
    params.collisions = 2;
    scratch_bytes = index_aligned(strategy_scratch_bytes(s.group, s.keys));
    scratch = Mapping(scratch_bytes * s.kv_heads, "scratch");
    for (int kv_head = 0; kv_head < s.kv_heads; ++kv_head) views.push_back(view_of(kv_head));
    threads_own.resize(static_cast<size_t>(s.threads));
    for (Own &own : threads_own) {
      own.keys.resize(static_cast<size_t>(most_segment_keys(s.keys)));
      own.offsets.resize(own.keys.size());
      own.floats = Mapping(4 * gather_scratch_floats(s.head_dim), "scratch of gathering");
      own.state.resize(static_cast<size_t>(sampled_floats(s.head_dim)));
    }
    signs.assign(static_cast<size_t>(s.head_dim), 1.0f);
  }

  void run() {
    const double start = seconds();
    tables.extend(team, 0, kv.data(), blocks.data(), s.keys);
    report("first_build_per_1k_tokens", (seconds() - start) * 1e3 / (s.keys / 1024.0));
    tables.roll_back();
    report("build_per_1k_tokens", best(2, [&] {
                                    tables.roll_back();
                                    tables.extend(team, 0, kv.data(), blocks.data(), s.keys);
                                  }) / (s.keys / 1024.0));
    tables.commit();
    report("hash_queries", best(9, [&] { hash_queries(); }));
    segments = strategy->segments(views[0]);
    found = 0;
    report("retrieve", best(9, [&] { choose_all(false); }));
    std::printf("sampled %.2f %%\n", 100.0 * found / (double{1} * s.keys * s.kv_heads * s.group));
    report("retrieve_and_attend", best(9, [&] { choose_all(true); }));
  }

 private:
  struct Own {
    std::vector<int32_t> keys;
    std::vector<float> offsets, state;
    Mapping floats;
    int64_t sum = 0, found = 0;
  };

  void fill() {
    const Noise noise(s.head_dim);
    auto body = [&](int chunk, int) {
      std::minstd_rand random(static_cast<uint32_t>(chunk % s.kv_heads) + 1);
      std::vector<float> mean(static_cast<size_t>(s.head_dim));
      for (int i = 0; i < s.head_dim; ++i) mean[i] = 2 * noise.draw(random, i);
      random.seed(static_cast<uint32_t>(chunk) + 1000);
      uint16_t *row = static_cast<uint16_t *>(kv.data()) + int64_t{chunk} * kBlockTokens * 2 * s.head_dim;
      for (int i = 0; i < kBlockTokens; ++i)
        for (int half = 0; half < 2; ++half)
          for (int j = 0; j < s.head_dim; ++j)
            *row++ = static_cast<uint16_t>(
                __builtin_bit_cast(uint32_t, (half == 0 ? mean[j] : 0.0f) + noise.draw(random, j)) >> 16);
    };
    team.run(static_cast<int>(blocks.size()) * s.kv_heads, body);
    std::minstd_rand random(9);
    for (size_t i = 0; i < q.size(); ++i) q[i] = noise.draw(random, static_cast<int>(i) % s.head_dim);
  }

  StrategyView view_of(int kv_head) {
    StrategyView view{};
    view.q = q.data() + int64_t{kv_head} * s.group * s.head_dim;
    view.heads = s.group;
    view.head_dim = s.head_dim;
    view.rows = static_cast<uint16_t *>(kv.data()) + int64_t{kv_head} * kBlockTokens * 2 * s.head_dim;
    view.block_stride = int64_t{s.kv_heads} * kBlockTokens * 2 * s.head_dim;
    view.blocks = blocks.data();
    view.begin = 4;
    view.end = s.keys;
    view.params = &params;
    view.lsh = &tables;
    view.kv_head = kv_head;
    view.segment_keys = kLshSegmentKeys;
    view.scratch = static_cast<char *>(scratch.data()) + kv_head * scratch_bytes;
    return view;
  }

  void hash_queries() {
    auto body = [&](int kv_head, int) { strategy->run_phase(0, views[kv_head], 0); };
    team.run(s.kv_heads, body);
  }

  void choose_all(bool attends) {
    for (Own &own : threads_own) own.found = 0;
    auto body = [&](int chunk, int thread) {
      Own &own = threads_own[thread];
      const StrategyView &view = views[chunk / segments];
      for (int head = 0; head < s.group; ++head) {
        Choice choice{own.keys.data(), own.offsets.data(), static_cast<int>(own.keys.size())};
        strategy->choose(view, chunk % segments, head, choice);
        own.found += choice.count;
        if (attends) attend(view, head, choice, own);
      }
    };
    team.run(s.kv_heads * segments, body);
    found = 0;
    for (const Own &own : threads_own) found += own.found;
  }

  void attend(const StrategyView &view, int head, const Choice &choice, Own &own) {
    GatherTask task{};
    task.rows = view.rows;
    task.block_stride = view.block_stride;
    task.blocks = view.blocks;
    task.keys = choice.keys;
    task.count = choice.count;
    task.offsets = choice.offsets;
    task.collision = &choice.collision;
    task.q = view.q + int64_t{head} * s.head_dim;
    task.queries = 1;
    task.head_dim = s.head_dim;
    task.signs = signs.data();
    task.states = own.state.data();
    task.state_stride = sampled_floats(s.head_dim);
    task.scratch = static_cast<float *>(own.floats.data());
    gather_kernels(kernels.name)->gather_bf16(task);
  }

  void flush() {
    auto body = [&](int chunk, int thread) {
      const int64_t *from = static_cast<int64_t *>(flushed.data()) + (int64_t{chunk} << 17);
      for (int i = 0; i < 1 << 17; i += 8) threads_own[thread].sum += from[i];
    };
    team.run(static_cast<int>(flushed.bytes() >> 20), body);
  }

  // Milliseconds of the fastest run.
  double best(int runs, const std::function<void()> &body) {
    double least = 1e9;
    for (int i = 0; i < runs; ++i) {
      flush();
      const double start = seconds();
      body();
      least = std::min(least, seconds() - start);
    }
    return least * 1e3;
  }

  void report(const char *name, double milliseconds) const {
    std::printf("%s_n%d_K%dL%d_d%d_heads%d/%d %.3f ms\n", name, s.keys, s.bits, s.tables, s.head_dim,
                s.kv_heads * s.group, s.kv_heads, milliseconds);
  }

  Setup s;
  const Kernels &kernels;
  ThreadTeam team;
  Mapping kv, flushed;
  std::vector<int32_t> blocks;
  std::vector<float> q, signs;
  LshTables tables;
  std::unique_ptr<Strategy> strategy;
  SampledParams params{};
  int64_t scratch_bytes;
  Mapping scratch;
  std::vector<StrategyView> views;
  std::vector<Own> threads_own;
  int segments = 0;
  int64_t found = 0;
};

}  // namespace

int main(int argc, char **argv) {
  Setup setup{usable_cores(), 98304, 10, 150, 8, 4, 128};
  if (argc > 1) setup.threads = std::atoi(argv[1]);
  if (argc > 2) setup.keys = std::atoi(argv[2]) / kBlockTokens * kBlockTokens;
  const bool has_tables = argc <= 3 || std::sscanf(argv[3], "%dx%d", &setup.bits, &setup.tables) == 2;
  if (argc > 4) setup.kv_heads = std::atoi(argv[4]);
  if (argc > 5) setup.group = std::atoi(argv[5]);
  if (argc > 6) setup.head_dim = std::atoi(argv[6]);
  const int least = std::min(
      {setup.threads, setup.keys, setup.bits, setup.tables, setup.kv_heads, setup.group, setup.head_dim});
  if (least < 1 || !has_tables || setup.bits > 15 || setup.tables > 1000 || setup.head_dim > 256) {
    std::fprintf(stderr,
                 "usage: lsh_bench [threads] [keys] [KxL] [kv heads] [heads in a group] [head_dim]\n");
    return 2;
  }
  const char *problem = nullptr;
  const Kernels *level = choose_level(&problem);
  if (level == nullptr) {
    std::fprintf(stderr, "%s\n", problem);
    return 2;
  }
  std::printf("level %s name\nthreads %d threads\n", level->name, setup.threads);
  Bench(setup, *level).run();
}
