// SPDX-License-Identifier: Apache-2.0
//
// The best token of a row of logits, beside what the CPU's sampler makes of it.
#include <cmath>
#include <limits>
#include <vector>

#include "../check.h"
#include "cuda/buffer.h"
#include "cuda/find_best.h"
#include "no_device.h"
#include "sampler.h"

using namespace sounder;
using namespace sounder::cuda;

namespace {

std::vector<ChosenToken> find(const std::vector<float> &logits, int rows) {
  const int vocabulary = static_cast<int>(logits.size()) / rows;
  const Buffer values(int64_t(logits.size()) * 4, "hold logits");
  const Buffer parts(int64_t(rows) * kBestParts * int64_t(sizeof(BestPart)), "hold parts");
  const Buffer best(int64_t(rows) * int64_t(sizeof(ChosenToken)), "hold tokens");
  cuda::check(cudaMemcpy(values.data(), logits.data(), logits.size() * 4, cudaMemcpyHostToDevice), "upload");
  find_best(nullptr, reinterpret_cast<const float *>(values.data()), rows, vocabulary,
            reinterpret_cast<BestPart *>(parts.data()), reinterpret_cast<ChosenToken *>(best.data()));
  std::vector<ChosenToken> found(static_cast<size_t>(rows));
  cuda::check(
      cudaMemcpy(found.data(), best.data(), found.size() * sizeof(ChosenToken), cudaMemcpyDeviceToHost),
      "read tokens");
  return found;
}

// Noise with a few values far above it.
std::vector<float> logits_of(int count, int seed) {
  std::vector<float> logits(static_cast<size_t>(count));
  uint32_t state = static_cast<uint32_t>(seed) * 2654435761u + 1;
  for (float &x : logits) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(state >> 8) / 16777216.0f * 8 - 4 + (state % 97 == 0 ? 6.0f : 0.0f);
  }
  return logits;
}

}  // namespace

TEST("a GPU takes the token that the CPU's sampler takes, with its log-probability") {
  for (const int vocabulary : {1, 5, 63, 64, 65, 256, 257, 1000, 16640, 49152, 128256}) {
    const char *problem = nullptr;
    const Sampler sampler(*choose_level(&problem), vocabulary, 1);
    const int rows = 3;
    const std::vector<float> logits = logits_of(rows * vocabulary, vocabulary);
    const std::vector<ChosenToken> found = find(logits, rows);
    for (int row = 0; row < rows; ++row) {
      const float *own = logits.data() + int64_t{row} * vocabulary;
      SamplingParams params{};
      params.top_p = params.repetition_penalty = 1;
      double log_sum = 0;
      CHECK(sampler.log_sum_exp(own, &log_sum));
      const int32_t expected = sampler.choose(own, params, {}, 0);
      CHECK(found[size_t(row)].token == expected);
      CHECK_NEAR(found[size_t(row)].logprob, own[expected] - log_sum, 1e-5);
    }
  }
}

TEST("of equal logits the lowest token is taken") {
  std::vector<float> logits(4000, -2.0f);
  for (const int token : {3999, 1500, 700, 701}) {
    logits[size_t(token)] = 3;
    CHECK(find(logits, 1)[0].token == std::min(token, token == 701 ? 700 : token));
  }
  CHECK(find(std::vector<float>(130, -1e30f), 1)[0].token == 0);
}

TEST("a row with a logit that is NaN or infinite has no best token, its neighbours have theirs") {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinite = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinite, -infinite})
    for (const int at : {0, 777, 999}) {
      std::vector<float> logits = logits_of(3000, 1);
      logits[size_t(1000 + at)] = bad;
      const std::vector<ChosenToken> found = find(logits, 3);
      CHECK(found[0].token >= 0 && found[1].token == -1 && found[2].token >= 0);
    }
}
