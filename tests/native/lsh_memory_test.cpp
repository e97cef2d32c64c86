// SPDX-License-Identifier: Apache-2.0
//
// What tables take of the memory that all contexts share, and when they grow.
#include "failure.h"
#include "lsh_world.h"
#include "threads.h"

using namespace lsh_world;

TEST("the memory of tables is what lsh_bytes says, and all of it comes back") {
  ThreadTeam team(2);
  LshShape shape = shape_of(16, 6, 5, 3, 2);
  shape.layer_has_tables[1] = false;
  const auto index = index_of(shape);
  const Keys keys(shape, kLshSegmentKeys + 512, 5);
  for (int until : {128, 4096, kLshSegmentKeys, kLshSegmentKeys + 512}) {
    LshTables tables(index);
    keys.cover(tables, team, until);
    int64_t mapped = 0;
    for (int i = 0; i < tables.segment_count(0); ++i) mapped += tables.segment(0, i).memory.bytes();
    CHECK(index->used_bytes() == lsh_bytes(shape, until) && mapped == lsh_bytes(shape, until));
    // The last head's ids end where the memory ends.
    const LshSegment &last = tables.segment(0, tables.segment_count(0) - 1);
    const uint16_t *end = last.head(1, 1).ids + shape.tables * last.keys;
    CHECK(reinterpret_cast<const char *>(end) ==
          static_cast<char *>(last.memory.data()) + last.memory.bytes());
    auto fork = tables.fork(until);
    tables.truncate(0);
    CHECK(index->used_bytes() == lsh_bytes(shape, until));
    fork = nullptr;
    CHECK(index->used_bytes() == 0);
  }
}

TEST("the bytes of the shapes of the paper") {
  LshShape shape = shape_of(128, 10, 150, 32, 8);
  shape.layer_has_tables[0] = shape.layer_has_tables[16] = false;
  CHECK(lsh_bytes(shape, 0) == 0);
  CHECK(lsh_bytes(shape, 98304) == 30LL * 8 * (98304LL * 302 + 3 * 150 * 1025 * 2));
  CHECK(lsh_bytes(shape, 32768 + 128) == 30LL * 8 * ((32768LL + 128) * 302 + 2 * 150 * 1025 * 2));
  CHECK(published_lsh_bytes(shape, 98304) == 32LL * 8 * (98304LL * 604 + 150 * 1024 * 8));
}

TEST("more than the shared memory is refused in a sentence that says what to do, and takes nothing") {
  const LshShape shape = shape_of(16, 6, 5, 2, 2);
  const Keys keys(shape, kLshSegmentKeys + 1024, 5);
  ThreadTeam team(2);
  const int64_t most = lsh_bytes(shape, kLshSegmentKeys + 512);
  const auto index = index_of(shape, nullptr, most);
  LshTables a(index), b(index);
  keys.cover(a, team, kLshSegmentKeys + 512);
  CHECK(index->used_bytes() == most);
  a.truncate(kLshSegmentKeys);
  int32_t status = SOUNDER_OK;
  std::string text;
  try {
    keys.extend(a, team, kLshSegmentKeys + 1024);
  } catch (const Failure &failure) {
    status = failure.status();
    text = failure.what();
  }
  a.roll_back();
  CHECK(status == SOUNDER_OUT_OF_MEMORY && text.find("--index lsh") != std::string::npos);
  CHECK(text.find("Try again") != std::string::npos && text.find("1024 more keys") != std::string::npos);
  CHECK(a.covered() == kLshSegmentKeys && index->used_bytes() == lsh_bytes(shape, kLshSegmentKeys));
  // The second segment of a step fails: the first one goes too.
  a.truncate(0);
  keys.cover(b, team, 512);
  status = SOUNDER_OK;
  try {
    keys.extend(a, team, kLshSegmentKeys + 1024);
  } catch (const Failure &failure) {
    status = failure.status();
  }
  a.roll_back();
  CHECK(status == SOUNDER_OUT_OF_MEMORY && index->used_bytes() == lsh_bytes(shape, 512));
  keys.cover(a, team, 1024);
  CHECK(a.covered() == 1024);
}

TEST("a tail that grew long waits for memory without failing") {
  const LshShape shape = shape_of(16, 6, 5, 2, 1);
  const Keys keys(shape, 8192, 5);
  ThreadTeam team(2);
  const auto index = index_of(shape, nullptr, lsh_bytes(shape, 2048) + lsh_bytes(shape, 4096));
  LshTables tables(index);
  CHECK(tables.target(2048 + 64, 2048, 64) == 2048);
  keys.cover(tables, team, 2048);
  {
    LshTables other(index);
    keys.cover(other, team, 4096);
    const int until = tables.target(2048 + 2048, 2048, 64);
    CHECK(until == 3968);
    keys.extend(tables, team, until);
    CHECK(tables.covered(0) == 2048 && tables.covered(1) == 2048);
    tables.commit();
    CHECK(tables.covered() == 2048);
  }
  // Memory that comes back in the middle of a step is left alone until the next one.
  keys.cover(tables, team, tables.target(5000, 2048, 64));
  CHECK(tables.covered() == 4864);
}

TEST("without memory for a longer segment beside those that it takes in, it does not take them in") {
  const LshShape shape = shape_of(16, 6, 5, 2, 1);
  const Keys keys(shape, 8192, 5);
  ThreadTeam team(2);
  const int64_t most = lsh_bytes(shape, 1024) + 2 * lsh_bytes(shape, 512);
  const auto index = index_of(shape, nullptr, most);
  LshTables tables(index);
  for (int until : {1024, 1536, 2048}) keys.cover(tables, team, until);
  CHECK(tables.segment_count(0) == 3 && tables.covered() == 2048 && index->used_bytes() == most);
}

TEST("tables grow by whole segments in a prompt, up to its window at its end, then when the tail is long") {
  constexpr int kSegment = kLshSegmentKeys, kPrompt = 2 * kSegment + 1000;
  LshShape shape = shape_of(1, 1, 1);
  ThreadTeam team(1);
  const Keys keys(shape, 3 * kSegment, 5);
  LshTables tables(index_of(shape));
  auto target = [&](int length, int prompt) { return tables.target(length, prompt, 64); };
  CHECK(target(0, kPrompt) == 0 && target(10, kPrompt) == 0 && target(kSegment + 63, kPrompt) == 0);
  CHECK(target(kSegment + 64, kPrompt) == kSegment && target(2 * kSegment + 999, kPrompt) == 2 * kSegment);
  keys.cover(tables, team, kSegment);
  CHECK(target(kSegment + 64, kPrompt) == kSegment && target(2 * kSegment, kPrompt) == kSegment);
  const int end = (kPrompt - 64) / 128 * 128;
  CHECK(target(kPrompt, kPrompt) == end);
  keys.cover(tables, team, end);
  CHECK(target(kPrompt + 1, kPrompt) == end && target(end + 2047, kPrompt) == end);
  CHECK(target(end + 2048, kPrompt) == end + 1920 && target(end + 2100, kPrompt) == end + 1920);
  // Another turn, with a longer prompt
  CHECK(target(end + 500, end + 500) == end + 384);
  // Nothing is prompt: the tail decides.
  LshTables none(index_of(shape));
  CHECK(none.target(2047, 0, 64) == 0 && none.target(2048, 0, 64) == 1920);
  CHECK(none.target(300, 300, 64) == 128 && none.target(60, 60, 64) == 0);
}
