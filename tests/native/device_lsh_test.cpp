// SPDX-License-Identifier: Apache-2.0
//
// On a GPU, through the ABI: lsh by signatures in its memory finds the keys that the CPU's tables find, in
// contexts that grow, fork, shrink and end.
#include "device_sampled.h"
#include "saved_files.h"

using namespace device_sampled;

namespace {

constexpr Asked kLsh{.attention = SOUNDER_ATTENTION_LSH};

Config with_lsh(Config config, int bits = 4, int tables = 30) {
  config.sketch_bits = 0;
  config.lsh_bits = bits;
  config.lsh_tables = tables;
  config.lsh_tokens = 128 * config.kv_blocks;
  return config;
}

Config on_cpu(Config config) {
  config.device = SOUNDER_DEVICE_CPU;
  config.host_layers = 0;
  return config;
}

int some_tokens() { return tiny::is_emulated() ? 2400 : 8000; }

void expect_same(const Attended &made, const Attended &expected, const Config &config) {
  CHECK(expected.status == SOUNDER_OK && made.status == SOUNDER_OK);
  CHECK(rows_of(expected.statistics) > 20);
  for (int figure : {SOUNDER_STATISTIC_CHOSEN_ROWS, SOUNDER_STATISTIC_CHOSEN_KEYS,
                     SOUNDER_STATISTIC_KEYS_READ, SOUNDER_STATISTIC_OFFLOADED})
    CHECK_NEAR(made.statistics[size_t(figure)], expected.statistics[size_t(figure)], 1e-2);
  for (int figure : {SOUNDER_STATISTIC_EFFECTIVE_SAMPLES, SOUNDER_STATISTIC_STANDARD_ERROR})
    CHECK_NEAR(made.statistics[size_t(figure)], expected.statistics[size_t(figure)],
               2e-2 * expected.statistics[size_t(figure)]);
  // What is left is the rounding of the output to bfloat16.
  CHECK(tiny::mean_error(made.output, expected.output, config) < 4e-3);
}

// Steps of one token each.
struct Steps {
  std::vector<float> logprobs, rows, offloaded;
  std::vector<int32_t> sampled;
};
void go_on(SampledEngine &engine, int32_t context, int count, Asked asked, Steps &all, int seed = 4) {
  for (int32_t token : tiny::random_tokens(count, 99, uint64_t(seed))) {
    const StepResult result = engine.step({asking(Sequence{context, {token}}, asked)});
    CHECK(result.status == SOUNDER_OK && result.statuses[0] == SOUNDER_OK);
    all.logprobs.push_back(result.logprobs[0]);
    all.rows.push_back(rows_of(result.statistics));
    all.offloaded.push_back(result.statistics[SOUNDER_STATISTIC_OFFLOADED]);
    all.sampled.push_back(result.sampled[0]);
  }
}
void expect_near(const Steps &made, const Steps &expected) {
  CHECK(made.offloaded == expected.offloaded);
  CHECK(*std::max_element(made.offloaded.begin(), made.offloaded.end()) > 0);
  // Queries and keys are rounded to bfloat16 there, which moves a few of the codes.
  CHECK(mean_difference(made.rows, expected.rows) <
        0.02 * *std::max_element(expected.rows.begin(), expected.rows.end()) + 1);
  CHECK(mean_difference(made.logprobs, expected.logprobs) < 0.1);
}

}  // namespace

TEST("lsh finds on a GPU the rows that it finds on the CPU, for every shape, centring and collisions") {
  if (!has_gpu()) return;
  Config off = with_lsh(sketched(0, 4, 4), 5, 40);
  off.lsh_centring = SOUNDER_CENTRING_OFF;
  for (const Config &on_gpu : {with_lsh(sketched(0)), off, with_lsh(sketched(0, 7, 1, 128), 3, 12),
                               with_lsh(sketched(0, 4, 2, 80), 2, 33), with_lsh(sketched(0, 6, 1, 256))}) {
    SampledEngine cpu(on_cpu(on_gpu)), gpu(on_gpu);
    const int32_t here = filled(cpu, some_tokens()), there = filled(gpu, some_tokens());
    for (int collisions = 1; collisions <= 3; ++collisions) {
      Asked asked = kLsh;
      asked.collisions = collisions;
      const std::vector<float> q = cpu.query(uint64_t(collisions));
      expect_same(gpu.attend(there, asked, q), cpu.attend(here, asked, q), on_gpu);
    }
  }
}

TEST("where a GPU finds KV in host memory lsh reads the same rows of it") {
  if (!has_gpu()) return;
  const Config own = with_lsh(sketched(0));
  Config host = own;
  host.host_layers = host.layers;
  SampledEngine near(own), far(host);
  Steps made, expected;
  for (SampledEngine *engine : {&near, &far}) {
    Steps &steps = engine == &far ? made : expected;
    // A prompt of several steps, which ends in one that makes signatures.
    Asked asked = kLsh;
    const std::vector<int32_t> prompt = tiny::random_tokens(2340, 99, 8);
    asked.from = static_cast<int>(prompt.size());
    const int32_t context = engine->create();
    for (size_t at = 0; at < prompt.size(); at += 234) {
      const auto begin = prompt.begin() + long(at);
      CHECK(engine->step({asking(Sequence{context, {begin, begin + 234}}, asked)}).statuses[0] == SOUNDER_OK);
    }
    go_on(*engine, context, 4, asked, steps);
  }
  CHECK(made.offloaded == expected.offloaded && made.offloaded[0] > 0);
  CHECK(mean_difference(made.rows, expected.rows) < 1);
  CHECK(mean_difference(made.logprobs, expected.logprobs) < 2e-2);
}

TEST("generated tokens enter when the tail is long, as on the CPU, and contexts fork, shrink and come back") {
  if (!has_gpu()) return;
  const Config on_gpu = with_lsh(sketched(0));
  SampledEngine cpu(on_cpu(on_gpu)), gpu(on_gpu);
  Steps steps[2];
  for (SampledEngine *engine : {&cpu, &gpu}) {
    Steps &own = steps[engine == &gpu];
    Asked asked = kLsh;
    asked.from = 2300;
    const int32_t context = filled(*engine, 2300);
    go_on(*engine, context, 3, asked, own);
    // A tail that grows by more than there is in one step.
    const std::vector<int32_t> tokens = tiny::random_tokens(2040, 99, 6);
    for (size_t at = 0; at < tokens.size(); at += 255) {
      const auto begin = tokens.begin() + long(at);
      Sequence piece = asking(Sequence{context, {begin, begin + 255}}, {.attention = SOUNDER_ATTENTION_FULL});
      CHECK(engine->step({piece}).statuses[0] == SOUNDER_OK);
    }
    go_on(*engine, context, 3, asked, own);
    const int32_t fork = sounder_context_fork(engine->handle(), context, 4000);
    CHECK(fork > 0);
    CHECK(sounder_context_free(engine->handle(), context) == SOUNDER_OK);
    go_on(*engine, fork, 3, asked, own);
    CHECK(sounder_context_truncate(engine->handle(), fork, 2200) == SOUNDER_OK);
    asked.from = 2200;
    go_on(*engine, fork, 3, asked, own);
  }
  expect_near(steps[1], steps[0]);
  CHECK(steps[1].offloaded[5] > steps[1].offloaded[2]);
}

TEST("contexts with lsh ride beside others, each as it would alone") {
  if (!has_gpu()) return;
  Config config = with_lsh(sketched(0));
  config.sketch_bits = 2;
  config.yardsticks = true;
  SampledEngine engine(config);
  const Asked all[] = {
      kLsh, {.budget = 0.1f, .beta = 1}, {.attention = SOUNDER_ATTENTION_TOPK, .budget = 0.1f}};
  std::vector<Sequence> together;
  std::vector<float> rows, expected;
  for (int i = 0; i < 3; ++i) {
    Asked asked = all[i];
    asked.from = 2300 + 10 * i;
    const int32_t alone = filled(engine, asked.from, i), beside = filled(engine, asked.from, i);
    expected.push_back(rows_of(engine.step({asking(Sequence{alone, {5}}, asked)}).statistics));
    together.push_back(asking(Sequence{beside, {5}}, asked));
  }
  for (int step = 0; step < 3; ++step) {
    const StepResult result = engine.step(together);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(result.statuses[i] == SOUNDER_OK);
      if (step == 0)
        rows.push_back(result.statistics[i * SOUNDER_STATISTIC_COUNT + SOUNDER_STATISTIC_CHOSEN_ROWS]);
    }
  }
  CHECK(mean_difference(rows, expected) < 1);
}

TEST("greedy answers with lsh that run ahead are those that are asked for step by step") {
  if (!has_gpu()) return;
  SampledEngine engine(with_lsh(sketched(0)));
  Asked asked = kLsh;
  asked.from = 2300;
  std::vector<int32_t> answers[2];
  for (int alternatives : {0, 1}) {
    const int32_t context = filled(engine, 2300);
    int32_t token = 7;
    for (int i = 0; i < 8; ++i) {
      Sequence own = asking(Sequence{context, {token}}, asked);
      const StepResult made = engine.step({own.with(SOUNDER_STEP_ALTERNATIVES, alternatives)});
      CHECK(made.statuses[0] == SOUNDER_OK && rows_of(made.statistics) > 20);
      answers[alternatives].push_back(token = made.sampled[0]);
    }
  }
  CHECK(answers[0] == answers[1]);
}

TEST("verified steps with lsh tell an error near the standard error") {
  if (!has_gpu()) return;
  SampledEngine engine(with_lsh(sketched(0)));
  Asked asked = kLsh;
  asked.verify = 1;
  asked.from = 2300;
  const int32_t context = filled(engine, 2300);
  for (int token = 0; token < 3; ++token) {
    const StepResult made = engine.step({asking(Sequence{context, {token}}, asked)});
    const float told = made.statistics[SOUNDER_STATISTIC_STANDARD_ERROR];
    const float error = made.statistics[SOUNDER_STATISTIC_VERIFY_ERROR];
    CHECK(told > 0 && error > 0.3f * told && error < 4 * told);
  }
}

TEST("a restored context gets its signatures again") {
  if (!has_gpu()) return;
  SampledEngine engine(with_lsh(sketched(0)));
  const std::vector<float> q = engine.query(3);
  const int32_t context = filled(engine, 2300);
  const Attended before = engine.attend(context, kLsh, q);
  tiny::Folder folder;
  const std::string path = folder.at("context");
  CHECK(tiny::save(engine, context, 2300, path) == SOUNDER_OK);
  CHECK(sounder_context_free(engine.handle(), context) == SOUNDER_OK);
  const int32_t again = tiny::restore(engine, path);
  CHECK(again > 0);
  expect_same(engine.attend(again, kLsh, q), before, engine.config);
}

TEST("when the GPU's memory for signatures is used up, only who asks for more fails, until some is freed") {
  if (!has_gpu()) return;
  Config config = with_lsh(sketched(0));
  config.lsh_tokens = 3000;
  SampledEngine engine(config);
  Asked asked = kLsh;
  asked.from = 2300;
  const int32_t first = filled(engine, 2300), second = filled(engine, 2300), third = filled(engine, 2300);
  CHECK(engine.attend(first, kLsh, engine.query(1)).status == SOUNDER_OK);
  for (int i = 0; i < 2; ++i) {
    const StepResult result = engine.step({asking(Sequence{second, {1}}, asked), Sequence{third, {1}}});
    CHECK(result.statuses[0] == SOUNDER_OUT_OF_MEMORY && engine.length(second) == 2300);
    CHECK(result.statuses[1] == SOUNDER_OK && engine.length(third) == 2301 + i);
  }
  CHECK(engine.attend(second, kLsh, engine.query(1)).status == SOUNDER_OUT_OF_MEMORY);
  sounder_context_free(engine.handle(), first);
  CHECK(engine.step({asking(Sequence{second, {1}}, asked)}).statuses[0] == SOUNDER_OK);
}
