// SPDX-License-Identifier: Apache-2.0
#include "kv_blocks.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "check.h"
#include "contexts.h"
#include "failure.h"
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
