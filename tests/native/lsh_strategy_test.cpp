// SPDX-License-Identifier: Apache-2.0
//
// MagicPIG's strategy: which keys it finds, and how its segments become the driver's.
#include "lsh_world.h"
#include "threads.h"

using namespace lsh_world;

namespace {

std::vector<double> as_doubles(const float *x, int count) { return {x, x + count}; }

// What the reference finds for a query, with the codes that the tables hold.
std::vector<int> expected_keys(const Asker &asker, const LshTables &tables, int head) {
  const LshIndex &index = tables.index();
  const LshShape &shape = index.shape();
  const std::vector<double> projections = projections_of(index);
  const auto query =
      reference::lsh_codes(as_doubles(&asker.q[size_t(head) * shape.head_dim], shape.head_dim).data(),
                           shape.head_dim, projections.data(), shape.bits, shape.tables);
  std::vector<int> all;
  for (int s = 0; s < tables.segment_count(asker.view.layer); ++s) {
    const LshSegment &segment = tables.segment(asker.view.layer, s);
    const auto codes = codes_in(segment, index.slot(asker.view.layer), asker.view.kv_head);
    const int from = std::max(asker.view.begin, segment.begin),
              until = std::min(asker.view.end, segment.end());
    if (from >= until) continue;
    for (int key : reference::lsh_retrieve(codes, segment.keys, query.of_table, asker.params.collisions,
                                           from - segment.begin, until - segment.begin))
      all.push_back(key + segment.begin);
  }
  return all;
}

}  // namespace

TEST("the keys found are those whose codes agree in enough tables, for every shape, group and level") {
  ThreadTeam team(2);
  each_level([&](const char *level) {
    uint32_t seed = 0;
    for (int d : {64, 80, 96, 128, 256})
      for (int heads : {1, 3, 8}) {
        const int bits = 1 + int(++seed * 4 % 15), tables_ = 3 + int(seed * 7 % 30);
        const LshShape shape = shape_of(d, bits, tables_, 2, 2, seed % 2 == 0);
        const Keys keys(shape, 896, seed);
        LshTables tables(make_lsh_index(shape, level, seed, kPlenty));
        for (int until : {512, 640, 896}) keys.cover(tables, team, until);
        for (auto [begin, end] : {std::pair{0, 896}, {4, 768}, {600, 640}}) {
          const int collisions = 1 + int(seed + begin) % 3;
          Asker asker(keys, tables, heads, begin, end, collisions);
          draw_queries(asker, seed);
          asker.aim(1, 1);
          const auto found = asker.ask(*strategy_of(shape, level, heads));
          for (int head = 0; head < heads; ++head)
            CHECK(found[head].keys == expected_keys(asker, tables, head));
        }
      }
  });
}

TEST("codes of 15 bits work with few keys, and 1000 tables with many") {
  ThreadTeam team(2);
  each_level([&](const char *level) {
    for (auto [bits, count] : {std::pair{15, 3}, {15, 1000}, {1, 1000}, {1, 1}}) {
      const LshShape shape = shape_of(16, bits, count);
      const Keys keys(shape, 128, 3);
      LshTables tables(make_lsh_index(shape, level, 1, kPlenty));
      keys.cover(tables, team, 128);
      for (int collisions : {1, 2, 3}) {
        Asker asker(keys, tables, 2, 4, 128, collisions);
        draw_queries(asker, 8);
        const auto found = asker.ask(*strategy_of(shape, level, 2));
        for (int head = 0; head < 2; ++head) CHECK(found[head].keys == expected_keys(asker, tables, head));
      }
    }
  });
}

TEST("segments of tables that lie together are one of the driver's, up to its longest") {
  ThreadTeam team(2);
  const LshShape shape = shape_of(8, 5, 6);
  const Keys keys(shape, 2 * kLshSegmentKeys + 4096, 3);
  const auto index = make_lsh_index(shape, "scalar", 1, kPlenty);
  const auto strategy = strategy_of(shape, "scalar");
  auto check = [&](std::vector<int> ends, int end, int segments) {
    LshTables tables(index);
    for (int until : ends) keys.cover(tables, team, until);
    Asker asker(keys, tables, 1, 4, end, 2);
    draw_queries(asker, 8);
    const auto found = asker.ask(*strategy);
    CHECK(asker.segments == segments);
    CHECK(found[0].keys == expected_keys(asker, tables, 0));
  };
  constexpr int kSegment = kLshSegmentKeys;
  check({128}, 128, 1);
  check({1024, 2048, 4096}, 4096, 1);
  check({1024, 2048, 4096}, 2048, 1);
  check({kSegment}, kSegment, 1);
  check({kSegment, kSegment + 128}, kSegment + 128, 2);
  check({kSegment, kSegment + 128}, kSegment, 1);
  check({1024, kSegment, kSegment + 2048, kSegment + 4096}, kSegment + 4096, 2);
  check({1024, kSegment + 1024, kSegment + 2048}, kSegment + 2048, 3);
  check({2 * kSegment + 4096}, 2 * kSegment + 4096, 3);
}

TEST("more segments of tables than the driver takes are cut evenly, and nothing is lost or found twice") {
  ThreadTeam team(2);
  const LshShape shape = shape_of(4, 3, 3);
  const Keys keys(shape, 128 + kMostSegments * kLshSegmentKeys, 3);
  LshTables tables(make_lsh_index(shape, "scalar", 1, kPlenty));
  keys.cover(tables, team, 128);
  keys.cover(tables, team, keys.count);
  CHECK(tables.segment_count(0) == kMostSegments + 1);
  Asker asker(keys, tables, 1, 4, keys.count, 3);
  draw_queries(asker, 8);
  const auto found = asker.ask(*strategy_of(shape, "scalar"));
  CHECK(asker.segments == 8);
  CHECK(found[0].keys == expected_keys(asker, tables, 0));
}
