// SPDX-License-Identifier: Apache-2.0
//
// On a GPU, through the ABI: strategies that look at each key or page, beside the CPU's.
#include "device_sampled.h"

using namespace device_sampled;

TEST("strategies that read all keys or pages choose on a GPU what they choose on the CPU") {
  if (!has_gpu()) return;
  for (Config on_gpu : {with_yardsticks(sketched(0)), with_yardsticks(sketched(0, 7, 1, 128))}) {
    if (on_gpu.kv_heads == 1) on_gpu.sketch_bits = 0;
    Config on_cpu = on_gpu;
    on_cpu.device = SOUNDER_DEVICE_CPU;
    SampledEngine cpu(on_cpu), gpu(on_gpu);
    const int tokens = tiny::is_emulated() ? 1500 : 8000;
    const int32_t here = filled(cpu, tokens), there = filled(gpu, tokens);
    for (const Asked &asked : yardsticks()) {
      const std::vector<float> q = cpu.query(6);
      const Attended expected = cpu.attend(here, asked, q), made = gpu.attend(there, asked, q);
      CHECK(expected.status == SOUNDER_OK && made.status == SOUNDER_OK);
      CHECK(rows_of(expected.statistics) > 50);
      // The order of sums moves a score by a unit now and then.
      CHECK_NEAR(rows_of(made.statistics), rows_of(expected.statistics), 1);
      for (int figure : {SOUNDER_STATISTIC_CHOSEN_KEYS, SOUNDER_STATISTIC_KEYS_READ})
        CHECK_NEAR(made.statistics[size_t(figure)], expected.statistics[size_t(figure)], 1);
      CHECK_NEAR(made.statistics[SOUNDER_STATISTIC_STANDARD_ERROR],
                 expected.statistics[SOUNDER_STATISTIC_STANDARD_ERROR],
                 1e-2 * expected.statistics[SOUNDER_STATISTIC_STANDARD_ERROR]);
      CHECK(tiny::mean_error(made.output, expected.output, on_gpu) < 6e-3);
    }
  }
}

TEST("strategies ride in one step, and each makes of it what it does on the CPU, over blocks that fill") {
  if (!has_gpu()) return;
  const Config on_gpu = with_yardsticks(sketched(0));
  Config on_cpu = on_gpu;
  on_cpu.device = SOUNDER_DEVICE_CPU;
  SampledEngine cpu(on_cpu), gpu(on_gpu);
  std::vector<Asked> all = yardsticks();
  all.insert(all.begin() + 2, {.budget = 0.1f, .beta = 1});
  for (Asked &asked : all) asked.verify = 1;
  std::vector<float> rows[2], logprobs[2];
  for (SampledEngine *engine : {&cpu, &gpu}) {
    const size_t which = engine == &gpu;
    std::vector<int32_t> contexts;
    for (size_t i = 0; i < all.size(); ++i) contexts.push_back(filled(*engine, 890 + 60 * int(i), int(i)));
    for (int token = 0; token < 12; ++token) {
      std::vector<Sequence> sequences;
      for (size_t i = 0; i < all.size(); ++i)
        sequences.push_back(asking(Sequence{contexts[i], {token + int(i)}}, all[i]));
      if (token == 6) {  // verified steps are not recorded
        for (Asked &asked : all) asked.verify = 0;
      }
      const StepResult result = engine->step(sequences);
      for (size_t i = 0; i < all.size(); ++i) {
        CHECK(result.statuses[i] == SOUNDER_OK);
        const float *own = result.statistics.data() + i * SOUNDER_STATISTIC_COUNT;
        rows[which].push_back(own[SOUNDER_STATISTIC_CHOSEN_ROWS]);
        logprobs[which].push_back(result.logprobs[i]);
        // What topk and quest leave out is an error that they do not tell.
        const bool tells =
            all[i].attention == SOUNDER_ATTENTION_SKETCH || all[i].attention == SOUNDER_ATTENTION_ORACLE;
        const float told = own[SOUNDER_STATISTIC_STANDARD_ERROR], error = own[SOUNDER_STATISTIC_VERIFY_ERROR];
        if (token < 6 && tells) CHECK(error > 0.3 * told && error < 3 * told);
      }
    }
    for (Asked &asked : all) asked.verify = 1;
  }
  CHECK(mean_difference(rows[1], rows[0]) < 3);
  // Activations are rounded to bfloat16 there, which moves a few of the draws.
  CHECK(mean_difference(logprobs[1], logprobs[0]) < 0.1);
}
