// SPDX-License-Identifier: Apache-2.0
#include "kv_blocks.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "check.h"
#include "contexts.h"
#include "failure.h"
#include "fake_device.h"
#include "random.h"

namespace {

sounder::ModelConfig config_of(int blocks) {
  sounder::ModelConfig config{};
  config.layers = 3;
  config.heads = config.kv_heads = 2;
  config.head_dim = 8;
  config.kv_blocks = blocks;
  config.f32 = true;
  config.dense_layers.assign(3, false);
  return config;
}

}  // namespace

TEST("blocks are given out once each, and come back when nobody refers to them") {
  sounder::KvBlocks blocks(config_of(5));
  std::set<int32_t> taken;
  for (int i = 0; i < 5; ++i) taken.insert(blocks.take());
  CHECK(taken == (std::set<int32_t>{0, 1, 2, 3, 4}));
  CHECK(blocks.take() == -1 && blocks.free_blocks() == 0);
  blocks.retain(3);
  CHECK(blocks.is_shared(3) && !blocks.is_shared(2));
  blocks.release(3);
  CHECK(blocks.free_blocks() == 0 && !blocks.is_shared(3));
  blocks.release(3);
  CHECK(blocks.free_blocks() == 1 && blocks.take() == 3);
}

TEST("of free blocks the one with the least id is taken, so that contexts lie in order") {
  sounder::KvBlocks blocks(config_of(6));
  for (int i = 0; i < 6; ++i) CHECK(blocks.take() == i);
  for (const int32_t block : {4, 1, 5, 2}) blocks.release(block);
  for (const int32_t block : {1, 2, 4, 5}) CHECK(blocks.take() == block);
}

TEST("rows of a block lie where the attention looks for them, apart from each other") {
  sounder::KvBlocks blocks(config_of(4));
  const int64_t row_bytes = 2 * 8 * 4;
  for (int layer = 0; layer < 3; ++layer) {
    for (int32_t block : {0, 3}) {
      for (int head = 0; head < 2; ++head) {
        for (int token : {0, 127}) {
          int64_t row = (int64_t{block} * 2 + head) * 128 + token;
          CHECK(blocks.row(layer, block, head, token) ==
                static_cast<char *>(blocks.slab(layer)) + row * row_bytes);
        }
      }
    }
  }
  // The last row of each slab can be written.
  for (int layer = 0; layer < 3; ++layer) std::memset(blocks.row(layer, 3, 1, 127), 1, row_bytes);
}

TEST("copying takes the first rows of all layers and heads, and no more") {
  sounder::KvBlocks blocks(config_of(2));
  for (int layer = 0; layer < 3; ++layer) {
    std::memset(blocks.row(layer, 0, 0, 0), 10 + layer, 2 * 128 * 64);
    std::memset(blocks.row(layer, 1, 0, 0), 99, 2 * 128 * 64);
  }
  blocks.copy_rows(0, 1, 70);
  for (int layer = 0; layer < 3; ++layer) {
    for (int head = 0; head < 2; ++head) {
      const char *rows = blocks.row(layer, 1, head, 0);
      CHECK(std::all_of(rows, rows + 70 * 64, [&](char c) { return c == 10 + layer; }));
      CHECK(std::all_of(rows + 70 * 64, rows + 128 * 64, [](char c) { return c == 99; }));
    }
  }
}

namespace {

// Layers 0 and 2 and, where there is an index, its records are this device's; layer 1 is the host's.
struct DeviceWithBlocks : check::FakeDevice {
  std::vector<int> pinned;
  int copies = 0;
  std::vector<char> memory;  // of the one block that is written

  void pin(int layer, void *slab, int64_t bytes) override {
    CHECK(slab != nullptr && bytes == 2 * 2 * 128 * 64);
    pinned.push_back(layer);
  }
  void unpin() noexcept override { pinned.clear(); }
  void copy_rows(int32_t, int32_t, int) override { ++copies; }
  void read_block(int32_t, bool, char *to) override { std::copy(memory.begin(), memory.end(), to); }
  void write_block(int32_t, bool, const char *from) override {
    std::copy_n(from, memory.size(), memory.begin());
  }
};

sounder::ModelConfig config_of_two_memories() {
  sounder::ModelConfig config = config_of(2);
  config.device = 0;
  config.host_layers = 1;
  config.dense_layers = {true, false, true};
  config.sketch_bits = 2;
  return config;
}

std::vector<char> values_of(const std::vector<iovec> &pieces) {
  std::vector<char> all;
  for (const iovec &piece : pieces) {
    const char *start = static_cast<const char *>(piece.iov_base);
    all.insert(all.end(), start, start + piece.iov_len);
  }
  return all;
}

}  // namespace

TEST("layers go to host memory from the last sampling one down, then from the last dense one down") {
  sounder::ModelConfig config{};
  config.layers = 6;
  config.dense_layers = {true, false, false, true, false, false};
  const std::vector<int> order = {5, 4, 2, 1, 3, 0};
  for (config.host_layers = 0; config.host_layers <= 6; ++config.host_layers) {
    for (int i = 0; i < 6; ++i) CHECK(config.layer_on_host(order[size_t(i)]) == (i < config.host_layers));
  }
  config.sliding_window = 100;  // then no layer samples
  config.host_layers = 2;
  for (int layer = 0; layer < 6; ++layer) CHECK(config.layer_on_host(layer) == (layer >= 4));
}

TEST("of a block, host layers are here and the others with the device, in the order of a saved context") {
  const sounder::ModelConfig config = config_of_two_memories();
  DeviceWithBlocks device;
  sounder::KvBlocks blocks(config, &device);
  CHECK(blocks.slab(0) == nullptr && blocks.slab(1) != nullptr && blocks.slab(2) == nullptr);
  const size_t rows = 2 * 128 * 64, records = size_t(config.layer_record_bytes(1));
  CHECK(records > 0);
  for (bool sealed : {false, true}) {
    device.memory.assign(2 * rows + (sealed ? records : 0), 0);
    for (size_t i = 0; i < device.memory.size(); ++i) device.memory[i] = char(i % 101);
    std::memset(blocks.row(1, 1, 0, 0), 77, rows);
    std::vector<char> copy;
    const std::vector<iovec> pieces = blocks.pieces(1, sealed, copy);
    blocks.fetch(1, sealed, copy);
    std::vector<char> expected(device.memory.begin(), device.memory.begin() + int64_t(rows));
    expected.insert(expected.end(), rows, char(77));
    expected.insert(expected.end(), device.memory.begin() + int64_t(rows), device.memory.end());
    CHECK(values_of(pieces) == expected);
    device.memory.assign(device.memory.size(), 0);
    blocks.put(1, sealed, copy);
    CHECK(device.memory == copy);
  }
}

TEST("where the CPU attends, the index is here; where both do, it is in both memories and the same") {
  sounder::ModelConfig config = config_of_two_memories();
  const size_t rows = 2 * 128 * 64, records = size_t(config.layer_record_bytes(1)),
               one = records / size_t(config.kv_heads);
  for (int who : {SOUNDER_HOST_ATTENTION_CPU, SOUNDER_HOST_ATTENTION_SPLIT}) {
    const bool both = who == SOUNDER_HOST_ATTENTION_SPLIT;
    config.host_attention = who;
    CHECK(config.device_record_bytes(1) == (both ? int64_t(records) : 0));
    DeviceWithBlocks device;
    sounder::KvBlocks blocks(config, &device);
    CHECK(blocks.has_records(1) && !blocks.has_records(0));
    device.memory.assign(2 * rows + (both ? records : 0), 6);
    if (both) std::fill_n(device.memory.begin() + int64_t(rows), records, char(8));
    const auto fill = [&](char value) {
      for (int i = 0; i < config.kv_heads; ++i) std::memset(blocks.record(1, 1, i), value, one);
    };
    fill(8);
    std::vector<char> copy;
    const std::vector<iovec> pieces = blocks.pieces(1, true, copy);
    blocks.fetch(1, true, copy);
    const std::vector<char> saved = values_of(pieces);
    CHECK(saved.size() == 3 * rows + records);
    CHECK(std::count(saved.begin() + int64_t(2 * rows), saved.end() - int64_t(rows), 8) == int64_t(records));
    fill(both ? 0 : 8);
    blocks.put(1, true, copy);
    for (int i = 0; i < config.kv_heads; ++i)
      CHECK(std::count(blocks.record(1, 1, i), blocks.record(1, 1, i) + one, 8) == int64_t(one));
  }
}

TEST("copies of rows are made in both memories") {
  DeviceWithBlocks device;
  sounder::KvBlocks blocks(config_of_two_memories(), &device);
  device.memory.assign(2 * 2 * 128 * 64, 5);
  std::memset(blocks.row(1, 0, 0, 0), 3, 2 * 128 * 64);
  std::memset(blocks.row(1, 1, 0, 0), 4, 2 * 128 * 64);
  blocks.copy_rows(0, 1, 70);
  CHECK(device.copies == 1);
  CHECK(*blocks.row(1, 1, 1, 69) == 3 && *blocks.row(1, 1, 1, 70) == 4);
  const std::vector<char> rows = blocks.copy_of_rows(1, 2);
  CHECK(rows.size() == 3 * 2 * 128 * 64);
  for (size_t layer = 0; layer < 3; ++layer) {
    const size_t head = (layer * 2 + 1) * 128 * 64;
    CHECK(rows[head] == (layer == 1 ? 3 : 5) && rows[head + 127] == rows[head] && rows[head + 128] == 0);
  }
}

TEST("host layers are shown to the device before the first step, and taken back before they go") {
  DeviceWithBlocks device;
  sounder::ThreadTeam team(2);
  std::atomic<int32_t> thousandths{0};
  std::atomic<bool> stop{false};
  {
    sounder::KvBlocks blocks(config_of_two_memories(), &device);
    CHECK(device.pinned.empty());
    blocks.pin(team, {thousandths, stop, 0, 200});
    CHECK(device.pinned == (std::vector<int>{1}) && thousandths == 200);
  }
  CHECK(device.pinned.empty());
  stop = true;
  sounder::KvBlocks blocks(config_of_two_memories(), &device);
  bool cancelled = false;
  try {
    blocks.pin(team, {thousandths, stop, 0, 200});
  } catch (const sounder::Failure &failure) {
    cancelled = failure.status() == SOUNDER_CANCELLED;
  }
  CHECK(cancelled && device.pinned.empty());
}

// A random walk over all operations of contexts, against a model that is a plain list of token lists.
TEST("whatever is done to contexts, blocks are neither lost nor shared where they are written") {
  const int kBlocks = 30, kLongest = 700;
  sounder::KvBlocks blocks(config_of(kBlocks));
  sounder::Contexts contexts(6, kLongest, blocks, nullptr);
  struct Known {
    int32_t id;
    std::vector<int32_t> tokens;
  };
  std::vector<Known> known;
  auto random = [](uint64_t i, uint64_t what, uint64_t below) {
    return static_cast<int>(sounder::random_bits(11, i, what) % below);
  };
  int failures = 0;
  for (uint64_t i = 0; i < 20000; ++i) {
    size_t at = known.empty() ? 0 : size_t(random(i, 1, known.size()));
    try {
      int action = known.empty() ? 0 : random(i, 0, 10);
      if (action == 0) {
        known.push_back({contexts.create(), {}});
      } else if (action == 1) {
        int length = random(i, 2, known[at].tokens.size() + 1);
        Known fork{contexts.fork(known[at].id, length), known[at].tokens};
        fork.tokens.resize(size_t(length));
        known.push_back(fork);
      } else if (action == 2) {
        int length = random(i, 2, known[at].tokens.size() + 1);
        contexts.truncate(known[at].id, length);
        known[at].tokens.resize(size_t(length));
      } else if (action == 3) {
        contexts.free(known[at].id);
        known.erase(known.begin() + int64_t(at));
      } else {
        sounder::Context &context = contexts.find(known[at].id);
        std::vector<int32_t> added(size_t(1 + random(i, 3, 200)), int32_t(i));
        contexts.begin(context, int(added.size()));
        // What the step is going to write belongs to this context alone.
        for (size_t b = context.tokens.size() / 128; b < context.blocks.size(); ++b) {
          CHECK(!blocks.is_shared(context.blocks[b]));
        }
        if (random(i, 4, 3) == 0) {
          contexts.roll_back(context);
        } else {
          contexts.commit(context, added.data(), int(added.size()), 1, sounder::Context::kNeverSampled);
          known[at].tokens.insert(known[at].tokens.end(), added.begin(), added.end());
        }
      }
    } catch (const sounder::Failure &failure) {
      ++failures;
      CHECK(failure.status() == SOUNDER_OUT_OF_BLOCKS || failure.status() == SOUNDER_CONTEXT_FULL ||
            failure.status() == SOUNDER_INVALID);
    }
    std::set<int32_t> used;
    for (const Known &k : known) {
      const sounder::Context &context = contexts.find(k.id);
      CHECK(context.tokens == k.tokens);
      CHECK(context.blocks.size() == (k.tokens.size() + 127) / 128);
      used.insert(context.blocks.begin(), context.blocks.end());
    }
    CHECK(int(used.size()) + blocks.free_blocks() == kBlocks);
    if (check::failures() > 0) return;
  }
  CHECK(failures > 100);
  while (!known.empty()) {
    contexts.free(known.back().id);
    known.pop_back();
  }
  CHECK(blocks.free_blocks() == kBlocks);
}
