// SPDX-License-Identifier: Apache-2.0
//
// Sampled attention on a GPU, through the ABI: the CPU's rows for the same seed, whatever else is in the
// batch, in recorded steps and in those that are not, and an index that is saved and restored. Without a GPU
// an emulated one is judged (cuda_emulated_device_sampled_test).
#include "device_sampled.h"

#include "saved_files.h"

using namespace device_sampled;

namespace {

void expect_same_rows(const Config &on_gpu, int tokens) {
  Config on_cpu = on_gpu;
  on_cpu.device = SOUNDER_DEVICE_CPU;
  SampledEngine cpu(on_cpu), gpu(on_gpu);
  const int32_t here = filled(cpu, tokens), there = filled(gpu, tokens);
  for (const Asked &asked : {Asked{.budget = 0.05f, .beta = 1}, Asked{.budget = 0.2f, .seed = 7}}) {
    const std::vector<float> q = cpu.query(uint64_t(asked.seed));
    const Attended expected = cpu.attend(here, asked, q), made = gpu.attend(there, asked, q);
    CHECK(expected.status == SOUNDER_OK && made.status == SOUNDER_OK);
    CHECK(rows_of(expected.statistics) > 0);
    CHECK_NEAR(rows_of(made.statistics), rows_of(expected.statistics), 1e-3);
    for (int figure : {SOUNDER_STATISTIC_EFFECTIVE_SAMPLES, SOUNDER_STATISTIC_STANDARD_ERROR})
      CHECK_NEAR(made.statistics[size_t(figure)], expected.statistics[size_t(figure)],
                 1e-3 * expected.statistics[size_t(figure)]);
    // What is left is the rounding of the output to bfloat16.
    CHECK(tiny::mean_error(made.output, expected.output, on_gpu) < 4e-3);
    CHECK(
        gpu.attend(there, {.attention = SOUNDER_ATTENTION_FULL}, q).statistics[SOUNDER_STATISTIC_OFFLOADED] ==
        0);
  }
}

// The log-probabilities of a sequence of greedy tokens, one step each.
std::vector<float> decode(SampledEngine &engine, int32_t context, const std::vector<int32_t> &tokens,
                          const Asked &asked, std::vector<float> *rows = nullptr) {
  std::vector<float> all;
  for (int32_t token : tokens) {
    const StepResult result = engine.step({asking(Sequence{context, {token}}, asked)});
    CHECK(result.statuses[0] == SOUNDER_OK);
    all.push_back(result.logprobs[0]);
    if (rows != nullptr) rows->push_back(rows_of(result.statistics));
  }
  return all;
}

}  // namespace

TEST("for the same seed a GPU reads the rows that the CPU reads") {
  if (!has_gpu()) return;
  expect_same_rows(sketched(0), tiny::is_emulated() ? 1500 : 8000);
  for (int tokens : tiny::is_emulated() ? std::vector{700} : std::vector{700, 8000}) {
    if (tokens < 8000) expect_same_rows(sketched(0), tokens);
    expect_same_rows(sketched(0, 4, 4), tokens);
    expect_same_rows(sketched(0, 7, 1, 128), tokens);
    Config centred = sketched(0, 8, 1, 128);
    centred.sketch_bits = 1;
    centred.sketch_centring = SOUNDER_CENTRING_CONTEXT;
    expect_same_rows(centred, tokens);
  }
}

TEST("head dims, bits and groups of other models are sampled as on the CPU too") {
  if (!has_gpu()) return;
  for (const Config &shape :
       {sketched(0, 4, 2, 80), sketched(0, 2, 2, 96), sketched(0, 6, 1, 256), sketched(0, 20, 2)})
    for (const int bits : {2, 4}) {
      Config config = shape;
      config.sketch_bits = bits;
      expect_same_rows(config, 700);
    }
}

TEST("steps on a GPU sample as those on the CPU do, over blocks that fill on the way") {
  if (!has_gpu()) return;
  for (const bool with_bias : {false, true}) {
    Config on_gpu = sketched(0);
    on_gpu.bias = on_gpu.qk_norm = with_bias;
    Config on_cpu = on_gpu;
    on_cpu.device = SOUNDER_DEVICE_CPU;
    SampledEngine cpu(on_cpu), gpu(on_gpu);
    const Asked asked{.budget = 0.1f, .beta = 1};
    const int count = tiny::is_emulated() ? 30 : 300, start = tiny::is_emulated() ? 880 : 900;
    const std::vector<int32_t> tokens = tiny::random_tokens(count, on_gpu.vocabulary, 4);
    std::vector<float> expected_rows, made_rows;
    const std::vector<float> expected = decode(cpu, filled(cpu, start), tokens, asked, &expected_rows);
    const std::vector<float> made = decode(gpu, filled(gpu, start), tokens, asked, &made_rows);
    // Activations are rounded to bfloat16 there, so that scores and a few draws differ: other draws differ
    // more.
    CHECK(mean_difference(made_rows, expected_rows) < 3);
    CHECK(mean_difference(made, expected) <
          0.4 * mean_difference(made, decode(gpu, filled(gpu, start), tokens, {.budget = 0.1f, .seed = 2})));
  }
}

TEST("recorded steps and those of captures make the same of a row") {
  if (!has_gpu()) return;
  SampledEngine engine(sketched(0));
  const Asked asked{.budget = 0.1f};
  const std::vector<int32_t> tokens = tiny::random_tokens(9, engine.config.vocabulary, 4);
  std::vector<float> recorded_rows, captured_rows;
  const std::vector<float> recorded =
      decode(engine, filled(engine, tiny::is_emulated() ? 1100 : 8500), tokens, asked, &recorded_rows);
  sounder_capture_enable(engine.handle(), 1);
  const std::vector<float> captured =
      decode(engine, filled(engine, tiny::is_emulated() ? 1100 : 8500), tokens, asked, &captured_rows);
  CHECK(largest_difference(recorded, captured) < 0.02);
  CHECK(largest_difference(recorded_rows, captured_rows) < 5);
}

TEST("rows that sample, rows that do not and prompts ride in one step, and each gets what it gets alone") {
  if (!has_gpu()) return;
  SampledEngine engine(sketched(0));
  const Asked asked{.budget = 0.1f, .verify = 1};
  const std::vector<int32_t> prompt = tiny::random_tokens(200, engine.config.vocabulary, 9);
  auto sequences = [&] {
    return std::vector<Sequence>{asking(Sequence{filled(engine, 3000, 1), {3}}, asked),
                                 Sequence{filled(engine, 2000, 2), {4}}, Sequence{engine.create(), prompt},
                                 asking(Sequence{filled(engine, 1000, 3), {5}}, asked)};
  };
  auto free_all = [&](const std::vector<Sequence> &all) {
    for (const Sequence &sequence : all) sounder_context_free(engine.handle(), sequence.context);
  };
  std::vector<Sequence> apart = sequences();
  std::vector<StepResult> alone;
  for (const Sequence &sequence : apart) alone.push_back(engine.step({sequence}));
  free_all(apart);
  const std::vector<Sequence> together = sequences();
  const StepResult all = engine.step(together);
  for (size_t s = 0; s < together.size(); ++s) {
    CHECK(all.statuses[s] == SOUNDER_OK && alone[s].statuses[0] == SOUNDER_OK);
    CHECK_NEAR(all.logprobs[s], alone[s].logprobs[0], 0.1);
    const std::vector<float> own(all.statistics.begin() + long(s) * SOUNDER_STATISTIC_COUNT,
                                 all.statistics.begin() + long(s + 1) * SOUNDER_STATISTIC_COUNT);
    CHECK_NEAR(rows_of(own), rows_of(alone[s].statistics), 5);
    CHECK((rows_of(own) > 0) == (s == 0 || s == 3));
    const float error = own[SOUNDER_STATISTIC_VERIFY_ERROR], told = own[SOUNDER_STATISTIC_STANDARD_ERROR];
    CHECK(s == 0 || s == 3 ? error > 0.4 * told && error < 2.5 * told : error == -1);
  }
}

TEST("tokens of one step that sample do so as one after another does") {
  if (!has_gpu()) return;
  SampledEngine engine(sketched(0));
  const int start = tiny::is_emulated() ? 1000 : 3000, from = start + 20;
  const std::vector<int32_t> tokens =
      tiny::random_tokens(tiny::is_emulated() ? 45 : 60, engine.config.vocabulary, 2);
  auto at_once = [&](int seed) {
    const Asked asked{.budget = 0.1f, .seed = seed, .from = from};
    const int32_t context = filled(engine, start);
    const StepResult result =
        engine.step({asking(Sequence{context, tokens}, asked).with(SOUNDER_STEP_SCORE, 1)});
    CHECK(result.statuses[0] == SOUNDER_OK && sounder_context_exact(engine.handle(), context) == from);
    return std::vector<float>(result.given.begin(), result.given.end() - 1);
  };
  std::vector<float> one_by_one;
  const int32_t context = filled(engine, start);
  for (size_t i = 0; i + 1 < tokens.size(); ++i) {
    Sequence one = asking(Sequence{context, {tokens[i]}}, {.budget = 0.1f, .from = from});
    one.with(SOUNDER_STEP_SCORE, 1).with(SOUNDER_STEP_NEXT_TOKEN, tokens[i + 1]);
    const StepResult result = engine.step({one});
    one_by_one.push_back(result.given[0]);
    CHECK((rows_of(result.statistics) > 0) == (i >= 20));
  }
  const std::vector<float> same = at_once(1), other = at_once(2);
  CHECK(mean_difference(same, one_by_one) < 0.4 * mean_difference(other, one_by_one));
}

TEST("an index is saved and restored with its context, on a GPU and from there on the CPU") {
  if (!has_gpu()) return;
  SampledEngine gpu(sketched(0)), cpu(sketched(SOUNDER_DEVICE_CPU));
  const int32_t context = filled(gpu, 1000);
  decode(gpu, context, tiny::random_tokens(200, gpu.config.vocabulary, 6), {.budget = 0.2f});
  tiny::Folder folder;
  const std::string path = folder.at("context");
  CHECK(tiny::save(gpu, context, 1200, path) == SOUNDER_OK);
  const std::vector<float> q = gpu.query(3);
  const Asked asked{.budget = 0.2f};
  const Attended expected = gpu.attend(context, asked, q);
  for (SampledEngine *engine : {&gpu, &cpu}) {
    const int32_t restored = tiny::restore(*engine, path);
    CHECK(restored > 0);
    const Attended made = engine->attend(restored, asked, q);
    CHECK_NEAR(rows_of(made.statistics), rows_of(expected.statistics), 1e-3);
    CHECK(tiny::mean_error(made.output, expected.output, gpu.config) < 4e-3);
    CHECK(tiny::mean_error(made.output, engine->exact(restored, q), gpu.config) < 0.3);
  }
}

namespace {

// What is told of the tokens of steps that write KV in every way there is, with sampled ones in between.
std::vector<float> tell_steps(int host_layers, const Asked &asked) {
  Config config = with_yardsticks(sketched(0));
  config.host_layers = host_layers;
  SampledEngine engine(config);
  std::vector<float> told;
  auto run = [&](const std::vector<Sequence> &sequences) {
    const StepResult result = engine.step(sequences);
    CHECK(result.status == SOUNDER_OK);
    for (size_t s = 0; s < sequences.size(); ++s) {
      CHECK(result.statuses[s] == SOUNDER_OK);
      told.push_back(result.logprobs[s]);
      told.push_back(result.statistics[s * SOUNDER_STATISTIC_COUNT + SOUNDER_STATISTIC_CHOSEN_ROWS]);
    }
  };
  auto sampled = [&](int32_t context, int32_t token) { return asking(Sequence{context, {token}}, asked); };
  // A block's end is eight tokens away.
  const int start = tiny::is_emulated() ? 376 : 760;
  const int32_t first = filled(engine, start, 1), other = filled(engine, start + 140, 2);
  for (int i = 0; i < 10; ++i) run({sampled(first, i)});
  for (int i = 0; i < 2; ++i) run({Sequence{first, {i}}});  // exact
  run({sampled(first, 3)});
  run({sampled(first, 4), Sequence{other, tiny::random_tokens(40, config.vocabulary, 1)}});
  run({sampled(first, 5), sampled(other, 6)});
  const int32_t fork = sounder_context_fork(engine.handle(), first, start + 10);
  for (int i = 0; i < 3; ++i) run({sampled(first, i), sampled(fork, i + 9), sampled(other, i)});
  CHECK(sounder_context_truncate(engine.handle(), first, start + 5) == SOUNDER_OK);
  run({Sequence{first, tiny::random_tokens(5, config.vocabulary, 2)}});
  for (int i = 0; i < 2; ++i) run({sampled(first, i), sampled(fork, i)});
  tiny::Folder folder;
  CHECK(tiny::save(engine, other, start + 150, folder.at("a")) == SOUNDER_OK);
  for (int32_t context : {first, fork, other}) sounder_context_free(engine.handle(), context);
  const int32_t restored = tiny::restore(engine, folder.at("a")), again = filled(engine, start + 40, 3);
  CHECK(restored > 0);
  for (int i = 0; i < 2; ++i) run({sampled(restored, i), sampled(again, i)});
  return told;
}

}  // namespace

TEST("rows in host memory are sampled as those in the GPU's, whatever writes them between tokens") {
  if (!has_gpu()) return;
  std::vector<Asked> all = yardsticks();
  all.push_back({.budget = 0.2f});
  for (const Asked &asked : all) {
    const std::vector<float> here = tell_steps(0, asked);
    for (int host_layers : {1, 3}) CHECK(largest_difference(tell_steps(host_layers, asked), here) < 1e-3);
  }
}
