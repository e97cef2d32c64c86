// SPDX-License-Identifier: Apache-2.0
//
// How a sequence of a step attends: what is asked for, and what is reported. And sounder_attend, which lets
// a strategy look at one query alone.
#include <cmath>
#include <cstring>
#include <limits>

#include "engine.h"
#include "failure.h"
#include "random.h"
#include "sampled/scores.h"
#include "sounder.h"

namespace sounder {

namespace {

constexpr int kMostDraws = 1 << 16;
constexpr uint64_t kChoiceStream = uint64_t{1} << 41;  // of random_bits

void check_in(const char *name, int32_t value, int32_t low, int32_t high) {
  if (value < low || value > high) {
    fail(SOUNDER_INVALID, "The %s is %d; it must be from %d to %d.", name, value, low, high);
  }
}

void check_share(const char *name, float value, float high) {
  if (!(value > 0 && value <= high)) {
    fail(SOUNDER_INVALID, "The %s is %g; it must be over 0 and at most %g.", name, value, high);
  }
}

void require_index(const ModelConfig &config, int attention) {
  if (attention == SOUNDER_ATTENTION_SKETCH && config.sketch_bits == 0)
    fail(SOUNDER_INVALID, "This engine has no sketch index.");
  if (attention == SOUNDER_ATTENTION_LSH && config.lsh_bits == 0)
    fail(SOUNDER_INVALID, "This engine has no lsh tables.");
  if (attention == SOUNDER_ATTENTION_QUEST && config.quest_page == 0)
    fail(SOUNDER_INVALID, "This engine has no bounds of pages (quest).");
  const bool yardstick = attention == SOUNDER_ATTENTION_TOPK || attention == SOUNDER_ATTENTION_ORACLE;
  if (yardstick && !config.yardsticks)
    fail(SOUNDER_INVALID, "This engine has no yardstick strategies (topk, oracle).");
}

}  // namespace

SampledParams read_attention(const ModelConfig &config, const int32_t *ints, const float *floats) {
  SampledParams params{};
  params.attention = ints[SOUNDER_STEP_ATTENTION];
  check_in("attention", params.attention, SOUNDER_ATTENTION_FULL, SOUNDER_ATTENTION_COUNT - 1);
  if (params.attention == SOUNDER_ATTENTION_FULL) return params;
  params.sampled_from = ints[SOUNDER_STEP_SAMPLED_FROM];
  params.seed = static_cast<uint32_t>(ints[SOUNDER_STEP_ATTENTION_SEED_LOW]) |
                static_cast<uint64_t>(static_cast<uint32_t>(ints[SOUNDER_STEP_ATTENTION_SEED_HIGH])) << 32;
  // Choices of one request err by themselves: the first by the seed as it is.
  if (const auto choice = static_cast<uint32_t>(ints[SOUNDER_STEP_CHOICE]); choice != 0)
    params.seed = random_bits(params.seed, kChoiceStream, choice);
  params.budget = floats[SOUNDER_STEP_BUDGET];
  params.beta = floats[SOUNDER_STEP_BETA];
  params.collisions = ints[SOUNDER_STEP_COLLISIONS];
  params.draws = ints[SOUNDER_STEP_DRAWS];
  check_in("position to sample from", params.sampled_from, 0, INT32_MAX);
  check_share("budget", params.budget, 1);
  check_share("exponent beta", params.beta, 4);
  check_in("number of collisions", params.collisions, 1, 3);
  check_in("number of draws", params.draws, 0, kMostDraws);
  check_in("verify flag", ints[SOUNDER_STEP_VERIFY], 0, 1);
  params.verify = ints[SOUNDER_STEP_VERIFY] == 1;
  // A model whose attention has a window samples in no layer: it is exact whatever is asked for.
  if (config.sampling_layers() > 0)
    require_index(config, params.attention);
  else
    params.attention = SOUNDER_ATTENTION_FULL;
  if (params.attention == SOUNDER_ATTENTION_LSH && params.collisions > config.lsh_tables) {
    fail(SOUNDER_INVALID, "No key is found in %d tables: this engine has %d of lsh.", params.collisions,
         config.lsh_tables);
  }
  return params;
}

void write_statistics(int keys, int window, int layers_seen, const SampledParams &params,
                      const SampledStatistics &sampled, float *statistics) {
  const double total = window > 0 ? std::min(keys, window) : keys, layers = sampled.layers;
  const double saved = layers * sampled.offloaded - sampled.chosen_keys;  // over all layers looked at
  std::fill_n(statistics, SOUNDER_STATISTIC_COUNT, 0.0f);
  statistics[SOUNDER_STATISTIC_KEYS_READ] = static_cast<float>(total - saved / layers_seen);
  statistics[SOUNDER_STATISTIC_KEYS_TOTAL] = static_cast<float>(total);
  statistics[SOUNDER_STATISTIC_VERIFY_ERROR] = -1;
  if (sampled.layers == 0) return;
  statistics[SOUNDER_STATISTIC_OFFLOADED] = static_cast<float>(sampled.offloaded);
  statistics[SOUNDER_STATISTIC_CHOSEN_KEYS] = static_cast<float>(sampled.chosen_keys / layers);
  statistics[SOUNDER_STATISTIC_CHOSEN_ROWS] = static_cast<float>(sampled.chosen_rows / layers);
  statistics[SOUNDER_STATISTIC_EFFECTIVE_SAMPLES] = sampled.inverse_samples > 0
                                                        ? static_cast<float>(layers / sampled.inverse_samples)
                                                        : std::numeric_limits<float>::infinity();
  statistics[SOUNDER_STATISTIC_STANDARD_ERROR] =
      static_cast<float>(std::sqrt(sampled.squared_error / layers));
  if (params.verify)
    statistics[SOUNDER_STATISTIC_VERIFY_ERROR] = static_cast<float>(std::sqrt(sampled.verify_error / layers));
}

namespace {

// A context that nobody changes while it is read.
class Held {
 public:
  Held(std::mutex &mutex, Contexts &contexts, int32_t id) : mutex_(mutex), contexts_(contexts) {
    std::lock_guard lock(mutex_);
    context_ = &contexts_.hold(id);
  }
  ~Held() {
    std::lock_guard lock(mutex_);
    contexts_.let_go(*context_);
  }
  Held(const Held &) = delete;
  Held &operator=(const Held &) = delete;
  Context &operator*() const { return *context_; }

 private:
  std::mutex &mutex_;
  Contexts &contexts_;
  Context *context_;
};

// All that lies before the window gets tables, as at the end of a prompt.
void cover_with_lsh(LoadedModel &model, Context &context) {
  LshTables &tables = model.contexts.lsh_of(context);
  const int length = static_cast<int>(context.tokens.size());
  const int until = tables.target(length, length, model.config.window);
  if (until <= tables.covered() || until < kLshTailKeys) return;
  try {
    model.forward->extend_lsh_of(tables, context.blocks.data(), until);
  } catch (...) {
    tables.roll_back();
    throw;
  }
  tables.commit();
}

void check_attend(const ModelConfig &config, const AttendCall &call) {
  if (call.ints == nullptr || call.floats == nullptr || call.q == nullptr || call.output == nullptr ||
      call.statistics == nullptr)
    fail(SOUNDER_INVALID, "An array of sounder_attend is missing.");
  check_in("layer", call.layer, 0, config.layers - 1);
  for (int i = 0; i < config.q_width(); ++i)
    if (!std::isfinite(call.q[i])) fail(SOUNDER_INVALID, "Value %d of the query is not finite.", i);
}

}  // namespace

void Engine::attend(const AttendCall &call) {
  run_alone([&] {
    LoadedModel *loaded_model;
    {
      std::lock_guard lock(mutex_);
      loaded_model = &loaded();
    }
    LoadedModel &model = *loaded_model;
    check_attend(model.config, call);
    const SampledParams params = read_attention(model.config, call.ints, call.floats);
    Held held(mutex_, model.contexts, call.context);
    Context &context = *held;
    const int length = static_cast<int>(context.tokens.size());
    if (length == 0) fail(SOUNDER_INVALID, "Context %d has no tokens to attend.", call.context);
    if (params.attention == SOUNDER_ATTENTION_LSH) cover_with_lsh(model, context);
    SampledStatistics statistics;
    model.forward->attend_alone(call.layer, {call.q, call.output, context.blocks.data(), length - 1, params,
                                             context.lsh.get(), &statistics});
    write_statistics(length, model.config.sliding_window, 1, params, statistics, call.statistics);
    if (call.scores == nullptr) return;
    if (model.device != nullptr) fail(SOUNDER_INVALID, "Scores of keys are not read from a GPU.");
    const bool estimated = params.attention == SOUNDER_ATTENTION_SKETCH;
    KeyScores scores(model.config, model.kernels.name, model.blocks);
    scores.write(call.layer, call.q, context.blocks.data(), length, estimated, params.beta, call.scores);
  });
}

}  // namespace sounder
