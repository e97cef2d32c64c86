// SPDX-License-Identifier: Apache-2.0
//
// The ABI's answers to wrong calls and wrong orders of calls.
#include "check.h"
#include "test_engine.h"

namespace {

constexpr int kInts = SOUNDER_CONFIG_INT_COUNT;

using tiny::Config;
using tiny::Engine;
using tiny::Sequence;

void load_dummy(Engine &engine, const Config &config) {
  CHECK(engine.load(tiny::make_model(config), nullptr) == SOUNDER_OK);
}

}  // namespace

TEST("every call refuses a missing engine, and closing none is allowed") {
  CHECK(sounder_abi_version() == SOUNDER_ABI_VERSION);
  sounder_close(nullptr);
  uint8_t text[4];
  int64_t figures[SOUNDER_INFO_COUNT];
  CHECK(sounder_error_text(nullptr, text, 4) == SOUNDER_INVALID);
  CHECK(sounder_configure(nullptr, nullptr, 0, nullptr, 0, nullptr, 0) == SOUNDER_INVALID);
  CHECK(sounder_add_file(nullptr, text, 4) == SOUNDER_INVALID);
  CHECK(sounder_add_tensors(nullptr, 0, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr,
                            nullptr) == SOUNDER_INVALID);
  CHECK(sounder_load(nullptr) == SOUNDER_INVALID);
  CHECK(sounder_load_progress(nullptr) == SOUNDER_INVALID);
  CHECK(sounder_stop(nullptr) == SOUNDER_INVALID);
  CHECK(sounder_info_figures(nullptr, figures, SOUNDER_INFO_COUNT) == SOUNDER_INVALID);
  CHECK(sounder_info_text(nullptr, text, 4) == SOUNDER_INVALID);
  CHECK(sounder_context_create(nullptr) == SOUNDER_INVALID);
  CHECK(sounder_context_fork(nullptr, 1, 0) == SOUNDER_INVALID);
  CHECK(sounder_context_truncate(nullptr, 1, 0) == SOUNDER_INVALID);
  CHECK(sounder_context_free(nullptr, 1) == SOUNDER_INVALID);
  CHECK(sounder_context_length(nullptr, 1) == SOUNDER_INVALID);
  CHECK(sounder_cancel(nullptr, 1) == SOUNDER_INVALID);
  CHECK(sounder_progress(nullptr, 1) == SOUNDER_INVALID);
  CHECK(sounder_step_hidden(nullptr, 0, nullptr, 0) == SOUNDER_INVALID);
  CHECK(sounder_capture_enable(nullptr, 1) == SOUNDER_INVALID);
  CHECK(sounder_capture_read(nullptr, 0, 0, nullptr, 0) == SOUNDER_INVALID);
}

TEST("before it is loaded an engine says so") {
  Engine engine;
  CHECK(engine.error().empty());
  CHECK(engine.create() == SOUNDER_NOT_LOADED);
  CHECK(engine.error() == "The engine has no weights yet; load them first.");
  CHECK(engine.length(1) == SOUNDER_NOT_LOADED);
  CHECK(engine.step({Sequence{1, {1}}}).status == SOUNDER_NOT_LOADED);
  CHECK(sounder_cancel(engine.handle(), 1) == SOUNDER_NOT_LOADED);
  int64_t figures[SOUNDER_INFO_COUNT];
  CHECK(sounder_info_figures(engine.handle(), figures, SOUNDER_INFO_COUNT) == SOUNDER_NOT_LOADED);
  CHECK(sounder_info_text(engine.handle(), nullptr, 0) == SOUNDER_NOT_LOADED);
  CHECK(sounder_load(engine.handle()) == SOUNDER_INVALID);
  CHECK(engine.error() == "State the model before it is loaded.");
  CHECK(engine.add_file("/tmp/x") == SOUNDER_INVALID);
  CHECK(engine.add_tensor(0, 0, -1, 0, 1, 1, 0) == SOUNDER_INVALID);
  CHECK(sounder_stop(engine.handle()) == SOUNDER_OK);
  CHECK(sounder_load_progress(engine.handle()) == 0);
}

TEST("error texts are copied as far as they fit") {
  Engine engine;
  engine.create();
  uint8_t text[8] = {'x', 'x', 'x', 'x', 'x', 'x', 'x', 'x'};
  int32_t bytes = sounder_error_text(engine.handle(), text, 4);
  CHECK(bytes == int32_t(engine.error().size()));
  CHECK(std::string(text, text + 8) == "The xxxx");
  CHECK(sounder_error_text(engine.handle(), nullptr, 0) == bytes);
  // A sentence with a long path is cut between characters.
  CHECK(engine.configure({}) == SOUNDER_OK);
  std::string path;
  for (int i = 0; i < 1300; ++i) path += "ü€";
  CHECK(engine.add_file(path.substr(0, 4000)) == 0);
  tiny::Model model = tiny::make_model({});
  for (const tiny::Tensor &t : model.tensors) {
    CHECK(engine.add_tensor(t.role, t.layer, 0, SOUNDER_TYPE_F32, t.rows, t.columns, 0) == SOUNDER_OK);
  }
  CHECK(sounder_load(engine.handle()) < 0);
  CHECK(!engine.error().empty());
}

TEST("a figure that is impossible is named") {
  struct Case {
    int index;
    int32_t value;
    const char *sentence;
  };
  const Case cases[] = {
      {SOUNDER_CONFIG_LAYERS, 0, "The number of layers is 0; it must be from 1 to 1024."},
      {SOUNDER_CONFIG_HIDDEN, -5, "The hidden size is -5; it must be from 1 to 131072."},
      {SOUNDER_CONFIG_INTERMEDIATE, INT32_MAX,
       "The intermediate size is 2147483647; it must be from 1 to 1048576."},
      {SOUNDER_CONFIG_KV_HEADS, 3, "The number of KV heads is 3; it must divide the number of heads, 4."},
      {SOUNDER_CONFIG_HEADS, 0, "The number of heads is 0; it must be from 1 to 1024."},
      {SOUNDER_CONFIG_HEAD_DIM, 13, "The head dim is 13; it must be even."},
      {SOUNDER_CONFIG_HEAD_DIM, 258, "The head dim is 258; it must be from 2 to 256."},
      {SOUNDER_CONFIG_ROPE_DIMS, 14,
       "The number of rotated dimensions is 14; it must be even and at most the head dim, 12."},
      {SOUNDER_CONFIG_ROPE_DIMS, 7,
       "The number of rotated dimensions is 7; it must be even and at most the head dim, 12."},
      {SOUNDER_CONFIG_VOCABULARY, 1 << 25, "The vocabulary is 33554432; it must be from 1 to 16777216."},
      {SOUNDER_CONFIG_CONTEXT, 0, "The longest context is 0; it must be from 1 to 16777216."},
      {SOUNDER_CONFIG_SLIDING_WINDOW, -1, "The sliding window is -1; it must be from 0 to 2147483647."},
      {SOUNDER_CONFIG_TIED_OUTPUT, 2, "The tied output flag is 2; it must be from 0 to 1."},
      {SOUNDER_CONFIG_PRECISION, 2, "The precision is 2; it must be from 0 to 1."},
      {SOUNDER_CONFIG_THREADS, -1, "The number of threads is -1; it must be from 0 to 1024."},
      {SOUNDER_CONFIG_KV_BLOCKS, 0, "The number of KV blocks is 0; it must be from 1 to 8388608."},
      {SOUNDER_CONFIG_MAX_CONTEXTS, 65537, "The number of contexts is 65537; it must be from 1 to 65536."},
      {SOUNDER_CONFIG_MAX_STEP_TOKENS, 0, "The number of tokens in a step is 0; it must be from 1 to 65536."},
      {SOUNDER_CONFIG_MAX_STEP_SEQUENCES, 0,
       "The number of contexts in a step is 0; it must be from 1 to 65536."},
  };
  Engine engine;
  std::vector<float> floats = Config{}.floats(), frequencies = Config{}.frequencies();
  int64_t figures[SOUNDER_PLAN_COUNT];
  for (const Case &c : cases) {
    std::vector<int32_t> ints = Config{}.ints();
    ints[c.index] = c.value;
    CHECK(sounder_plan_memory(ints.data(), SOUNDER_CONFIG_INT_COUNT, figures, SOUNDER_PLAN_COUNT) ==
          SOUNDER_INVALID);
    CHECK(sounder_configure(engine.handle(), ints.data(), SOUNDER_CONFIG_INT_COUNT, floats.data(), 2,
                            frequencies.data(), 6) == SOUNDER_INVALID);
    if (engine.error() != c.sentence) std::printf("  %s\n", engine.error().c_str());
    CHECK(engine.error() == c.sentence);
  }
}

TEST("a configuration with missing or impossible arrays is refused") {
  Engine engine;
  std::vector<int32_t> ints = Config{}.ints();
  std::vector<float> floats = Config{}.floats(), frequencies = Config{}.frequencies();
  auto configure = [&](int32_t int_count, int32_t float_count, int32_t frequency_count) {
    return sounder_configure(engine.handle(), ints.data(), int_count, floats.data(), float_count,
                             frequencies.data(), frequency_count);
  };
  CHECK(configure(kInts - 1, 2, 6) == SOUNDER_INVALID);
  CHECK(configure(kInts, 1, 6) == SOUNDER_INVALID);
  CHECK(configure(kInts, 2, 5) == SOUNDER_INVALID);
  CHECK(engine.error() == "There are 5 RoPE frequencies, 12 rotated dimensions take 6.");
  CHECK(sounder_configure(engine.handle(), nullptr, kInts, floats.data(), 2, frequencies.data(), 6) ==
        SOUNDER_INVALID);
  CHECK(sounder_configure(engine.handle(), ints.data(), kInts, nullptr, 2, frequencies.data(), 6) ==
        SOUNDER_INVALID);
  CHECK(sounder_configure(engine.handle(), ints.data(), kInts, floats.data(), 2, nullptr, 6) ==
        SOUNDER_INVALID);
  for (float bad : {NAN, INFINITY, -1.0f}) {
    floats = {bad, 1};
    CHECK(configure(kInts, 2, 6) == SOUNDER_INVALID);
    floats = {1e-5f, bad};
    CHECK(configure(kInts, 2, 6) == SOUNDER_INVALID);
  }
  floats = Config{}.floats();
  frequencies[3] = NAN;
  CHECK(configure(kInts, 2, 6) == SOUNDER_INVALID);
  CHECK(engine.error() == "RoPE frequency 3 is nan; it must be finite.");
  int64_t figures[SOUNDER_PLAN_COUNT];
  CHECK(sounder_plan_memory(nullptr, kInts, figures, SOUNDER_PLAN_COUNT) == SOUNDER_INVALID);
  CHECK(sounder_plan_memory(ints.data(), kInts, nullptr, SOUNDER_PLAN_COUNT) == SOUNDER_INVALID);
  CHECK(sounder_plan_memory(ints.data(), kInts, figures, 3) == SOUNDER_INVALID);
}

TEST("the memory formula does not overflow at the ends of its ranges, and is what its comment says") {
  std::vector<int32_t> ints = {1024, 1 << 17, 1 << 20, 1024, 1024,    256,     1 << 24, 1 << 24, 0, 0, 1,
                               1,    256,     1,       1024, 1 << 23, 1 << 16, 1 << 16, 1 << 16, 0, 0};
  ints.resize(kInts);
  ints[SOUNDER_CONFIG_DEVICE] = SOUNDER_DEVICE_CPU;
  ints[SOUNDER_CONFIG_WINDOW] = ints[SOUNDER_CONFIG_LEAST_ROWS] = ints[SOUNDER_CONFIG_LSH_CENTRING] = 1;
  int64_t figures[SOUNDER_PLAN_COUNT];
  CHECK(sounder_plan_memory(ints.data(), kInts, figures, SOUNDER_PLAN_COUNT) == SOUNDER_OK);
  CHECK(figures[SOUNDER_PLAN_BLOCK_BYTES] == int64_t{1} << 38);
  CHECK(figures[SOUNDER_PLAN_KV_BYTES] == int64_t{1} << 61);
  CHECK(figures[SOUNDER_PLAN_WORKSPACE_BYTES] > 0);
  CHECK(figures[SOUNDER_PLAN_INDEX_BYTES] == 0 && figures[SOUNDER_PLAN_LSH_BYTES] == 0);
  ints[SOUNDER_CONFIG_SKETCH_BITS] = 4;
  ints[SOUNDER_CONFIG_QUEST_PAGE] = 16;
  ints[SOUNDER_CONFIG_LSH_BITS] = 15;
  ints[SOUNDER_CONFIG_LSH_TABLES] = 1000;
  ints[SOUNDER_CONFIG_LSH_TOKENS] = 1 << 30;
  CHECK(sounder_plan_memory(ints.data(), kInts, figures, SOUNDER_PLAN_COUNT) == SOUNDER_OK);
  // 4 bits: mean, scales, planes; quest: 8 pages of two float32 vectors.
  const int64_t record = 576 + 256 + 4 * 32 * 128 + 8 * 2 * 256 * 4;
  CHECK(figures[SOUNDER_PLAN_INDEX_BYTES] == (record << 20));
  CHECK(figures[SOUNDER_PLAN_BLOCK_BYTES] == (int64_t{1} << 38) + (record << 20));
  CHECK(figures[SOUNDER_PLAN_KV_BYTES] > int64_t{1} << 61 && figures[SOUNDER_PLAN_LSH_BYTES] > int64_t{1}
                                                                                                   << 61);
  // Llama 3.1 8B in bf16: 8,030,261,248 parameters, 65 norms of 4,096 in float32.
  Config config;
  config.layers = 32;
  config.hidden = 4096;
  config.intermediate = 14336;
  config.heads = 32;
  config.kv_heads = 8;
  config.head_dim = config.rope_dims = 128;
  config.vocabulary = 128256;
  config.f32 = false;
  ints = config.ints();
  CHECK(sounder_plan_memory(ints.data(), kInts, figures, SOUNDER_PLAN_COUNT) == SOUNDER_OK);
  CHECK(figures[SOUNDER_PLAN_WEIGHT_BYTES] == 2 * 8030261248 + 2 * 65 * 4096);
  CHECK(figures[SOUNDER_PLAN_BLOCK_BYTES] == int64_t{32} * 8 * 128 * 2 * 128 * 2);
}

TEST("more memory than the machine has is refused with the figures") {
  Config config;
  config.kv_blocks = 1 << 23;
  config.context = 1 << 20;
  Engine engine;
  tiny::Model model = tiny::make_model(config);
  CHECK(engine.load(model, nullptr) == SOUNDER_OUT_OF_MEMORY);
  CHECK(engine.error().find("The engine takes ") == 0 &&
        engine.error().find("for the KV cache") != std::string::npos);
  // The engine is as before and can be configured again.
  config.kv_blocks = 2;
  load_dummy(engine, config);
  CHECK(engine.figure(SOUNDER_INFO_KV_BLOCKS) == 2);
}

TEST("a loaded engine tells its figures, and is not changed any more") {
  Engine engine;
  load_dummy(engine, {});
  CHECK(sounder_load_progress(engine.handle()) == 1000);
  std::vector<int32_t> ints = Config{}.ints();
  int64_t plan[SOUNDER_PLAN_COUNT], figures[SOUNDER_INFO_COUNT];
  CHECK(sounder_plan_memory(ints.data(), kInts, plan, SOUNDER_PLAN_COUNT) == SOUNDER_OK);
  CHECK(sounder_info_figures(engine.handle(), figures, SOUNDER_INFO_COUNT) == SOUNDER_OK);
  CHECK(figures[SOUNDER_INFO_WEIGHT_BYTES] == plan[SOUNDER_PLAN_WEIGHT_BYTES]);
  CHECK(figures[SOUNDER_INFO_BLOCK_BYTES] == plan[SOUNDER_PLAN_BLOCK_BYTES]);
  CHECK(figures[SOUNDER_INFO_WORKSPACE_BYTES] == plan[SOUNDER_PLAN_WORKSPACE_BYTES]);
  CHECK(figures[SOUNDER_INFO_THREADS] == 2 && figures[SOUNDER_INFO_KV_BLOCKS_FREE] == 24);
  uint8_t text[200];
  int32_t bytes = sounder_info_text(engine.handle(), text, 200);
  CHECK(bytes > 10 && std::string(text, text + bytes).find(", 2 threads") != std::string::npos);
  CHECK(sounder_info_figures(engine.handle(), figures, 3) == SOUNDER_INVALID);
  CHECK(sounder_info_figures(engine.handle(), nullptr, SOUNDER_INFO_COUNT) == SOUNDER_INVALID);
  CHECK(engine.configure({}) == SOUNDER_INVALID);
  CHECK(engine.add_file("/tmp/x") == SOUNDER_INVALID);
  CHECK(sounder_load(engine.handle()) == SOUNDER_INVALID);
  CHECK(engine.error() == "The engine has its weights already; create another one.");
}

TEST("two engines live side by side") {
  Engine a, b;
  load_dummy(a, {});
  load_dummy(b, {});
  int32_t in_a = a.create(), in_b = b.create();
  CHECK(a.step({Sequence{in_a, {1, 2, 3}}}).sampled == b.step({Sequence{in_b, {1, 2, 3}}}).sampled);
}
