// SPDX-License-Identifier: Apache-2.0
//
// What choosing keys costs when the scores are there: weights, thresholds, combination and draw of one
// query token over all KV heads, on made-up scores whose attention is as wide as a language model's. Prints
// `name value unit` lines, median and least of several runs.
//
//   draw_bench [threads] [keys] [KV heads] [heads of a group] [budget, share]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "attention/partial.h"
#include "cpu/kernels.h"
#include "sampled/draw_group.h"
#include "sampled/draw_scratch.h"
#include "threads.h"

using namespace sounder;

namespace {

constexpr int kRuns = 41;
constexpr double kSpread = 60;  // of the scores, in units of 1/32 octave

double microseconds() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct Group {
  StrategyView view{};
  std::vector<float> exact;
  std::vector<char> scratch;
  std::vector<int32_t> keys;
  std::vector<float> offsets;
};

void make_group(Group &group, int heads, int keys, int budget, uint64_t seed) {
  StrategyView &view = group.view;
  group.scratch.resize(static_cast<size_t>(strategy_scratch_bytes(heads, keys)) + 64);
  group.keys.resize(static_cast<size_t>(keys));
  group.offsets.resize(static_cast<size_t>(keys));
  view.heads = heads;
  view.head_dim = 2;
  group.exact.assign(static_cast<size_t>(heads) * 2 * partial_floats(2), 0.0f);
  view.exact = group.exact.data();
  view.begin = 4;
  view.end = keys;
  view.budget = budget;
  view.draw_seed = seed;
  view.segment_keys = segment_keys_of(keys, 8);
  view.scratch = group.scratch.data() + (64 - reinterpret_cast<uintptr_t>(group.scratch.data()) % 64) % 64;
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::normal_distribution<float> normal;
  for (int head = 0; head < heads; ++head)
    for (int key = 0; key < keys; ++key) {
      const int segment = key / view.segment_keys;
      segment_scores(view, head, segment)[key - segment_first(view, segment)] =
          static_cast<int16_t>(normal(random) * kSpread);
    }
}

struct Times {
  std::vector<double> count, combine, draw, all;
};

void print(const std::string &name, std::vector<double> &times) {
  std::sort(times.begin(), times.end());
  std::printf("%s %.1f us, least %.1f us\n", name.c_str(), times[times.size() / 2], times[0]);
}

void bench_level(const char *level, ThreadTeam &team, std::vector<Group> &groups) {
  const DrawKernels &kernels = *draw_kernels(level);
  const StrategyView &any = groups[0].view;
  const int segments = (any.end + any.segment_keys - 1) / any.segment_keys;
  const int chunks = segments * static_cast<int>(groups.size());
  Times times;
  int64_t rows = 0;
  for (int run = 0; run < kRuns; ++run) {
    std::vector<int> chosen(static_cast<size_t>(chunks));
    auto count = [&](int c, int) { look_at_heads(kernels, groups[c / segments].view, c % segments, 1.0f); };
    auto find = [&](int g, int) {
      find_head_thresholds(groups[g].view, segments, 1.0f, [](int) { return 0.0f; });
    };
    auto combine = [&](int c, int) { combine_heads(kernels, groups[c / segments].view, c % segments); };
    auto find_all = [&](int g, int) { find_group_threshold(groups[g].view, segments); };
    auto draw = [&](int c, int) {
      Group &group = groups[c / segments];
      const int first = segment_first(group.view, c % segments);
      Choice choice{group.keys.data() + first, group.offsets.data() + first, group.view.segment_keys};
      draw_keys(kernels, group.view, c % segments, choice);
      chosen[c] = choice.count;
    };
    const double start = microseconds();
    team.run(chunks, count);
    team.run(static_cast<int>(groups.size()), find);
    const double counted = microseconds();
    if (any.heads > 1) {
      team.run(chunks, combine);
      team.run(static_cast<int>(groups.size()), find_all);
    }
    const double combined = microseconds();
    team.run(chunks, draw);
    const double end = microseconds();
    times.count.push_back(counted - start);
    times.combine.push_back(combined - counted);
    times.draw.push_back(end - combined);
    times.all.push_back(end - start);
    rows = 0;
    for (int one : chosen) rows += one;
  }
  const std::string name = level;
  print(name + " weights of heads and thresholds", times.count);
  print(name + " combination and threshold", times.combine);
  print(name + " draw", times.draw);
  print(name + " select", times.all);
  std::printf("%s rows of a KV head %.0f\n", level, static_cast<double>(rows) / double(groups.size()));
}

}  // namespace

int main(int argc, char **argv) {
  auto argument = [&](int i, double otherwise) { return argc > i ? std::atof(argv[i]) : otherwise; };
  ThreadTeam team(std::max(1, static_cast<int>(argument(1, usable_cores()))));
  const int keys = std::max(1, static_cast<int>(argument(2, 98304)) / kIndexTokens) * kIndexTokens;
  std::vector<Group> groups(static_cast<size_t>(std::max(1.0, argument(3, 8))));
  const int heads = std::max(1, static_cast<int>(argument(4, 4)));
  const int budget = std::max(256, static_cast<int>(argument(5, 0.02) * keys));
  for (size_t g = 0; g < groups.size(); ++g) make_group(groups[g], heads, keys, budget, g + 1);
  std::printf("threads %d, keys %d, KV heads %zu of %d heads, budget %d rows\n", team.size(), keys,
              groups.size(), heads, budget);
  int count = 0;
  const Kernels *const *levels = usable_levels(&count);
  for (int i = 0; i < count; ++i) bench_level(levels[i]->name, team, groups);
  return 0;
}
