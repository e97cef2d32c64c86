// SPDX-License-Identifier: Apache-2.0
//
// The sketch strategy as a whole: that it draws by what the sketches say, and is honest about the keys.
#include "reference/draw.h"
#include "statistics.h"
#include "strategy_world.h"

using namespace strategy_world;

namespace {

std::unique_ptr<Strategy> sketch(const World &world, const char *level) {
  return make_sketch_strategy(world.strategy_shape(level));
}

// The scores that the sketches give the keys from begin on.
std::vector<std::vector<int>> scanned(World &world) {
  const SketchKernels &kernels = *sketch_kernels("scalar");
  const StrategyView view = world.view(0);
  const int64_t bytes = sketch_query_bytes(view.head_dim);
  std::vector<char> memory(static_cast<size_t>(bytes * view.heads) + 64);
  char *queries = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  const std::vector<float> signs = rotation_signs(view.head_dim, world.strategy_shape("scalar").index_seed);
  for (int head = 0; head < view.heads; ++head)
    kernels.prepare(view.q + int64_t{head} * view.head_dim, signs.data(), view.head_dim,
                    world.shape.sketch_bits, view.params->beta, queries + bytes * head);
  std::vector<int16_t> scores(static_cast<size_t>(view.heads) * view.end);
  ScanTask task{};
  task.records = view.records;
  task.record_stride = view.record_stride;
  task.blocks = view.blocks;
  task.end_block = view.end / kIndexTokens;
  task.head_dim = view.head_dim;
  task.bits = world.shape.sketch_bits;
  task.queries = queries;
  task.heads = view.heads;
  task.scores = scores.data();
  task.score_stride = view.end;
  kernels.scan(task);
  std::vector<std::vector<int>> heads;
  for (int head = 0; head < view.heads; ++head) {
    const auto row = scores.begin() + int64_t{head} * view.end;
    heads.emplace_back(row + view.begin, row + view.end);
  }
  return heads;
}

reference::GroupDraw group_of(World &world) {
  std::vector<double> others;
  for (int head = 0; head < world.shape.heads; ++head) others.push_back(world.log2_exact(head));
  return reference::group_draw(scanned(world), others, world.params.beta, world.shape.budget);
}

TEST("the sketch strategy draws by the scanned scores what the reference draws") {
  constexpr int kBits[] = {1, 2, 4}, kDims[] = {64, 80, 96, 128, 256};
  for (int heads = 1; heads <= 8; ++heads) {
    const int begin = heads * 5 % 13;
    World world(
        {heads, kDims[heads % 5], begin, 1408, 256 + 31 * heads, heads % 2 == 0, 0, 512, kBits[heads % 3]},
        static_cast<uint32_t>(heads));
    world.params.beta = 1.0f;
    const reference::GroupDraw group = group_of(world);
    each_level([&](const char *level) {
      for (uint64_t seed : {1, 2, 3}) {
        const std::vector<Chosen> chosen = world.run(*sketch(world, level), seed);
        CHECK(chosen.size() == 1 && !chosen[0].certain);
        CHECK(chosen[0].keys == reference::draw(group.scores, begin, group.threshold, seed));
        for (size_t i = 0; i < chosen[0].keys.size(); ++i) {
          const int score = group.scores[chosen[0].keys[i] - begin];
          CHECK_NEAR(chosen[0].offsets[i], -std::log2(reference::draw_probability(group.threshold - score)),
                     1e-5);
        }
      }
    });
  }
}

TEST("segments and threads do not change what the sketch strategy reads") {
  each_level([](const char *level) {
    World world({4, 64, 131, 4096, 300, false, 0, 4096, 2}, 2);
    world.params.beta = 1.0f;
    const std::vector<Chosen> expected = world.run(*sketch(world, level), 9);
    for (int segment_keys : {128, 640, 2048})
      for (int threads : {1, 3}) {
        world.shape.segment_keys = segment_keys;
        CHECK(world.run(*sketch(world, level), 9, threads) == expected);
      }
  });
}

TEST("the mean over seeds is the attention of all keys, however few bits the sketches have") {
  constexpr int kSeeds = 2000;
  for (int bits : {1, 2, 4}) {
    World world({2, 64, 4, 1024, 256, true, 0, 4096, bits}, 3);
    world.params.beta = 0.9f;
    std::normal_distribution<double> normal;
    std::vector<double> value(1024);
    for (double &x : value) x = 1 + normal(world.random);
    each_level([&](const char *level) {
      const auto strategy = sketch(world, level);
      RunningMean numerators[2], denominators[2];
      for (uint64_t seed = 0; seed < kSeeds; ++seed) {
        const Chosen chosen = world.run(*strategy, seed)[0];
        for (int head = 0; head < 2; ++head) {
          double n = 0, d = 0;
          for (size_t i = 0; i < chosen.keys.size(); ++i) {
            const double w =
                std::exp(world.dot(head, chosen.keys[i]) / 8) * std::exp2(double{chosen.offsets[i]});
            n += w * value[chosen.keys[i]];
            d += w;
          }
          numerators[head].add(n);
          denominators[head].add(d);
        }
      }
      for (int head = 0; head < 2; ++head) {
        double numerator = 0, denominator = 0, blind = 0;
        for (int key = 4; key < 1024; ++key) {
          const double w = std::exp(world.dot(head, key) / 8);
          numerator += w * value[key];
          denominator += w;
          blind += w * w * (1020.0 / 256 - 1);  // the variance of a draw that does not look at the sketches
        }
        CHECK(numerators[head].agrees(numerator));
        CHECK(denominators[head].agrees(denominator));
        CHECK(denominators[head].variance() < blind / 10);
      }
    });
  }
}

TEST("the sketch strategy needs its index") {
  World world({1, 64, 4, 1024, 256}, 7);
  CHECK(make_sketch_strategy(world.strategy_shape("scalar")) == nullptr);
}

}  // namespace
