// SPDX-License-Identifier: Apache-2.0
//
// Which choices of a token a device can make too.
#include <cmath>

#include "check.h"
#include "sampler.h"

using sounder::SamplingParams;

TEST("a choice is plain when nothing but the logits decides, and greedy ones are all alike") {
  SamplingParams params{};
  params.repetition_penalty = params.top_p = 1;
  params.temperature = 0.5f;
  params.top_k = 40;
  params.min_p = 0.1f;
  const std::optional<sounder::TokenChoice> choice = sounder::plain_choice(params);
  CHECK(choice && choice->factor == 2 && choice->top_k == 40);
  CHECK_NEAR(choice->farthest, std::log(10.0), 1e-6);
  for (float SamplingParams::*penalty :
       {&SamplingParams::repetition_penalty, &SamplingParams::presence_penalty,
        &SamplingParams::frequency_penalty}) {
    SamplingParams other = params;
    other.*penalty = 0.5f;
    CHECK(!sounder::plain_choice(other));
  }
  SamplingParams masked = params, biased = params;
  const uint32_t allowed = 1;
  masked.allowed = &allowed;
  biased.bias_count = 1;
  CHECK(!sounder::plain_choice(masked) && !sounder::plain_choice(biased));
  params.top_k = 1;
  CHECK(sounder::plain_choice(params)->factor == 0 && sounder::plain_choice(params)->seed == 0);
  params.top_k = 0;
  params.temperature = 1e-6f;
  CHECK(sounder::plain_choice(params)->factor == 0);
}
