// SPDX-License-Identifier: Apache-2.0
//
// Tokens that a GPU draws, beside those that the CPU's sampler draws of the same logits by the same seed.
// What may differ is a draw at the very border between two tokens, by the rounding of exp.
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "../check.h"
#include "cuda/buffer.h"
#include "cuda/draw_tokens.h"
#include "cuda/find_best.h"
#include "no_device.h"
#include "random.h"
#include "sampler.h"

using namespace sounder;
using namespace sounder::cuda;

namespace {

template <typename T>
Buffer uploaded(const std::vector<T> &values) {
  Buffer buffer(int64_t(values.size() * sizeof(T)), "hold values");
  cuda::check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
              "upload");
  return buffer;
}

// A row of logits, who draws of it, and at what position.
struct Case {
  std::vector<float> logits;
  SamplingParams params;
  int position;
};

SamplingParams params_of(float temperature, int top_k, float top_p, float min_p, uint64_t seed) {
  SamplingParams p{};
  p.repetition_penalty = 1;
  p.temperature = temperature;
  p.top_k = top_k;
  p.top_p = top_p;
  p.min_p = min_p;
  p.seed = seed;
  p.choice = static_cast<int>(seed % 3);
  return p;
}

std::vector<ChosenToken> draw(const std::vector<Case> &cases) {
  const int rows = static_cast<int>(cases.size()), vocabulary = static_cast<int>(cases[0].logits.size());
  std::vector<float> logits;
  std::vector<Row> places;
  std::vector<TokenChoice> choices;
  for (const Case &c : cases) {
    logits.insert(logits.end(), c.logits.begin(), c.logits.end());
    places.push_back({0, c.position, 0, 0});
    choices.push_back(*plain_choice(c.params));
  }
  const Buffer values = uploaded(logits), row_list = uploaded(places), choice_list = uploaded(choices);
  const Buffer parts(int64_t(rows) * kBestParts * int64_t(sizeof(BestPart)), "hold parts");
  std::vector<ChosenToken> chosen(cases.size());
  const Buffer found = uploaded(chosen);
  const float *on_device = reinterpret_cast<const float *>(values.data());
  ChosenToken *out = reinterpret_cast<ChosenToken *>(found.data());
  find_best(nullptr, on_device, rows, vocabulary, reinterpret_cast<BestPart *>(parts.data()), out);
  draw_tokens(nullptr, on_device, rows, vocabulary, reinterpret_cast<const Row *>(row_list.data()),
              reinterpret_cast<const TokenChoice *>(choice_list.data()), out);
  cuda::check(cudaMemcpy(chosen.data(), out, chosen.size() * sizeof(ChosenToken), cudaMemcpyDeviceToHost),
              "read tokens");
  return chosen;
}

ChosenToken draw_on_cpu(const Case &c) {
  const char *problem = nullptr;
  const Sampler sampler(*choose_level(&problem), static_cast<int>(c.logits.size()), 1);
  double log_sum = 0;
  CHECK(sampler.log_sum_exp(c.logits.data(), &log_sum));
  const int32_t token = sampler.choose(c.logits.data(), c.params, {nullptr, c.position + 1, nullptr, 0}, 0);
  return {token, static_cast<float>(c.logits[size_t(token)] - log_sum)};
}

float uniform(uint64_t seed, uint64_t i) { return float(random_uniform(random_bits(seed, 5, i))); }

std::vector<float> logits_of(int vocabulary, const std::function<float(float)> &make, uint64_t seed) {
  std::vector<float> logits(static_cast<size_t>(vocabulary));
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = make(uniform(seed, i));
  return logits;
}

// Of so many draws, those that differ.
int differing(const std::vector<Case> &cases) {
  const std::vector<ChosenToken> drawn = draw(cases);
  int differ = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const ChosenToken expected = draw_on_cpu(cases[i]);
    if (drawn[i].token != expected.token)
      ++differ;
    else
      CHECK_NEAR(drawn[i].logprob, expected.logprob, 1e-4 + 1e-6 * std::fabs(expected.logprob));
  }
  return differ;
}

// What logits may look like: u is uniform.
const std::function<float(float)> kShapes[] = {
    [](float u) { return 8 * u - 4 + (u > 0.99f ? 6.0f : 0.0f); },  // noise, and a few far above it
    [](float u) { return std::floor(4 * u); },                      // many ties
    [](float) { return -3.0f; },                                    // nothing else
    [](float u) { return u < 0.5f ? -1e6f : 1e4f * u; },            // far apart
    [](float u) { return -std::log(1 - u); },                       // a long tail
    [](float u) { return 20 + 1e-4f * u; },                         // close together
};

}  // namespace

TEST("a GPU draws the token that the CPU's sampler draws, whatever is cut off") {
  const float temperatures[] = {0.01f, 0.7f, 1, 3, 100, 1e6f}, nuclei[] = {1, 0.95f, 0.5f, 1e-6f, 0};
  const float least[] = {0, 0, 0.05f, 0.9f, 1};
  int draws = 0, differ = 0;
  uint64_t seed = 0;
  for (const int vocabulary : {1, 2, 63, 1025, 5003, 49152}) {
    const int kept[] = {0, 0, 2, 5, 40, 1000, vocabulary - 1, vocabulary, vocabulary + 9};
    for (const auto &shape : kShapes) {
      std::vector<Case> cases;
      for (int i = 0; i < (vocabulary > 6000 ? 1 : 4); ++i) {
        ++seed;
        auto one_of = [&](const auto &list, uint64_t what) {
          return list[random_bits(seed, what, 1) % std::size(list)];
        };
        cases.push_back(
            {logits_of(vocabulary, shape, seed),
             params_of(one_of(temperatures, 1), one_of(kept, 2), one_of(nuclei, 3), one_of(least, 4), seed),
             static_cast<int>(100 + seed)});
      }
      draws += static_cast<int>(cases.size());
      differ += differing(cases);
    }
  }
  std::printf("  %d of %d draws differ\n", differ, draws);
  CHECK(draws > 100 && differ <= draws / 100);
}

TEST("each cut alone, over many seeds, at the size of a large vocabulary") {
  int draws = 0, differ = 0;
  const std::vector<float> logits = logits_of(128256, kShapes[0], 7);
  for (const auto &[top_k, top_p, min_p] :
       {std::tuple{0, 1.0f, 0.0f}, {50, 1.0f, 0.0f}, {0, 0.9f, 0.0f}, {0, 1.0f, 0.02f}, {3000, 0.8f, 0.0f}}) {
    std::vector<Case> cases;
    for (uint64_t seed = 1; seed < 4; ++seed)
      cases.push_back({logits, params_of(0.8f, top_k, top_p, min_p, seed << 35), int(1000 * seed)});
    draws += static_cast<int>(cases.size());
    differ += differing(cases);
  }
  std::printf("  %d of %d draws differ\n", differ, draws);
  CHECK(differ <= draws / 20);
}

TEST("greedy rows beside it keep their best token, rows with NaN or infinity have none") {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinite = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinite, -infinite}) {
    std::vector<Case> cases;
    for (const float temperature : {1.0f, 0.0f, 1.0f, 1.0f})
      cases.push_back({logits_of(3000, kShapes[0], 3), params_of(temperature, 0, 0.9f, 0, 5), 12});
    cases[3].logits[777] = bad;
    const std::vector<ChosenToken> drawn = draw(cases);
    CHECK(drawn[0].token == draw_on_cpu(cases[0]).token && drawn[2].token == drawn[0].token);
    CHECK(drawn[1].token == draw_on_cpu(cases[1]).token && drawn[1].token != drawn[0].token);
    CHECK(drawn[3].token == -1);
  }
}
