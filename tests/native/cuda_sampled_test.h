// SPDX-License-Identifier: Apache-2.0
//
// What holds for the GPU's kernels of sampled attention, on a GPU (gpu/) or emulated (emulated_cuda/).
#pragma once

#include "cuda_checks.h"
#include "cuda_lsh_checks.h"

using namespace cuda_checks;

TEST("the GPU reads the rows that the CPU reads, and attends them") {
  uint32_t seed = 1;
  for (const int d : {64, 128})
    for (const int bits : {1, 2})
      for (const int group : {1, 2, 3, 4, 7, 8}) {
        WorldShape shape;
        shape.sketch = {2 * group, 2, d, bits};
        shape.lengths = {700 + 31 * group, 400 + static_cast<int>(seed) % 100};
        shape.beta = seed % 3 == 0 ? 0.9f : 1.0f;
        shape.budget = 0.05f + 0.02f * static_cast<float>(seed % 5);
        shape.sink = static_cast<int>(seed % 4) * 45;
        check_attention(shape, seed++);
      }
}

TEST("the GPU reads the rows that the CPU reads for head dims and bits of any model") {
  struct Case {
    int d, bits, group;
  };
  uint32_t seed = 50;
  for (const Case c :
       {Case{64, 4, 1}, Case{64, 4, 8}, Case{128, 4, 4}, Case{128, 4, 7}, Case{8, 1, 2}, Case{40, 2, 1},
        Case{80, 1, 1}, Case{80, 2, 8}, Case{80, 4, 3}, Case{96, 1, 4}, Case{96, 2, 1}, Case{96, 4, 7},
        Case{112, 2, 4}, Case{192, 4, 2}, Case{256, 1, 1}, Case{256, 2, 8}, Case{256, 4, 3}}) {
    WorldShape shape;
    shape.sketch = {2 * c.group, 2, c.d, c.bits};
    shape.lengths = {600, 300 + static_cast<int>(seed) % 100};
    shape.beta = seed % 3 == 0 ? 0.9f : 1.0f;
    check_attention(shape, seed++);
  }
}

TEST("heads of a large group are attended in slices, and draw together") {
  for (const cuda::SketchShape sketch :
       {cuda::SketchShape{18, 2, 64, 2}, cuda::SketchShape{16, 1, 128, 2}, cuda::SketchShape{71, 1, 64, 1},
        cuda::SketchShape{10, 1, 256, 2}, cuda::SketchShape{34, 2, 80, 4}}) {
    WorldShape shape;
    shape.sketch = sketch;
    shape.lengths = {520, 400};
    check_attention(shape, static_cast<uint32_t>(60 + sketch.heads));
  }
}

TEST("contexts longer than a chunk of keys, of segments that end within one") {
  WorldShape shape;
  shape.sketch = {4, 1, 64, 2};
  shape.lengths = {4500, 2113, 64 + 128 * 20};
  shape.segment_keys = 640;
  check_attention(shape, 91);
  shape.segment_keys = 1152;
  shape.budget = 0.9f;
  check_attention(shape, 92);
}

TEST("heads are attended in parts, as many as there are branches or heads") {
  for (const int branches : {1, 2, 5}) {
    WorldShape shape;
    shape.sketch = {6, 3, 64, 2};
    shape.lengths = {900, 2100};
    shape.branches = branches;
    check_attention(shape, 30 + static_cast<uint32_t>(branches));
  }
}

TEST("queries so large or small that scores end or are all zeros") {
  for (const float spread : {0.0f, 1e-35f, 40.0f, 3e4f}) {
    WorldShape shape;
    shape.sketch = {4, 1, 128, 2};
    shape.lengths = {900};
    shape.spread = spread;
    check_attention(shape, 7);
  }
}

TEST("strategies that look at all keys or pages choose the CPU's, by rows that a group shares or by head") {
  uint32_t seed = 1;
  const SampledParams all[] = {asking(SOUNDER_ATTENTION_TOPK), asking(SOUNDER_ATTENTION_ORACLE),
                               asking(SOUNDER_ATTENTION_ORACLE, 300), asking(SOUNDER_ATTENTION_QUEST)};
  for (const SampledParams &params : all)
    for (const int group : {1, 2, 3, 7, 8}) {
      WorldShape shape;
      const int dims[] = {64, 128, 80, 256, 104};
      shape.sketch = {2 * group, 2, dims[seed % 5], static_cast<int>(seed % 3)};
      shape.lengths = {700 + 31 * group, 2400 + static_cast<int>(seed) % 100};
      shape.budget = 0.03f + 0.03f * static_cast<float>(seed % 5);
      shape.sink = static_cast<int>(seed % 4) * 45;
      shape.spread = 0.1f + 0.3f * static_cast<float>(seed % 3);
      shape.quest_page = 16 << seed % 3;
      shape.branches = seed % 2 == 0 ? 1 : 0;
      check_strategy(shape, params, seed++);
    }
}

TEST("of equal scores the earlier key is better, and the last page may be longer than what is wanted") {
  for (const int attention : {SOUNDER_ATTENTION_TOPK, SOUNDER_ATTENTION_QUEST, SOUNDER_ATTENTION_ORACLE}) {
    WorldShape shape;
    shape.sketch = {4, 1, 64, 0};
    shape.lengths = {4500};
    shape.spread = 0;  // all scores are zero
    shape.quest_page = 64;
    shape.budget = 0.513f;
    check_strategy(shape, asking(attention), 5);
  }
}

TEST("signatures have the codes of the CPU's tables, and lsh finds the keys that these find") {
  struct Case {
    int d, group, bits, tables;
  };
  uint32_t seed = 1;
  for (const Case c : {Case{64, 4, 4, 20}, Case{64, 1, 5, 33}, Case{128, 2, 6, 70}, Case{128, 8, 3, 12},
                       Case{80, 3, 5, 40}, Case{40, 7, 2, 5}, Case{256, 5, 4, 31}, Case{192, 4, 7, 64}}) {
    WorldShape shape;
    shape.sketch = {2 * c.group, 2, c.d, 0, {c.d, c.bits, c.tables}};
    shape.lengths = {700 + 31 * c.group, 2400 + static_cast<int>(seed)};
    shape.sink = static_cast<int>(seed % 3) * 45;
    shape.spread = 0.3f + 0.4f * static_cast<float>(seed % 3);
    shape.lsh_centred = seed % 4 != 0;
    shape.branches = seed % 2 == 0 ? 1 : 0;
    CHECK(check_lsh(shape, 1 + static_cast<int>(seed % 3), seed) > 0);
    ++seed;
  }
}

TEST("lsh with the most bits or tables, with one, and with queries of zero") {
  for (auto [bits, tables] : {std::pair{15, 3}, {1, 1000}, {1, 1}}) {
    WorldShape shape;
    shape.sketch = {4, 1, 64, 0, {64, bits, tables}};
    shape.lengths = {500};
    check_lsh(shape, 1, 9);
    shape.spread = 0;
    check_lsh(shape, 1, 9);
  }
  // The codes of as many planes and heads as there can be, in shared memory.
  WorldShape shape;
  shape.sketch = {8, 1, 64, 0, {64, 15, 1000}};
  shape.lengths = {500};
  check_lsh(shape, 1, 9);
}

TEST("blocks sealed by the GPU have the CPU's bytes") {
  for (const int d : {64, 128, 40, 80, 96, 256})
    for (const int bits : {1, 2, 4})
      for (const int centring : {0, kCentringContext, kCentringOff}) {
        const int before = check::failures();
        WorldShape shape;
        shape.sketch = {2, 2, d, bits};
        shape.lengths = {128 * 5 + 1};
        shape.centring = centring;
        shape.quest_page = bits == 1 ? 32 : 0;
        World world(shape, static_cast<uint32_t>(10 * d + bits));
        // Zeros, values that are no numbers or too large, a row of one value.
        const auto row = [&](int token) {
          return world.rows.data() + world.blocks[token / kIndexTokens] * world.row_values() +
                 size_t(token % kIndexTokens) * 2 * d;
        };
        std::fill_n(row(5), d, uint16_t{0});
        row(130)[d - 1] = 0x7fc0;
        row(131)[3] = 0x7f7f;
        std::fill_n(row(260), d, uint16_t{0x3f80});
        Device device(world, 0);
        cuda::SealStep step{world.index(),
                            shape.sketch.kv_heads,
                            device.rows->data(),
                            device.records->data(),
                            world.record_stride(),
                            device.step.constants->signs,
                            device.blocks->data(),
                            device.blocks->data(),
                            0,
                            5,
                            nullptr};
        cuda::launch_seal(device.launcher, step);
        if (shape.quest_page > 0) cuda::launch_seal_bounds(device.launcher, step);
        device_memory::finish();
        world.seal(*sketch_kernels(kLevel));
        const std::vector<char> records = device.records->values();
        CHECK(std::equal(records.begin(), records.end(), world.aligned_records()));
        tell(before, name_of(shape));
      }
}

TEST("shapes without kernels are refused, and nothing is launched") {
  CHECK(!cuda::has_sketch_kernels({8, 2, 100, 2}));
  CHECK(!cuda::has_sketch_kernels({8, 2, 264, 2}));
  CHECK(!cuda::has_sketch_kernels({8, 2, 128, 3}));
  CHECK(!cuda::has_sketch_kernels({258, 2, 128, 2}));
  CHECK(!cuda::has_word_kernels({18, 2, 128, 2}));
  CHECK(!cuda::has_seal_kernels({128, 2, 0, 0, true}));
  bool is_refused = false;
  try {
    cuda::SampledStep step{};
    step.shape = {8, 2, 100, 2};
    step.strategy = cuda::sketch_strategy();
    cuda::launch_scan({}, step);
  } catch (const std::invalid_argument &) {
    is_refused = true;
  }
  CHECK(is_refused);
}
