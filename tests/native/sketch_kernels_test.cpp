// SPDX-License-Identifier: Apache-2.0
//
// Every level's kernels beside the reference, to the byte and to the integer.
#include <algorithm>

#include "sketch_world.h"

using namespace sketch_world;

namespace {

constexpr int kHeadDims[] = {2, 6, 34, 64, 80, 96, 128, 256};
constexpr int kBits[] = {1, 2, 4};

std::string name_of(const SketchKernels &kernels, const IndexShape &shape, int kind) {
  char text[160];
  std::snprintf(text, sizeof text, "%s: head_dim %d, bits %d, centring %d, page %d, f32 %d, keys of kind %d",
                kernels.name, shape.head_dim, shape.sketch_bits, shape.centring, shape.quest_page,
                shape.kv_is_f32, kind);
  return text;
}

void check_equal(const World &world, const std::string &name) {
  for (size_t b = 0; b < world.records.size(); ++b) {
    const reference::Sketch none;
    const std::vector<char> expected = reference::record_of(
        world.block(static_cast<int>(b)), world.shape, world.sketches.empty() ? none : world.sketches[b]);
    const char *actual = world.records[b].data();
    const size_t same =
        static_cast<size_t>(std::mismatch(expected.begin(), expected.end(), actual).first - expected.begin());
    if (same < expected.size()) {
      char text[128];
      std::snprintf(text, sizeof text, ": block %zu differs from byte %zu on", b, same);
      check::fail(__FILE__, __LINE__, (name + text).c_str());
      return;
    }
  }
}

Keys make_queries(int heads, int d, std::mt19937 &random) {
  Keys queries = make_keys(Kind::kGaussian, heads, d, random);
  for (Floats &q : queries)
    for (float &x : q) x *= 1.7f;  // not a value of bf16
  return queries;
}

void check_scores(const SketchKernels &kernels, const World &world, const Keys &queries, float beta,
                  const std::string &name) {
  const int blocks = static_cast<int>(world.records.size()), bits = world.shape.sketch_bits;
  const auto scores = world.scan(kernels, queries, beta, 1, blocks);
  for (size_t h = 0; h < queries.size(); ++h) {
    const reference::SketchQuery query = reference::prepare_query(queries[h], world.signs.data(), bits, beta);
    for (int i = kIndexTokens; i < blocks * kIndexTokens; ++i) {
      const int expected = reference::sketch_score(world.sketches[static_cast<size_t>(i / kIndexTokens)],
                                                   query, i % kIndexTokens, bits);
      const int actual = scores[h][static_cast<size_t>(i - kIndexTokens)];
      if (actual == expected) continue;
      char text[128];
      std::snprintf(text, sizeof text, ": head %zu of %zu, key %d: %d, expected %d", h, queries.size(), i,
                    actual, expected);
      check::fail(__FILE__, __LINE__, (name + text).c_str());
      return;
    }
  }
}

}  // namespace

TEST("every level seals the record that the definition says, to the byte") {
  each_level([](const SketchKernels &kernels) {
    uint32_t seed = 1;
    for (int d : kHeadDims)
      for (int bits : kBits)
        for (int kind = 0; kind < static_cast<int>(Kind::kKindCount); ++kind) {
          const IndexShape shape{d, bits, static_cast<int>(seed % 3), 0, seed % 2 == 0};
          check_equal(World(kernels, shape, static_cast<Kind>(kind), 3, seed++),
                      name_of(kernels, shape, kind));
        }
  });
}

TEST(
    "a record holds the least and the greatest value of every page, beside a "
    "sketch or alone") {
  each_level([](const SketchKernels &kernels) {
    uint32_t seed = 1;
    for (int d : kHeadDims)
      for (int page : {16, 32, 64})
        for (int bits : {0, 2})
          for (bool is_f32 : {false, true}) {
            const IndexShape shape{d, bits, 0, page, is_f32};
            const int kind = static_cast<int>(seed % static_cast<int>(Kind::kKindCount));
            check_equal(World(kernels, shape, static_cast<Kind>(kind), 2, seed++),
                        name_of(kernels, shape, kind));
          }
  });
}

TEST("every level gives the scores that the definition says, to the integer") {
  each_level([](const SketchKernels &kernels) {
    std::mt19937 random(3);
    for (int d : kHeadDims)
      for (int bits : kBits)
        for (int kind = 0; kind < static_cast<int>(Kind::kKindCount); ++kind) {
          const uint32_t seed = static_cast<uint32_t>(random());
          const IndexShape shape{d, bits, static_cast<int>(seed % 3), seed % 5 == 0 ? 32 : 0, false};
          const World world(kernels, shape, static_cast<Kind>(kind), 3, seed);
          const int heads = 1 + static_cast<int>(seed % 9);
          const float beta = seed % 2 == 0 ? 1.0f : 0.9f;
          check_scores(kernels, world, make_queries(heads, d, random), beta, name_of(kernels, shape, kind));
        }
  });
}

TEST("queries and keys that add up to as much as can be are looked up without overflow") {
  each_level([](const SketchKernels &kernels) {
    for (int d : {64, 128, 256})
      for (int bits : kBits) {
        const IndexShape shape{d, bits, kCentringOff, 0, true};
        World world(kernels, shape, Kind::kGaussian, 2, 7);
        // The rotation is orthonormal: its columns are what it makes of unit vectors, and the query with
        // these products is the one that it turns to ±1 everywhere.
        // The last one is turned to ±0.75, but for its first value.
        Keys queries(6, Floats(static_cast<size_t>(d)));
        for (int j = 0; j < d; ++j) {
          Floats unit(static_cast<size_t>(d));
          unit[static_cast<size_t>(j)] = 1;
          const Floats column = reference::rotate(unit, world.signs.data());
          for (size_t i = 0; i < column.size(); ++i) {
            queries[0][static_cast<size_t>(j)] += column[i];
            queries[1][static_cast<size_t>(j)] -= column[i];
            queries[2][static_cast<size_t>(j)] += i % 2 == 0 ? column[i] : -column[i];
            queries[3][static_cast<size_t>(j)] += i % 8 < 4 ? column[i] : -column[i];
          }
          queries[4][static_cast<size_t>(j)] = 1e6f * queries[2][static_cast<size_t>(j)];  // scores end
          queries[5][static_cast<size_t>(j)] = 0.75f * queries[3][static_cast<size_t>(j)] + 0.25f * column[0];
        }
        // Every sign of such a key selects what counts: no sum is greater.
        for (size_t i = 0; i < world.keys.size(); i += 2) world.keys[i] = queries[i / 2 % 4];
        world.records.clear();
        world.sketches.clear();
        for (int b = 0; b < 2; ++b) world.seal(kernels, b);
        check_scores(kernels, world, queries, 1.0f, name_of(kernels, shape, -1));
        for (const Floats &alone : queries)
          check_scores(kernels, world, {alone}, 1.0f, name_of(kernels, shape, -1));
      }
  });
}

TEST("queries that are zero, tiny, huge or not numbers give scores of 0") {
  each_level([](const SketchKernels &kernels) {
    const IndexShape shape{96, 2, 0, 0, false};
    const World world(kernels, shape, Kind::kOffset, 2, 5);
    Keys queries(5, Floats(96, 1.0f));
    queries[0].assign(96, 0.0f);
    queries[1].assign(96, 1e-38f);
    queries[2][95] = std::numeric_limits<float>::quiet_NaN();
    queries[3][0] = -INFINITY;
    queries[4][50] = 2e12f;
    for (const auto &head : world.scan(kernels, queries, 1.0f, 0, 2))
      CHECK(std::all_of(head.begin(), head.end(), [](int score) { return score == 0; }));
    check_scores(kernels, world, queries, 1.0f, kernels.name);
  });
}

TEST("a scan of no blocks writes nothing") {
  each_level([](const SketchKernels &kernels) {
    std::mt19937 random(1);
    const World world(kernels, {64, 2, 0, 0, false}, Kind::kGaussian, 2, 5);
    for (const auto &head : world.scan(kernels, make_queries(2, 64, random), 1.0f, 1, 1)) CHECK(head.empty());
  });
}

TEST("there is a table of kernels for every level's name and for no other") {
  each_level([](const SketchKernels &kernels) { CHECK(sketch_kernels(kernels.name) == &kernels); });
  for (const char *name : {"scalar", "avx2", "avx512", "amx"})
    CHECK(sketch_kernels(name) != nullptr && std::string(sketch_kernels(name)->name) == name);
  CHECK(sketch_kernels("sse9") == nullptr);
}
