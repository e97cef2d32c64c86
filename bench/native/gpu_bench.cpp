// SPDX-License-Identifier: Apache-2.0
//
// The GPU beside its roofs at the shape of Llama-3.1-8B with seeded weights: kernels alone, then whole steps
// through the ABI. A roof's share of a decode step counts the bytes of weights and KV that it must read, that
// of a prefill step the operations of its products and its attention.
//
//   gpu_bench [kernels|steps|all]     all KV in the GPU's memory
//   gpu_bench host [layers [bits]]    whole steps with that of so many layers in host memory (default: 31),
//   and
//                                     with a sketch of so many bits (default: 2)
#include "gpu_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "sounder.h"

namespace bench {

namespace {

constexpr int kContext = 131072, kBlocks = 2048, kStepTokens = 4096, kSequences = 32;
constexpr double kMatrixValues =
    double(kLayers) * (6144.0 * kHidden + 4096.0 * kHidden + 3.0 * kHidden * kIntermediate);
constexpr double kWeightBytes = 2 * (kMatrixValues + double(kVocabulary) * kHidden);
constexpr double kTokenBytes = 2.0 * kLayers * kKvHeads * 2 * kHeadDim;  // of KV

void require(sounder_engine *engine, int32_t status) {
  if (status >= 0) return;
  std::vector<uint8_t> text(2048);
  const int32_t bytes = sounder_error_text(engine, text.data(), int32_t(text.size()));
  std::fprintf(stderr, "%.*s\n", bytes, reinterpret_cast<const char *>(text.data()));
  std::exit(1);
}

std::vector<int32_t> config_ints(int host_layers, int sketch_bits) {
  std::vector<int32_t> ints(SOUNDER_CONFIG_INT_COUNT);
  ints[SOUNDER_CONFIG_LAYERS] = kLayers;
  ints[SOUNDER_CONFIG_HIDDEN] = kHidden;
  ints[SOUNDER_CONFIG_INTERMEDIATE] = kIntermediate;
  ints[SOUNDER_CONFIG_HEADS] = kHeads;
  ints[SOUNDER_CONFIG_KV_HEADS] = kKvHeads;
  ints[SOUNDER_CONFIG_HEAD_DIM] = ints[SOUNDER_CONFIG_ROPE_DIMS] = kHeadDim;
  ints[SOUNDER_CONFIG_VOCABULARY] = kVocabulary;
  ints[SOUNDER_CONFIG_CONTEXT] = kContext;
  ints[SOUNDER_CONFIG_KV_BLOCKS] = kBlocks;
  ints[SOUNDER_CONFIG_MAX_CONTEXTS] = 64;
  ints[SOUNDER_CONFIG_MAX_STEP_TOKENS] = kStepTokens;
  ints[SOUNDER_CONFIG_MAX_STEP_SEQUENCES] = kSequences;
  ints[SOUNDER_CONFIG_WINDOW] = 64;
  ints[SOUNDER_CONFIG_LEAST_ROWS] = 256;
  ints[SOUNDER_CONFIG_LSH_CENTRING] = SOUNDER_CENTRING_CONTEXT;
  ints[SOUNDER_CONFIG_DEVICE] = 0;
  ints[SOUNDER_CONFIG_DENSE_LAYERS] = 1;
  ints[SOUNDER_CONFIG_HOST_LAYERS] = host_layers;
  ints[SOUNDER_CONFIG_SKETCH_BITS] = sketch_bits;
  return ints;
}

void add_tensor(sounder_engine *engine, int32_t role, int32_t layer, int32_t rows, int32_t columns) {
  const int32_t file = SOUNDER_NO_FILE, type = SOUNDER_TYPE_BF16, interleaved = 0;
  const int64_t offset = 0;
  require(engine, sounder_add_tensors(engine, 1, &role, &layer, &file, &type, &rows, &columns, &interleaved,
                                      &offset));
}

void load(sounder_engine *engine, int host_layers, int sketch_bits) {
  const std::vector<int32_t> ints = config_ints(host_layers, sketch_bits);
  const float floats[SOUNDER_CONFIG_FLOAT_COUNT] = {1e-5f, 1};
  std::vector<float> frequencies;
  for (int i = 0; i < kHeadDim / 2; ++i)
    frequencies.push_back(float(std::pow(500000.0, -2.0 * i / kHeadDim)));
  require(engine, sounder_configure(engine, ints.data(), int32_t(ints.size()), floats,
                                    SOUNDER_CONFIG_FLOAT_COUNT, frequencies.data(), kHeadDim / 2));
  add_tensor(engine, SOUNDER_ROLE_EMBEDDING, 0, kVocabulary, kHidden);
  add_tensor(engine, SOUNDER_ROLE_OUTPUT, 0, kVocabulary, kHidden);
  add_tensor(engine, SOUNDER_ROLE_FINAL_NORM, 0, 1, kHidden);
  for (int layer = 0; layer < kLayers; ++layer) {
    add_tensor(engine, SOUNDER_ROLE_ATTENTION_NORM, layer, 1, kHidden);
    add_tensor(engine, SOUNDER_ROLE_Q, layer, kHeads * kHeadDim, kHidden);
    add_tensor(engine, SOUNDER_ROLE_K, layer, kKvHeads * kHeadDim, kHidden);
    add_tensor(engine, SOUNDER_ROLE_V, layer, kKvHeads * kHeadDim, kHidden);
    add_tensor(engine, SOUNDER_ROLE_ATTENTION_OUTPUT, layer, kHidden, kHeads * kHeadDim);
    add_tensor(engine, SOUNDER_ROLE_FEED_FORWARD_NORM, layer, 1, kHidden);
    add_tensor(engine, SOUNDER_ROLE_GATE, layer, kIntermediate, kHidden);
    add_tensor(engine, SOUNDER_ROLE_UP, layer, kIntermediate, kHidden);
    add_tensor(engine, SOUNDER_ROLE_DOWN, layer, kHidden, kIntermediate);
  }
  require(engine, sounder_load(engine));
}

// Milliseconds of one step in which each context gets so many new tokens, greedy.
struct StepMs {
  double wall, total, sampling, rows;
};
StepMs step(sounder_engine *engine, const std::vector<int32_t> &contexts, int tokens_each, double budget) {
  const size_t s = contexts.size(), t = s * size_t(tokens_each), most = SOUNDER_MAX_ALTERNATIVES;
  std::vector<int32_t> counts(s, tokens_each), tokens(t), ints(s * SOUNDER_STEP_INT_COUNT), statuses(s),
      sampled(s), top(s * most);
  std::vector<float> floats(s * SOUNDER_STEP_FLOAT_COUNT), logprobs(s), top_logprobs(s * most), given(t),
      statistics(s * SOUNDER_STATISTIC_COUNT), stages(SOUNDER_STAGE_COUNT);
  for (size_t i = 0; i < t; ++i) tokens[i] = int32_t(i * 7919 % kVocabulary);
  for (size_t i = 0; i < s; ++i) {
    ints[i * SOUNDER_STEP_INT_COUNT + SOUNDER_STEP_SAMPLE] = 1;
    ints[i * SOUNDER_STEP_INT_COUNT + SOUNDER_STEP_ALLOWED_ROW] = -1;
    ints[i * SOUNDER_STEP_INT_COUNT + SOUNDER_STEP_NEXT_TOKEN] = -1;
    if (budget > 0) ints[i * SOUNDER_STEP_INT_COUNT + SOUNDER_STEP_ATTENTION] = SOUNDER_ATTENTION_SKETCH;
    ints[i * SOUNDER_STEP_INT_COUNT + SOUNDER_STEP_ATTENTION_SEED_LOW] = 1;
    ints[i * SOUNDER_STEP_INT_COUNT + SOUNDER_STEP_COLLISIONS] = 2;
    floats[i * SOUNDER_STEP_FLOAT_COUNT + SOUNDER_STEP_BUDGET] = float(budget);
    floats[i * SOUNDER_STEP_FLOAT_COUNT + SOUNDER_STEP_BETA] = 1;
    floats[i * SOUNDER_STEP_FLOAT_COUNT + SOUNDER_STEP_TOP_P] = 1;
    floats[i * SOUNDER_STEP_FLOAT_COUNT + SOUNDER_STEP_REPETITION_PENALTY] = 1;
  }
  const auto start = std::chrono::steady_clock::now();
  require(engine, sounder_step(engine, int32_t(s), contexts.data(), counts.data(), tokens.data(), ints.data(),
                               floats.data(), nullptr, nullptr, 0, nullptr, 0, statuses.data(),
                               sampled.data(), logprobs.data(), top.data(), top_logprobs.data(), given.data(),
                               nullptr, nullptr, statistics.data(), stages.data()));
  const double wall =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  for (int32_t status : statuses) require(engine, status);
  return {wall, stages[SOUNDER_STAGE_TOTAL], stages[SOUNDER_STAGE_SAMPLING],
          statistics[SOUNDER_STATISTIC_CHOSEN_ROWS]};
}

std::vector<int32_t> filled(sounder_engine *engine, int count, int tokens) {
  std::vector<int32_t> contexts;
  for (int i = 0; i < count; ++i) {
    contexts.push_back(sounder_context_create(engine));
    require(engine, contexts.back());
    if (tokens > 0) require(engine, sounder_context_fill(engine, contexts.back(), tokens, i));
  }
  return contexts;
}

StepMs median_step(sounder_engine *engine, const std::vector<int32_t> &contexts, int tokens, int repeats,
                   int warm, double budget = 0) {
  std::vector<StepMs> times;
  for (int i = 0; i < warm + repeats; ++i) {
    const StepMs ms = step(engine, contexts, tokens, budget);
    if (i >= warm) times.push_back(ms);
  }
  std::sort(times.begin(), times.end(), [](const StepMs &a, const StepMs &b) { return a.wall < b.wall; });
  for (int32_t context : contexts) sounder_context_free(engine, context);
  return times[times.size() / 2];
}

void bench_decode(sounder_engine *engine, const Roofs &roofs, int batch, int depth) {
  const StepMs ms = median_step(engine, filled(engine, batch, depth), 1, 24, 4);
  const std::string name = "decode, batch " + std::to_string(batch) + " at " + std::to_string(depth);
  print(name.c_str(), ms.wall, kWeightBytes + batch * (depth + 14.0) * kTokenBytes, 0, roofs);
  std::printf("%-46s %9.3f ms sampling, %.0f tokens/s\n", "", ms.sampling, batch / ms.wall * 1e3);
}

// Sampled, which reads a part of the rows: no roof is stated (bench/gpu_token.md has the stages beside
// theirs).
void bench_sampled(sounder_engine *engine, int batch, int depth, double budget) {
  const StepMs ms = median_step(engine, filled(engine, batch, depth), 1, 24, 4, budget);
  std::printf(
      "sampled, batch %d at %d, %.1f %% of the rows: %.3f ms, of which choosing %.3f ms; %.0f rows, %.0f "
      "tokens/s\n",
      batch, depth, 100 * budget, ms.wall, ms.sampling, ms.rows, batch / ms.wall * 1e3);
}

void bench_prefill(sounder_engine *engine, const Roofs &roofs, int depth) {
  std::vector<StepMs> times;
  for (int i = 0; i < 3; ++i)
    times.push_back(median_step(engine, filled(engine, 1, depth), kStepTokens, 1, 0));
  std::sort(times.begin(), times.end(), [](const StepMs &a, const StepMs &b) { return a.wall < b.wall; });
  const double keys = double(kStepTokens) * (depth + (kStepTokens + 1) / 2.0);
  const double flops = 2 * kMatrixValues * kStepTokens + 4.0 * kLayers * kHeads * kHeadDim * keys;
  const std::string name = "prefill, 4096 tokens after " + std::to_string(depth);
  print(name.c_str(), times[0].wall, 0, flops, roofs);
}

void bench_steps(const Roofs &roofs, int host_layers, int sketch_bits) {
  sounder_engine *engine = sounder_create();
  const auto start = std::chrono::steady_clock::now();
  load(engine, host_layers, sketch_bits);
  std::printf("loaded in %.1f s\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (sketch_bits > 0) {
    for (double budget : {0.005, 0.01, 0.02, 0.04}) bench_sampled(engine, 1, 98304, budget);
    for (int batch : {4, 8, 16}) bench_sampled(engine, batch, 16384, 0.02);
  }
  for (int depth : {0, 28672, 94208}) bench_prefill(engine, roofs, depth);
  for (int depth : {1024, 98304}) bench_decode(engine, roofs, 1, depth);
  for (int batch : {2, 4, 8, 16, 32}) bench_decode(engine, roofs, batch, 1024);
  bench_decode(engine, roofs, 8, 16384);
  sounder_close(engine);
}

}  // namespace
}  // namespace bench

int main(int argc, char **argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  if (what != "kernels" && what != "steps" && what != "all" && what != "host") {
    std::fprintf(stderr, "There is no %s: write kernels, steps, all or host\n", what.c_str());
    return 2;
  }
  try {
    const bench::Roofs roofs = bench::bench_kernels(what != "steps" && what != "host");
    const bool host = what == "host";
    const int host_layers = !host ? 0 : argc > 2 ? std::atoi(argv[2]) : 31;
    const int sketch_bits = !host ? 0 : argc > 3 ? std::atoi(argv[3]) : 2;
    if (what != "kernels") bench::bench_steps(roofs, host_layers, sketch_bits);
  } catch (const std::exception &failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}
