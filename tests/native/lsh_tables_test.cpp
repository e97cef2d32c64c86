// SPDX-License-Identifier: Apache-2.0
//
// The tables of a context: what they hold, and how they follow the context's life.
#include "lsh_world.h"
#include "threads.h"

using namespace lsh_world;

namespace {

std::vector<double> mean_of(const Keys &keys, int head, int first, int end) {
  std::vector<double> mean(size_t(keys.shape.head_dim));
  for (int i = first; i < end; ++i)
    for (int j = 0; j < keys.shape.head_dim; ++j) mean[j] += double{keys.key(head, i)[j]} / (end - first);
  return mean;
}

// The tables of every segment, layer and head against the reference.
void check_tables(const Keys &keys, const LshTables &tables) {
  const LshIndex &index = tables.index();
  const LshShape &shape = keys.shape;
  const int d = shape.head_dim;
  const std::vector<double> projections = projections_of(index);
  for (int layer = 0; layer < shape.layers; ++layer) {
    const int slot = index.slot(layer);
    if (slot < 0) continue;
    for (int h = 0; h < shape.kv_heads; ++h) {
      std::vector<double> mean = mean_of(keys, layer * shape.kv_heads + h, 0, tables.segment(layer, 0).keys);
      if (!shape.centred) std::fill(mean.begin(), mean.end(), 0.0);
      for (int s = 0; s < tables.segment_count(layer); ++s) {
        const LshSegment &segment = tables.segment(layer, s);
        const LshHead head = segment.head(slot, h);
        for (int j = 0; j < d; ++j) CHECK_NEAR(head.mean[j], mean[j], 1e-6 * (1 + std::fabs(mean[j])));
        const std::vector<uint32_t> codes = codes_in(segment, slot, h);
        int64_t compared = 0;
        for (int i = 0; i < segment.keys; ++i) {
          const float *key = keys.key(layer * shape.kv_heads + h, segment.begin + i);
          std::vector<double> x(d);
          double square = 0;
          for (int j = 0; j < d; ++j) {
            x[j] = key[j] - head.mean[j];
            square += x[j] * x[j];
          }
          CHECK_NEAR(of_bf16(head.inverse_norms[i]) * std::sqrt(square), 1, 1.0 / 256);
          const auto expected =
              reference::lsh_codes(x.data(), d, projections.data(), shape.bits, shape.tables);
          for (int table = 0; table < shape.tables; ++table) {
            if (expected.doubtful[table]) continue;
            CHECK(codes[size_t(table) * segment.keys + i] == expected.of_table[table]);
            ++compared;
          }
        }
        CHECK(compared > int64_t{segment.keys} * shape.tables * 99 / 100);
      }
    }
  }
}

}  // namespace

TEST("tables group the keys of every layer and head by the signs of their projections") {
  each_level([](const char *level) {
    ThreadTeam team(3);
    for (const LshShape &shape :
         {shape_of(64, 10, 17), shape_of(80, 7, 9, 2, 3), shape_of(96, 1, 5, 1, 2, true),
          shape_of(128, 15, 3), shape_of(256, 9, 4, 2, 1, true)}) {
      const Keys keys(shape, 384, 5);
      LshTables tables(index_of(shape, level));
      keys.cover(tables, team, 256);
      keys.cover(tables, team, 384);
      CHECK(tables.segment_count(0) == 2 && tables.covered() == 384);
      check_tables(keys, tables);
    }
  });
}

TEST("without centring the keys are hashed as they are") {
  ThreadTeam team(2);
  LshShape shape = shape_of(64, 6, 20);
  shape.centred = false;
  const Keys keys(shape, 256, 5);
  LshTables tables(index_of(shape));
  keys.cover(tables, team, 256);
  check_tables(keys, tables);
}

TEST("dense layers have no tables, and the others' lie where they should") {
  ThreadTeam team(2);
  LshShape shape = shape_of(64, 6, 20, 5, 2);
  shape.layer_has_tables = {false, true, false, true, true};
  const Keys keys(shape, 256, 5);
  LshTables tables(index_of(shape));
  keys.cover(tables, team, 256);
  CHECK(tables.index().slots() == 3 && tables.covered(0) == 256 && tables.covered(1) == 256);
  check_tables(keys, tables);
}

TEST("tables do not depend on the number of threads") {
  const LshShape shape = shape_of(64, 8, 12, 2, 3);
  const Keys keys(shape, 640, 5);
  ThreadTeam one(1), four(4);
  LshTables a(index_of(shape)), b(index_of(shape));
  keys.cover(a, one, 640);
  keys.cover(b, four, 640);
  CHECK(same_tables(a, b));
}

TEST("a segment ends at 32,768 keys, and the next one uses its mean") {
  const LshShape shape = shape_of(16, 5, 3);
  const Keys keys(shape, 2 * kLshSegmentKeys + 256, 5);
  ThreadTeam team(2);
  for (int until :
       {kLshSegmentKeys - 128, kLshSegmentKeys, kLshSegmentKeys + 128, 2 * kLshSegmentKeys + 256}) {
    LshTables tables(index_of(shape));
    keys.cover(tables, team, until);
    CHECK(tables.covered() == until);
    CHECK(tables.segment_count(0) == (until + kLshSegmentKeys - 1) / kLshSegmentKeys);
    check_tables(keys, tables);
  }
}

TEST("keys added in pieces give what they give at once, where the pieces are segments") {
  const LshShape shape = shape_of(16, 6, 5, 2, 2);
  const Keys keys(shape, kLshSegmentKeys + 512, 5);
  ThreadTeam team(2);
  LshTables once(index_of(shape)), pieces(index_of(shape));
  keys.cover(once, team, kLshSegmentKeys + 512);
  keys.cover(pieces, team, kLshSegmentKeys);
  keys.cover(pieces, team, kLshSegmentKeys + 512);
  CHECK(same_tables(once, pieces));
}

TEST("a fork shares the whole segments of its tokens, and both go on alone") {
  const LshShape shape = shape_of(32, 6, 5, 2, 2);
  const Keys keys(shape, 1024, 5);
  Keys other(shape, 1024, 6);
  for (int head = 0; head < 4; ++head) std::copy_n(keys.key(head, 0), 768 * 32, other.key(head, 0));
  other.lay_out();
  ThreadTeam team(2);
  const auto index = index_of(shape);
  LshTables tables(index), alone(index), first(index);
  for (int until : {512, 768, 896}) keys.cover(tables, team, until);
  const int64_t used = index->used_bytes();
  auto fork = tables.fork(800);
  CHECK(index->used_bytes() == used && fork->covered() == 768);
  CHECK(&fork->segment(0, 1) == &tables.segment(0, 1));
  CHECK(tables.fork(767)->covered() == 512 && tables.fork(768)->covered() == 768);
  CHECK(tables.fork(511)->covered() == 0 && tables.fork(5000)->covered() == 896);
  other.cover(*fork, team, 1024);
  for (int until : {512, 768, 1024}) other.cover(alone, team, until);
  CHECK(same_tables(*fork, alone));
  for (int until : {512, 768, 896}) keys.cover(first, team, until);
  CHECK(same_tables(tables, first));
}

TEST("truncating and covering again gives what covering gives") {
  const LshShape shape = shape_of(32, 6, 5, 2, 2);
  const Keys keys(shape, 1024, 5);
  ThreadTeam team(2);
  const auto index = index_of(shape);
  for (int tokens : {0, 100, 256, 300, 767, 768, 900, 1024}) {
    LshTables tables(index), expected(index);
    for (int until : {256, 768, 1024}) keys.cover(tables, team, until);
    tables.truncate(tokens);
    const int left = tokens < 256 ? 0 : tokens < 768 ? 256 : tokens < 1024 ? 768 : 1024;
    CHECK(tables.covered() == left && tables.covered(1) == left);
    keys.cover(tables, team, 1024);
    for (int until : {256, 768, 1024})
      if (until <= left) keys.cover(expected, team, until);
    keys.cover(expected, team, 1024);
    CHECK(same_tables(tables, expected));
  }
}

TEST("a step that is rolled back, at whatever layer, leaves tables and memory as they were") {
  const LshShape shape = shape_of(32, 6, 5, 3, 2);
  const Keys keys(shape, 1024, 5);
  ThreadTeam team(2);
  const auto index = index_of(shape);
  LshTables tables(index), expected(index);
  keys.cover(expected, team, 256);
  keys.cover(tables, team, 256);
  const int64_t used = index->used_bytes();
  for (int layers = 0; layers <= 3; ++layers) {
    for (int layer = 0; layer < layers; ++layer) {
      tables.extend(team, layer, keys.slabs[layer].data(), keys.blocks.data(), 1024);
      CHECK(tables.covered(layer) == 1024 && tables.segment_count(layer) == 2);
      CHECK(tables.covered() == 256);
      if (layer < 2) CHECK(tables.covered(layer + 1) == 256 && tables.segment_count(layer + 1) == 1);
    }
    tables.roll_back();
    CHECK(tables.covered() == 256 && tables.covered(0) == 256 && index->used_bytes() == used);
    CHECK(same_tables(tables, expected));
  }
  // A commit takes nothing that some layer lacks.
  tables.extend(team, 0, keys.slabs[0].data(), keys.blocks.data(), 1024);
  tables.commit();
  CHECK(same_tables(tables, expected) && index->used_bytes() == used);
}

TEST("short segments after the first become one, as in a binary counter, and a rolled back step parts them") {
  const LshShape shape = shape_of(32, 6, 5, 2, 2);
  const Keys keys(shape, 1024 + 128, 5);
  ThreadTeam team(2);
  const auto index = index_of(shape);
  LshTables tables(index);
  auto ends = [&](int layer) {
    std::vector<int> ends;
    for (int i = 0; i < tables.segment_count(layer); ++i) ends.push_back(tables.segment(layer, i).end());
    return ends;
  };
  const std::vector<std::vector<int>> expected = {{128},           {128, 256},           {128, 384},
                                                  {128, 384, 512}, {128, 640},           {128, 640, 768},
                                                  {128, 640, 896}, {128, 640, 896, 1024}};
  for (size_t i = 0; i < expected.size(); ++i) {
    keys.cover(tables, team, 128 * (static_cast<int>(i) + 1));
    CHECK(ends(0) == expected[i] && ends(1) == expected[i]);
    check_tables(keys, tables);
  }
  const int64_t used = index->used_bytes();
  tables.extend(team, 0, keys.slabs[0].data(), keys.blocks.data(), 1152);
  CHECK(ends(0) == (std::vector<int>{128, 1152}) && ends(1) == expected.back());
  CHECK(tables.covered(0) == 1152 && tables.covered(1) == 1024 && tables.covered() == 1024);
  tables.roll_back();
  CHECK(ends(0) == expected.back() && index->used_bytes() == used);
  auto fork = tables.fork(1024);
  keys.cover(tables, team, 1152);
  CHECK(ends(1) == (std::vector<int>{128, 1152}) && fork->segment_count(0) == 4);
  check_tables(keys, tables);
  check_tables(keys, *fork);
  tables.truncate(1151);
  CHECK(ends(0) == std::vector<int>{128});
}
