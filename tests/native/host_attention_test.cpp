// SPDX-License-Identifier: Apache-2.0
//
// The CPU's attention for a device: some KV heads of some rows over blocks in host memory.
#include "host_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "head_split.h"
#include "kv_noise.h"

namespace {

using sounder::HostAttention;
using sounder::kBlockTokens;
using sounder::SampledParams;
using sounder::SampledStatistics;

constexpr int kTokens = 1500, kPosition = kTokens - 1, kLayer = 1;

sounder::ModelConfig config_of(bool f32) {
  sounder::ModelConfig config{};
  config.layers = 2;
  config.heads = 6;
  config.kv_heads = 3;
  config.head_dim = 24;
  config.threads = 2;
  config.context = 2048;
  config.kv_blocks = 14;
  config.max_step_sequences = 2;
  config.f32 = f32;
  config.sketch_bits = 2;
  config.sink = 4;
  config.window = 64;
  config.least_rows = 64;
  config.index_seed = 9;
  config.dense_layers = {true, false};
  return config;
}

const sounder::Kernels &level() {
  const char *problem = nullptr;
  return *sounder::choose_level(&problem);
}

struct World {
  explicit World(bool f32)
      : config(config_of(f32)),
        kernels(level()),
        team(2),
        blocks(config),
        host(config, blocks, team, kernels) {
    const int d = config.head_dim;
    for (int position = 0; position < kTokens; ++position) {
      for (int head = 0; head < config.kv_heads; ++head) {
        std::vector<float> row(size_t(2 * d));
        for (int i = 0; i < 2 * d; ++i) row[size_t(i)] = sounder::kv_noise(3, kLayer, position, head, i, d);
        char *to = blocks.row(kLayer, table[size_t(position / kBlockTokens)], head, position % kBlockTokens);
        if (f32)
          std::copy(row.begin(), row.end(), reinterpret_cast<float *>(to));
        else
          kernels.f32_to_bf16(row.data(), reinterpret_cast<uint16_t *>(to), 2 * d);
      }
    }
    host.seal(kLayer, {{table.data(), 0, kTokens / kBlockTokens}});
    for (size_t i = 0; i < q.size(); ++i) q[i] = std::sin(0.7f * float(i)) * 2;
  }

  // Rows whose outputs begin as NaN.
  std::vector<float> attend(const SampledParams &params, int first_head, SampledStatistics *found,
                            int count = 1, bool may_verify = true) {
    const size_t width = size_t(config.q_width());
    std::vector<float> floats(width * size_t(count), std::numeric_limits<float>::quiet_NaN());
    std::vector<uint16_t> narrow(floats.size(), 0x7fc0);
    std::vector<HostAttention::Row> rows;
    for (int i = 0; i < count; ++i) {
      void *output = config.f32 ? static_cast<void *>(floats.data() + size_t(i) * width)
                                : narrow.data() + size_t(i) * width;
      rows.push_back(
          {q.data(), output, kPosition - i, table.data(), &params, nullptr, found + i, may_verify});
    }
    host.attend(kLayer, rows.data(), count, first_head);
    for (int i = 0; i < count && !config.f32; ++i)
      host.widen(narrow.data() + size_t(i) * width, floats.data() + size_t(i) * width);
    return floats;
  }

  sounder::ModelConfig config;
  const sounder::Kernels &kernels;
  sounder::ThreadTeam team;
  sounder::KvBlocks blocks;
  HostAttention host;
  std::vector<int32_t> table = {5, 2, 9, 0, 13, 1, 7, 3, 11, 4, 6, 12};
  std::vector<float> q = std::vector<float>(6 * 24);
};

SampledParams params_of(int attention, bool verify) { return {attention, 0, 17, 0.1f, 1.0f, 2, 0, verify}; }

}  // namespace

TEST("the heads from one on are attended as in the whole row, and those before it are left alone") {
  for (bool f32 : {true, false}) {
    World world(f32);
    for (int attention : {SOUNDER_ATTENTION_SKETCH, SOUNDER_ATTENTION_TOPK}) {
      const SampledParams params = params_of(attention, false);
      SampledStatistics all;
      const std::vector<float> whole = world.attend(params, 0, &all);
      CHECK(all.layers == 1 && all.chosen_rows > 60 && all.verify_error == 0);
      double rows = 0;
      for (int first : {1, 2}) {
        SampledStatistics found;
        const std::vector<float> part = world.attend(params, first, &found);
        const size_t own = size_t(first * 2 * world.config.head_dim);
        CHECK(std::all_of(part.begin(), part.begin() + long(own), [](float x) { return std::isnan(x); }));
        CHECK(std::equal(part.begin() + long(own), part.end(), whole.begin() + long(own)));
        CHECK(found.layers == 1 && found.offloaded == all.offloaded);
        rows = found.chosen_rows;
      }
      // The last head's share of the mean over three.
      CHECK(rows > 0 && rows < 0.6 * all.chosen_rows);
    }
  }
}

TEST("more rows than sequences are attended in turn, each at its position") {
  World world(true);
  const SampledParams params = params_of(SOUNDER_ATTENTION_SKETCH, false);
  SampledStatistics found[5];
  const std::vector<float> many = world.attend(params, 0, found, 5);
  const size_t width = size_t(world.config.q_width());
  for (const SampledStatistics &one : found) CHECK(one.layers == 1 && one.chosen_rows > 0);
  SampledStatistics alone;
  const std::vector<float> first = world.attend(params, 0, &alone);
  CHECK(std::equal(first.begin(), first.end(), many.begin()));
  CHECK(!std::equal(first.begin(), first.end(), many.begin() + long(4 * width)));
}

TEST("a row that is verified is compared with all its keys, and one that may not be isn't") {
  World world(true);
  SampledStatistics exact, sampled, unasked;
  world.attend(params_of(SOUNDER_ATTENTION_SKETCH, true), 0, &sampled);
  CHECK(sampled.verify_error > 1e-6);
  world.attend(params_of(SOUNDER_ATTENTION_SKETCH, true), 0, &unasked, 1, false);
  CHECK(unasked.verify_error == 0);
  SampledParams all = params_of(SOUNDER_ATTENTION_TOPK, true);
  all.budget = 0.999f;
  world.attend(all, 0, &exact);
  CHECK(exact.verify_error > 0 && exact.verify_error < 1e-2 * sampled.verify_error);
}

TEST("heads are divided so that both sides take as long, and anew when one becomes slower") {
  sounder::HeadSplit split(8);
  // The device takes 1 ms a head, the CPU 3.
  auto run = [&](double device, double cpu, int steps) {
    for (int i = 0; i < steps; ++i) {
      const int own = split.device_heads();
      split.record(device * own, cpu * (8 - own));
    }
    return split.device_heads();
  };
  CHECK(split.device_heads() == 4);
  CHECK(run(1, 3, 3) == 4);  // not after every step
  CHECK(run(1, 3, 5) == 6);
  CHECK(run(3, 1, 40) == 2);
  CHECK(run(1000, 1, 40) == 1 && run(1, 1000, 40) == 7);  // both keep one, to be measured by
  CHECK(sounder::HeadSplit(1).device_heads() == 1);
}
