// SPDX-License-Identifier: Apache-2.0
//
// The CPU attends for a GPU whose layers have their KV in host memory, through the ABI: with every strategy
// what an engine on the CPU makes of the same KV. Without a GPU, real or emulated, nothing is tested here.
#include <algorithm>

#include "sampled_engine.h"
#include "saved_files.h"

namespace {

using tiny::Asked;
using tiny::Attended;
using tiny::Config;
using tiny::has_gpu;
using tiny::kPrompt;
using tiny::SampledEngine;
using tiny::Sequence;
using tiny::StepResult;

// Every index, layer 0 dense; all other layers have their KV in host memory.
Config on_gpu(bool f32 = true) {
  Config config = tiny::sampling_config();
  config.layers = 3;
  config.dense_layers = 1;
  config.deterministic = false;
  config.f32 = f32;
  config.device = 0;
  config.host_layers = 2;
  config.host_attention = SOUNDER_HOST_ATTENTION_CPU;
  return config;
}

Config on_cpu(Config config) {
  config.device = SOUNDER_DEVICE_CPU;
  return config;
}

std::vector<Asked> strategies() {
  return {{.attention = SOUNDER_ATTENTION_SKETCH},
          {.attention = SOUNDER_ATTENTION_LSH},
          {.attention = SOUNDER_ATTENTION_QUEST},
          {.attention = SOUNDER_ATTENTION_TOPK},
          {.attention = SOUNDER_ATTENTION_ORACLE}};
}

// Tokens of a context: a few less than whole blocks, so that one fills on the way. lsh has none of short
// ones.
constexpr int kLong = 2298;
int length_for(const Asked &asked) {
  return tiny::is_emulated() && asked.attention != SOUNDER_ATTENTION_LSH ? 1659 : kLong;
}

int32_t noise(SampledEngine &engine, int tokens) {
  const int32_t context = engine.create();
  CHECK(sounder_context_fill(engine.handle(), context, tokens, 5) == SOUNDER_OK);
  return context;
}

struct Decoded {
  std::vector<float> logprobs, rows, keys;
};

Decoded decode(SampledEngine &engine, const std::vector<int32_t> &contexts,
               const std::vector<int32_t> &tokens, Asked asked, int from) {
  asked.from = from;
  Decoded all;
  for (int32_t token : tokens) {
    std::vector<Sequence> sequences;
    for (int32_t context : contexts) sequences.push_back(asking(Sequence{context, {token}}, asked));
    const StepResult result = engine.step(sequences);
    for (size_t s = 0; s < contexts.size(); ++s) {
      CHECK(result.statuses[s] == SOUNDER_OK);
      all.logprobs.push_back(result.logprobs[s]);
      const float *own = result.statistics.data() + s * SOUNDER_STATISTIC_COUNT;
      all.rows.push_back(own[SOUNDER_STATISTIC_CHOSEN_ROWS]);
      all.keys.push_back(own[SOUNDER_STATISTIC_KEYS_READ]);
    }
  }
  return all;
}

// Of 8 KV heads, in bfloat16: what GPU and CPU can divide.
Config with_sketches_alone() {
  Config config = on_gpu(false);
  config.heads = 16;
  config.kv_heads = 8;
  config.head_dim = config.rope_dims = 64;
  config.lsh_bits = config.lsh_tables = config.lsh_tokens = config.quest_page = 0;
  config.yardsticks = false;
  return config;
}

double mean_difference(const std::vector<float> &a, const std::vector<float> &b) {
  double sum = a.size() == b.size() ? 0 : 1e9;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) sum += std::fabs(double{a[i]} - b[i]);
  return sum / double(a.size());
}

// Differences of log-probabilities, summed: beside others and alone; alone, and alone with other draws.
struct Compared {
  double apart, other_seeds;
};

// Of three contexts a step makes two halves where the CPU attends.
Compared compare_with_alone(const Config &config) {
  const std::vector<int32_t> tokens = tiny::random_tokens(6, 99, 4), lengths = {1275, 1000, 1100};
  SampledEngine gpu(config);
  auto alone = [&](int length, int seed) {
    const int32_t context = noise(gpu, length);
    const Decoded made = decode(gpu, {context}, tokens, {.seed = seed}, 900);
    sounder_context_free(gpu.handle(), context);
    return made;
  };
  std::vector<int32_t> contexts;
  for (int length : lengths) contexts.push_back(noise(gpu, length));
  const Decoded together = decode(gpu, contexts, tokens, {}, 900);
  Compared compared{};
  for (size_t s = 0; s < lengths.size(); ++s) {
    const Decoded own = alone(lengths[s], 1), other = alone(lengths[s], 2);
    std::vector<float> beside;
    for (size_t t = 0; t < tokens.size(); ++t) {
      CHECK(own.rows[t] > 50);
      CHECK_NEAR(together.rows[t * lengths.size() + s], own.rows[t], 2);
      beside.push_back(together.logprobs[t * lengths.size() + s]);
    }
    compared.apart += mean_difference(beside, own.logprobs);
    compared.other_seeds += mean_difference(other.logprobs, own.logprobs);
  }
  return compared;
}

}  // namespace

TEST("every strategy makes of a query and of KV in host memory what it does on the CPU") {
  if (!has_gpu()) return;
  SampledEngine gpu(on_gpu()), cpu(on_cpu(on_gpu()));
  const int32_t there = noise(gpu, kLong), here = noise(cpu, kLong);
  // A step makes the tables.
  const Asked lsh{.attention = SOUNDER_ATTENTION_LSH};
  decode(gpu, {there}, {3}, lsh, kLong);
  decode(cpu, {here}, {3}, lsh, kLong);
  for (const Asked &asked : strategies()) {
    const std::vector<float> q = cpu.query(8);
    const Attended expected = cpu.attend(here, asked, q, 2), made = gpu.attend(there, asked, q, 2);
    CHECK(expected.status == SOUNDER_OK && made.status == SOUNDER_OK);
    CHECK(expected.statistics[SOUNDER_STATISTIC_CHOSEN_ROWS] > 50);
    CHECK(made.statistics[SOUNDER_STATISTIC_CHOSEN_ROWS] ==
          expected.statistics[SOUNDER_STATISTIC_CHOSEN_ROWS]);
    CHECK(tiny::mean_error(made.output, expected.output, cpu.config) < 1e-3);
  }
}

TEST("steps sample by every strategy as on the CPU, alone and beside others, over blocks that fill") {
  if (!has_gpu()) return;
  const std::vector<int32_t> tokens = tiny::random_tokens(9, 99, 4);
  for (const Asked &asked : strategies()) {
    SampledEngine gpu(on_gpu()), cpu(on_cpu(on_gpu()));
    const int length = length_for(asked);
    const std::vector<int32_t> there = {noise(gpu, length), noise(gpu, length - 300)};
    const std::vector<int32_t> here = {noise(cpu, length), noise(cpu, length - 300)};
    const Decoded made = decode(gpu, there, tokens, asked, length - 300);
    const Decoded expected = decode(cpu, here, tokens, asked, length - 300);
    CHECK(expected.rows[0] > 50 && made.rows.size() == expected.rows.size());
    CHECK(mean_difference(made.rows, expected.rows) < 0.5);
    CHECK(mean_difference(made.keys, expected.keys) < 0.5);
    CHECK(mean_difference(made.logprobs, expected.logprobs) < 5e-3);
    Asked other = asked;
    other.seed = 2;
    other.budget = 0.1f;
    const Decoded changed = decode(gpu, {noise(gpu, length)}, {tokens[0]}, other, length);
    if (asked.attention != SOUNDER_ATTENTION_LSH) CHECK(changed.rows[0] < 0.8f * made.rows[0]);
  }
}

TEST("a prompt is computed exactly, and what follows it sampled, in bfloat16 too") {
  if (!has_gpu()) return;
  const std::vector<int32_t> all = tiny::random_tokens(kLong, 99, 3), tokens = tiny::random_tokens(8, 99, 6);
  for (bool f32 : {true, false}) {
    SampledEngine gpu(on_gpu(f32)), cpu(on_cpu(on_gpu(f32)));
    for (const Asked &asked : {Asked{}, Asked{.attention = SOUNDER_ATTENTION_LSH}}) {
      const int length = length_for(asked);
      const std::vector<int32_t> prompt(all.begin(), all.begin() + length);
      const int32_t there = gpu.filled(prompt), here = cpu.filled(prompt);
      const Decoded made = decode(gpu, {there}, tokens, asked, length);
      const Decoded expected = decode(cpu, {here}, tokens, asked, length);
      CHECK(expected.rows[0] > 50);
      CHECK(mean_difference(made.rows, expected.rows) < (f32 ? 1 : 12));
      CHECK(mean_difference(made.logprobs, expected.logprobs) < (f32 ? 5e-3 : 0.1));
    }
  }
}

TEST("layers in the GPU's memory sample there while the CPU attends those in host memory") {
  if (!has_gpu()) return;
  Config config = on_gpu(false);
  config.heads = 8;
  config.head_dim = config.rope_dims = 64;
  config.lsh_bits = config.lsh_tables = config.lsh_tokens = config.quest_page = 0;
  config.yardsticks = false;
  config.host_layers = 1;
  SampledEngine gpu(config), cpu(on_cpu(config));
  const int32_t there = noise(gpu, length_for({})), here = noise(cpu, length_for({}));
  for (int layer : {1, 2}) {
    const std::vector<float> q = cpu.query(8);
    const Attended expected = cpu.attend(here, {}, q, layer), made = gpu.attend(there, {}, q, layer);
    CHECK_NEAR(made.statistics[SOUNDER_STATISTIC_CHOSEN_ROWS],
               expected.statistics[SOUNDER_STATISTIC_CHOSEN_ROWS], 1e-3);
    CHECK(tiny::mean_error(made.output, expected.output, config) < 4e-3);
  }
  const std::vector<int32_t> tokens = tiny::random_tokens(12, 99, 4);
  const Decoded made = decode(gpu, {there}, tokens, {.verify = 1}, length_for({}));
  const Decoded expected = decode(cpu, {here}, tokens, {.verify = 1}, length_for({}));
  CHECK(mean_difference(made.rows, expected.rows) < 12);
  CHECK(mean_difference(made.keys, expected.keys) < 12);
}

TEST("heads that GPU and CPU divide make the same of a step as one of them would") {
  if (!has_gpu()) return;
  Config config = with_sketches_alone();
  const std::vector<int32_t> tokens = tiny::random_tokens(12, 99, 4);
  Decoded by[3];
  for (int who : {SOUNDER_HOST_ATTENTION_GPU, SOUNDER_HOST_ATTENTION_CPU, SOUNDER_HOST_ATTENTION_SPLIT}) {
    config.host_attention = who;
    SampledEngine gpu(config);
    by[who] = decode(gpu, {noise(gpu, 1275), noise(gpu, 1000)}, tokens, {}, 1000);
  }
  for (int who : {SOUNDER_HOST_ATTENTION_CPU, SOUNDER_HOST_ATTENTION_SPLIT}) {
    CHECK(by[0].rows[0] > 50);
    CHECK(mean_difference(by[who].rows, by[0].rows) < 2);
    CHECK(mean_difference(by[who].logprobs, by[0].logprobs) < 0.02);
  }
}

TEST("two halves of a step, uneven too, make of each context to the bit what it makes alone") {
  if (!has_gpu()) return;
  Config config = with_sketches_alone();
  config.dense_layers = 0;
  config.host_layers = 3;
  CHECK(compare_with_alone(config).apart == 0);
}

// Exact attention cuts keys into more parts where rows are few, and rounds weights beside the largest of a
// part: 0.1 % of what layer 0 attends, on an H100. The layers behind it then draw some other rows.
TEST("a context beside others differs from itself alone by what exact attention rounds, and by few draws") {
  if (!has_gpu()) return;
  Config config = with_sketches_alone();
  for (int who : {SOUNDER_HOST_ATTENTION_GPU, SOUNDER_HOST_ATTENTION_CPU, SOUNDER_HOST_ATTENTION_SPLIT}) {
    config.host_attention = who;
    const auto [apart, other_seeds] = compare_with_alone(config);
    CHECK(apart < (tiny::is_emulated() ? 0.1 : 0.5) * other_seeds);
  }
}

TEST("a long prompt beside contexts that decode gets its index layer by layer, and lsh tables whole") {
  if (!has_gpu()) return;
  const std::vector<int32_t> prompt = tiny::random_tokens(kPrompt, 99, 3),
                             tokens = tiny::random_tokens(4, 99, 6);
  for (const Asked &asked : {Asked{}, Asked{.attention = SOUNDER_ATTENTION_LSH}}) {
    Decoded by[2];
    for (bool device : {false, true}) {
      SampledEngine engine(device ? on_gpu() : on_cpu(on_gpu()));
      const int32_t other = noise(engine, 2280), context = engine.create();
      Asked beside = asked;
      beside.from = 2280;
      const size_t most = size_t(engine.config.max_step_tokens) - 1;
      for (size_t at = 0; at < prompt.size(); at += most) {
        const std::vector<int32_t> chunk(prompt.begin() + long(at),
                                         prompt.begin() + long(std::min(at + most, prompt.size())));
        Asked own = asked;
        own.from = kPrompt;
        const StepResult result =
            engine.step({asking(Sequence{other, {5}}, beside), asking(Sequence{context, chunk}, own)});
        CHECK(result.statuses[0] == SOUNDER_OK && result.statuses[1] == SOUNDER_OK);
      }
      by[device] = decode(engine, {other, context}, tokens, asked, 2280);
    }
    CHECK(by[0].rows[1] > 50);
    CHECK(mean_difference(by[1].rows, by[0].rows) < 1);
    CHECK(mean_difference(by[1].logprobs, by[0].logprobs) < 5e-3);
  }
}

TEST("an index that the GPU has no kernels for is refused unless the CPU attends where layers sample") {
  if (!has_gpu()) return;
  auto status = [](const Config &config) {
    tiny::Engine engine;
    const std::vector<int32_t> ints = config.ints();
    const std::vector<float> floats = config.floats(), frequencies = config.frequencies();
    return sounder_configure(engine.handle(), ints.data(), int32_t(ints.size()), floats.data(),
                             int32_t(floats.size()), frequencies.data(), int32_t(frequencies.size()));
  };
  Config config = on_gpu();
  CHECK(status(config) == SOUNDER_OK);
  config.host_layers = 1;
  CHECK(status(config) == SOUNDER_INVALID);
  config = on_gpu();
  config.host_attention = SOUNDER_HOST_ATTENTION_GPU;
  CHECK(status(config) == SOUNDER_INVALID);
}
