// SPDX-License-Identifier: Apache-2.0
#include "step_call.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "failure.h"
#include "sounder.h"

namespace sounder {

namespace {

void check_pointers(const StepCall &call) {
  const std::pair<const void *, const char *> needed[] = {
      {call.contexts, "contexts"},     {call.token_counts, "token_counts"},
      {call.tokens, "tokens"},         {call.ints, "ints"},
      {call.floats, "floats"},         {call.statuses, "statuses"},
      {call.sampled, "sampled"},       {call.sampled_logprobs, "sampled_logprobs"},
      {call.top_tokens, "top_tokens"}, {call.top_logprobs, "top_logprobs"},
      {call.statistics, "statistics"}, {call.stage_ms, "stage_ms"},
  };
  for (const auto &[pointer, name] : needed) {
    if (pointer == nullptr) fail(SOUNDER_INVALID, "The array %s of the step is missing.", name);
  }
  if (call.bias_count < 0 || call.allowed_rows < 0) {
    fail(SOUNDER_INVALID, "The step has %d bias values and %d rows of allowed tokens.", call.bias_count,
         call.allowed_rows);
  }
  if (call.bias_count > 0 && (call.bias_tokens == nullptr || call.bias_values == nullptr)) {
    fail(SOUNDER_INVALID, "The bias arrays of the step are missing.");
  }
  if (call.allowed_rows > 0 && call.allowed_tokens == nullptr) {
    fail(SOUNDER_INVALID, "The array allowed_tokens of the step is missing.");
  }
}

void check_in(const char *name, int32_t value, int32_t low, int32_t high) {
  if (value < low || value > high) {
    fail(SOUNDER_INVALID, "The %s is %d; it must be from %d to %d.", name, value, low, high);
  }
}

void check_in(const char *name, float value, float low, float high) {
  if (!(value >= low && value <= high)) {
    fail(SOUNDER_INVALID, "The %s is %g; it must be from %g to %g.", name, value, low, high);
  }
}

void read_bias(const ModelConfig &config, const StepCall &call, const int32_t *ints, SamplingParams &params) {
  int32_t start = ints[SOUNDER_STEP_BIAS_START], count = ints[SOUNDER_STEP_BIAS_COUNT];
  if (count == 0) return;
  if (start < 0 || count < 0 || start > call.bias_count || count > call.bias_count - start) {
    fail(SOUNDER_INVALID, "The %d bias values from %d on are not among the %d of the step.", count, start,
         call.bias_count);
  }
  params.bias_tokens = call.bias_tokens + start;
  params.bias_values = call.bias_values + start;
  params.bias_count = count;
  for (int32_t i = 0; i < count; ++i) {
    check_in("token of a logit bias", params.bias_tokens[i], 0, config.vocabulary - 1);
    if (!std::isfinite(params.bias_values[i])) {
      fail(SOUNDER_INVALID, "The logit bias of token %d is not finite.", params.bias_tokens[i]);
    }
  }
}

SamplingParams read_sampling(const ModelConfig &config, const StepCall &call, int sequence) {
  // Far beyond what anybody asks for, far below what overflows.
  constexpr float kLargest = 1e6f;
  const int32_t *ints = call.ints_of(sequence);
  const float *floats = call.floats_of(sequence);
  SamplingParams params{};
  params.temperature = floats[SOUNDER_STEP_TEMPERATURE];
  params.top_p = floats[SOUNDER_STEP_TOP_P];
  params.min_p = floats[SOUNDER_STEP_MIN_P];
  params.repetition_penalty = floats[SOUNDER_STEP_REPETITION_PENALTY];
  params.presence_penalty = floats[SOUNDER_STEP_PRESENCE_PENALTY];
  params.frequency_penalty = floats[SOUNDER_STEP_FREQUENCY_PENALTY];
  params.top_k = ints[SOUNDER_STEP_TOP_K];
  params.choice = ints[SOUNDER_STEP_CHOICE];
  params.prompt_tokens = ints[SOUNDER_STEP_PROMPT_TOKENS];
  params.seed = static_cast<uint32_t>(ints[SOUNDER_STEP_SEED_LOW]) |
                static_cast<uint64_t>(static_cast<uint32_t>(ints[SOUNDER_STEP_SEED_HIGH])) << 32;
  check_in("temperature", params.temperature, 0.0f, kLargest);
  check_in("top_p", params.top_p, 0.0f, 1.0f);
  check_in("min_p", params.min_p, 0.0f, 1.0f);
  check_in("repetition penalty", params.repetition_penalty, 1 / kLargest, kLargest);
  check_in("presence penalty", params.presence_penalty, -kLargest, kLargest);
  check_in("frequency penalty", params.frequency_penalty, -kLargest, kLargest);
  check_in("top_k", params.top_k, 0, INT32_MAX);
  check_in("number of prompt tokens", params.prompt_tokens, 0, INT32_MAX);
  read_bias(config, call, ints, params);
  int32_t row = ints[SOUNDER_STEP_ALLOWED_ROW];
  check_in("row of allowed tokens", row, -1, call.allowed_rows - 1);
  if (row >= 0) params.allowed = call.allowed_tokens + int64_t{row} * ((config.vocabulary + 31) / 32);
  return params;
}

}  // namespace

int check_step_call(const ModelConfig &config, const StepCall &call) {
  check_in("number of contexts in the step", call.sequences, 1, config.max_step_sequences);
  check_pointers(call);
  int64_t tokens = 0;
  for (int s = 0; s < call.sequences; ++s) {
    if (call.token_counts[s] < 1) {
      fail(SOUNDER_INVALID, "Context %d has %d new tokens; a step takes at least one.", call.contexts[s],
           call.token_counts[s]);
    }
    tokens += call.token_counts[s];
  }
  if (tokens > config.max_step_tokens) {
    fail(SOUNDER_INVALID, "The step has %lld tokens; this engine takes at most %d.",
         static_cast<long long>(tokens), config.max_step_tokens);
  }
  std::vector<int32_t> ids(call.contexts, call.contexts + call.sequences);
  std::sort(ids.begin(), ids.end());
  auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice != ids.end()) fail(SOUNDER_INVALID, "Context %d is in the step twice.", *twice);
  return static_cast<int>(tokens);
}

void clear_outputs(const StepCall &call, int tokens) {
  std::fill_n(call.statuses, call.sequences, SOUNDER_OK);
  std::fill_n(call.sampled, call.sequences, -1);
  std::fill_n(call.sampled_logprobs, call.sequences, 0.0f);
  std::fill_n(call.top_tokens, int64_t{call.sequences} * SOUNDER_MAX_ALTERNATIVES, -1);
  std::fill_n(call.top_logprobs, int64_t{call.sequences} * SOUNDER_MAX_ALTERNATIVES, 0.0f);
  std::fill_n(call.statistics, int64_t{call.sequences} * SOUNDER_STATISTIC_COUNT, 0.0f);
  std::fill_n(call.stage_ms, SOUNDER_STAGE_COUNT, 0.0f);
  int64_t given = int64_t{tokens} * SOUNDER_MAX_ALTERNATIVES;
  if (call.given_logprobs != nullptr) std::fill_n(call.given_logprobs, tokens, 0.0f);
  if (call.given_top_tokens != nullptr) std::fill_n(call.given_top_tokens, given, -1);
  if (call.given_top_logprobs != nullptr) std::fill_n(call.given_top_logprobs, given, 0.0f);
}

StepRequest read_request(const ModelConfig &config, const StepCall &call, int sequence) {
  const int32_t *ints = call.ints_of(sequence);
  check_in("sample flag", ints[SOUNDER_STEP_SAMPLE], 0, 1);
  check_in("score flag", ints[SOUNDER_STEP_SCORE], 0, 1);
  check_in("hidden flag", ints[SOUNDER_STEP_HIDDEN], 0, 1);
  check_in("stages flag", ints[SOUNDER_STEP_STAGES], 0, 1);
  check_in("number of alternatives", ints[SOUNDER_STEP_ALTERNATIVES], 0, SOUNDER_MAX_ALTERNATIVES);
  StepRequest request{};
  request.sample = ints[SOUNDER_STEP_SAMPLE] == 1;
  request.score = ints[SOUNDER_STEP_SCORE] == 1;
  request.hidden = ints[SOUNDER_STEP_HIDDEN] == 1;
  request.stages = ints[SOUNDER_STEP_STAGES] == 1;
  request.alternatives = ints[SOUNDER_STEP_ALTERNATIVES];
  request.next_token = ints[SOUNDER_STEP_NEXT_TOKEN];
  if (request.sample) request.sampling = read_sampling(config, call, sequence);
  request.attention = read_attention(config, ints, call.floats_of(sequence));
  if (request.score) {
    check_in("next token", request.next_token, -1, config.vocabulary - 1);
    if (call.given_logprobs == nullptr) fail(SOUNDER_INVALID, "Scoring takes the array given_logprobs.");
  }
  return request;
}

}  // namespace sounder
