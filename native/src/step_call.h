// SPDX-License-Identifier: Apache-2.0
//
// The arguments of sounder_step, and what can be wrong with them.
#pragma once

#include <cstdint>

#include "model.h"
#include "sampled/params.h"
#include "sampler.h"
#include "sounder.h"

namespace sounder {

// The fields are the parameters of sounder_step.
struct StepCall {
  int32_t sequences;
  const int32_t *contexts;
  const int32_t *token_counts;
  const int32_t *tokens;
  const int32_t *ints;
  const float *floats;
  const int32_t *bias_tokens;
  const float *bias_values;
  int32_t bias_count;
  const uint32_t *allowed_tokens;
  int32_t allowed_rows;
  int32_t *statuses;
  int32_t *sampled;
  float *sampled_logprobs;
  int32_t *top_tokens;
  float *top_logprobs;
  float *given_logprobs;
  int32_t *given_top_tokens;
  float *given_top_logprobs;
  float *statistics;
  float *stage_ms;

  const int32_t *ints_of(int sequence) const { return ints + int64_t{sequence} * SOUNDER_STEP_INT_COUNT; }
  const float *floats_of(int sequence) const { return floats + int64_t{sequence} * SOUNDER_STEP_FLOAT_COUNT; }
};

// Fails when the call as a whole is wrong; returns the number of tokens, T.
int check_step_call(const ModelConfig &config, const StepCall &call);

// Every output as if nothing had run.
void clear_outputs(const StepCall &call, int tokens);

// What one sequence asks for. Fails with SOUNDER_INVALID when its numbers are wrong.
struct StepRequest {
  bool sample;
  bool score;
  bool hidden;
  bool stages;
  int alternatives;
  int32_t next_token;
  SamplingParams sampling;
  SampledParams attention;
};
StepRequest read_request(const ModelConfig &config, const StepCall &call, int sequence);

// How a sequence attends, from its rows of ints and floats. Fails with SOUNDER_INVALID when a number is wrong
// or the engine has not the index that it takes.
SampledParams read_attention(const ModelConfig &config, const int32_t *ints, const float *floats);

// The statistics of a token that sees so many keys, [SOUNDER_STATISTIC_COUNT]. window: the model's, 0 for
// none; layers: how many it attended in, whether they sampled or not.
void write_statistics(int keys, int window, int layers, const SampledParams &params,
                      const SampledStatistics &sampled, float *statistics);

// The parameters of sounder_attend.
struct AttendCall {
  int32_t context;
  int32_t layer;
  const int32_t *ints;
  const float *floats;
  const float *q;
  float *output;
  float *statistics;
  float *scores;
};

}  // namespace sounder
