// SPDX-License-Identifier: Apache-2.0
//
// From logits to a token. Every random draw is a function of (seed, choice, position): what else is in the
// batch can change it only by the rounding of the logits.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/kernels.h"
#include "memory.h"
#include "token_choice.h"

namespace sounder {

// How the next token of a sequence is chosen, checked. The fields are those of enum sounder_step_int and
// sounder_step_float.
struct SamplingParams {
  float temperature;
  float top_p;
  float min_p;
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  int top_k;
  int choice;
  int prompt_tokens;
  uint64_t seed;
  const int32_t *bias_tokens;  // [bias_count]
  const float *bias_values;
  int bias_count;
  const uint32_t *allowed;  // bit mask over the vocabulary, or nullptr
};

// The choice as one that a device can make too; nullopt where the sampler must look at more than the logits.
std::optional<TokenChoice> plain_choice(const SamplingParams &params);

// The tokens that precede the one to choose: those of the context, then those of this step.
struct TokenHistory {
  const int32_t *context;
  int context_count;
  const int32_t *added;
  int added_count;

  int count() const { return context_count + added_count; }
  int32_t operator[](int i) const { return i < context_count ? context[i] : added[i - context_count]; }
};

struct Candidate {
  float value;
  int32_t token;
};

class Sampler {
 public:
  Sampler(const Kernels &kernels, int vocabulary, int threads);

  // Its scratch: a part of the memory formula.
  static int64_t workspace_bytes(int vocabulary, int threads);

  // The logarithm of the sum of exp(logits) into *log_sum; false when a logit is NaN or infinite.
  bool log_sum_exp(const float *logits, double *log_sum) const;

  // The count most likely tokens, best first; rows are filled with -1 and 0 past the vocabulary's end.
  void most_likely(const float *logits, double log_sum, int count, int thread, int32_t *tokens,
                   float *logprobs) const;

  // The next token, or -1 when none is allowed. thread: whose scratch is used.
  int32_t choose(const float *logits, const SamplingParams &params, const TokenHistory &history,
                 int thread) const;

 private:
  struct Scratch {
    float *values;          // [V]
    int32_t *counts;        // [V], zero between calls
    Candidate *candidates;  // [V]
    Candidate *ordered;     // [V]
  };
  Scratch scratch(int thread) const;

  const float *adjusted(const float *logits, const SamplingParams &params, const TokenHistory &history,
                        const Scratch &scratch) const;
  void penalize(const SamplingParams &params, const TokenHistory &history, const Scratch &scratch) const;
  int32_t first_with_value(const float *values, float value) const;
  int32_t draw(const SamplingParams &params, double uniform, const Scratch &scratch) const;
  int32_t draw_from_all(const float *values, double uniform) const;

  const Kernels &kernels_;
  int vocabulary_;
  Mapping memory_;
};

}  // namespace sounder
