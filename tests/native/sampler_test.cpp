// SPDX-License-Identifier: Apache-2.0
//
// The sampler against a plain one that sorts everything in double precision.
#include "sampler.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "check.h"
#include "random.h"

namespace {

using sounder::SamplingParams;

const sounder::Kernels &kernels() {
  const char *problem = nullptr;
  const sounder::Kernels *level = sounder::choose_level(&problem);
  if (level == nullptr) std::printf("%s\n", problem), std::exit(1);
  return *level;
}

SamplingParams plain_params() {
  SamplingParams params{};
  params.temperature = params.top_p = params.repetition_penalty = 1;
  return params;
}

std::vector<float> random_logits(int n, uint64_t seed, double spread) {
  std::vector<float> logits;
  for (int i = 0; i < n; ++i) {
    double u = sounder::random_uniform(sounder::random_bits(seed, 1, uint64_t(i)));
    double v = sounder::random_uniform(sounder::random_bits(seed, 2, uint64_t(i)));
    double normal = std::sqrt(-2 * std::log(1 - u)) * std::cos(6.283185307179586 * v);
    // A coarse grid makes ties.
    logits.push_back(static_cast<float>(std::round(spread * normal * 16) / 16));
  }
  return logits;
}

struct Plain {
  std::vector<int32_t> kept;    // tokens that survive the cuts, ascending
  std::vector<double> weights;  // theirs
  double boundary =
      INFINITY;  // distance of the cumulated weight from top_p at the cut: near 0 is a coin flip
};

// Temperature, top-k, top-p, min-p by definition, over a full sort.
Plain cut(const std::vector<float> &logits, const SamplingParams &params) {
  int n = int(logits.size());
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  double top = logits[order[0]];
  auto weight = [&](int32_t token) { return std::exp((logits[token] - top) / double{params.temperature}); };
  if (params.top_k > 0) order.resize(size_t(std::min(n, params.top_k)));
  double total = 0, sum = 0;
  for (int32_t token : order) total += weight(token);
  Plain plain;
  for (size_t i = 0; i < order.size(); ++i) {
    if (params.top_p < 1 && i > 0 && sum >= params.top_p * total) break;
    if (weight(order[i]) < params.min_p) break;
    plain.kept.push_back(order[i]);
    sum += weight(order[i]);
    if (params.top_p < 1) plain.boundary = std::min(plain.boundary, std::fabs(sum / total - params.top_p));
    if (params.min_p > 0 && weight(order[i]) < params.min_p * 1.001) plain.boundary = 0;
  }
  std::sort(plain.kept.begin(), plain.kept.end());
  for (int32_t token : plain.kept) plain.weights.push_back(weight(token));
  return plain;
}

// The token at a uniform number, and whether rounding may take its neighbour.
std::pair<int32_t, bool> pick(const Plain &plain, double uniform) {
  double total = std::accumulate(plain.weights.begin(), plain.weights.end(), 0.0), target = uniform * total;
  for (size_t i = 0; i < plain.kept.size(); ++i) {
    bool near = std::fabs(target) < 1e-5 * total || std::fabs(target - plain.weights[i]) < 1e-5 * total;
    target -= plain.weights[i];
    if (target < 0) return {plain.kept[i], near};
  }
  return {plain.kept.back(), true};
}

}  // namespace

TEST("temperature, top-k, top-p and min-p choose what a full sort chooses") {
  int compared = 0;
  for (int n : {1, 5, 70, 2000}) {
    sounder::Sampler sampler(kernels(), n, 1);
    for (uint64_t seed = 0; seed < 1500; ++seed) {
      auto of = [&](uint64_t what, uint64_t below) { return sounder::random_bits(seed, 9, what) % below; };
      SamplingParams params = plain_params();
      params.temperature = std::array{0.3f, 1.0f, 2.5f}[of(0, 3)];
      params.top_k = std::array{0, 2, 40, 1000, 100000}[of(1, 5)];
      params.top_p = std::array{1.0f, 0.95f, 0.5f, 0.0f, 0.999f}[of(2, 5)];
      params.min_p = std::array{0.0f, 0.0f, 0.05f, 1.0f}[of(3, 4)];
      params.seed = seed;
      params.choice = int(seed % 3);
      std::vector<float> logits = random_logits(n, seed, 0.2 + double(of(4, 40)) / 10);
      int32_t history_tokens[] = {0, 0, 0};
      sounder::TokenHistory history{history_tokens, int(seed % 3), nullptr, 0};
      Plain plain = cut(logits, params);
      double uniform = sounder::random_uniform(
          sounder::random_bits(seed, uint64_t(params.choice), uint64_t(history.count())));
      auto [expected, near] = pick(plain, uniform);
      int32_t token = sampler.choose(logits.data(), params, history, 0);
      if (near || plain.boundary < 1e-5) continue;
      CHECK(token == expected);
      ++compared;
    }
  }
  CHECK(compared > 4000);
}

TEST("frequencies over seeds lie in the binomial interval of their probability") {
  const int n = 6, draws = 40000;
  sounder::Sampler sampler(kernels(), n, 1);
  std::vector<float> logits = {0, 1, 2, -1, 0.5f, -20};
  for (float top_p : {1.0f, 0.99999f}) {  // the path over all tokens, and the one over candidates
    SamplingParams params = plain_params();
    params.top_p = top_p;
    std::vector<int> counts(n);
    for (int i = 0; i < draws; ++i) {
      params.seed = uint64_t(i);
      ++counts[sampler.choose(logits.data(), params, {nullptr, 0, nullptr, 0}, 0)];
    }
    double total = 0;
    for (float logit : logits) total += std::exp(logit);
    for (int i = 0; i < n; ++i) {
      double p = std::exp(logits[i]) / total;
      CHECK_NEAR(counts[i], draws * p, 4.5 * std::sqrt(draws * p * (1 - p)) + 1);
    }
  }
}

TEST("a draw depends on seed, choice and position, and on nothing else") {
  const int n = 5000;
  sounder::Sampler sampler(kernels(), n, 2);
  std::vector<float> logits = random_logits(n, 3, 0.5);
  std::vector<int32_t> tokens(10, 7);
  SamplingParams params = plain_params();
  auto choose = [&](uint64_t seed, int choice, int position, int thread) {
    params.seed = seed;
    params.choice = choice;
    return sampler.choose(logits.data(), params, {tokens.data(), position, nullptr, 0}, thread);
  };
  int32_t first = choose(1, 0, 4, 0);
  CHECK(choose(1, 0, 4, 1) == first);
  // The same history, split otherwise between context and step.
  params.choice = 0;
  CHECK(sampler.choose(logits.data(), params, {tokens.data(), 1, tokens.data(), 3}, 0) == first);
  CHECK(choose(2, 0, 4, 0) != first);
  CHECK(choose(1, 1, 4, 0) != first);
  CHECK(choose(1, 0, 5, 0) != first);
  CHECK(choose(uint64_t{1} << 40, 0, 4, 0) != first);
}

TEST("greedy takes the best token, of equal ones the lowest, and so do tiny temperatures and top-k 1") {
  const int n = 300;
  sounder::Sampler sampler(kernels(), n, 1);
  std::vector<float> logits(n, -1);
  logits[299] = logits[150] = logits[37] = 2.5f;
  SamplingParams params = plain_params();
  params.temperature = 0;
  CHECK(sampler.choose(logits.data(), params, {nullptr, 0, nullptr, 0}, 0) == 37);
  params.temperature = 1e-30f;
  CHECK(sampler.choose(logits.data(), params, {nullptr, 0, nullptr, 0}, 0) == 37);
  params.temperature = 1;
  params.top_k = 1;
  CHECK(sampler.choose(logits.data(), params, {nullptr, 0, nullptr, 0}, 0) == 37);
}

TEST("penalties are the formulas of their names, over prompt or generated tokens") {
  const int n = 40;
  sounder::Sampler sampler(kernels(), n, 1);
  // Greedy between one penalised token and a rival whose logit brackets the expected one.
  std::vector<int32_t> context = {3, 4, 4, 5}, added = {4, 6};
  auto beats = [&](const SamplingParams &params, int token, float logit, float rival) {
    std::vector<float> logits(n, -1000);
    logits[token] = logit;
    logits[30] = rival;
    return sampler.choose(logits.data(), params, {context.data(), 4, added.data(), 2}, 0) == token;
  };
  auto expect = [&](const SamplingParams &params, int token, float logit, float penalised) {
    CHECK(beats(params, token, logit, penalised - 1e-3f));
    CHECK(!beats(params, token, logit, penalised + 1e-3f));
  };
  SamplingParams params = plain_params();
  params.temperature = 0;
  params.prompt_tokens = 2;  // 3 and a first 4; generated are 4, 5, 4, 6
  params.repetition_penalty = 2;
  expect(params, 3, 5, 2.5f);
  expect(params, 3, -5, -10);
  expect(params, 6, 5, 2.5f);
  expect(params, 7, 5, 5);
  params.presence_penalty = 1;
  params.frequency_penalty = 0.25f;
  expect(params, 3, 5, 2.5f);
  expect(params, 4, 5, 2.5f - 1 - 2 * 0.25f);
  expect(params, 5, 5, 2.5f - 1 - 0.25f);
  params.repetition_penalty = 1;
  expect(params, 4, 5, 5 - 1 - 2 * 0.25f);
  expect(params, 3, 5, 5);
  params.prompt_tokens = 100;  // more than there are
  expect(params, 4, 5, 5);
  // Bias comes before penalties.
  int32_t biased = 4;
  float bias = 3;
  params = plain_params();
  params.temperature = 0;
  params.repetition_penalty = 2;
  params.bias_tokens = &biased;
  params.bias_values = &bias;
  params.bias_count = 1;
  expect(params, 4, 5, 4);
}

TEST("a mask is obeyed by every way of choosing") {
  const int n = 1000;
  sounder::Sampler sampler(kernels(), n, 1);
  std::vector<float> logits = random_logits(n, 8, 3);
  std::vector<uint32_t> mask((n + 31) / 32, 0);
  auto allow = [&](int token) { mask[token / 32] |= 1u << token % 32; };
  SamplingParams params = plain_params();
  params.allowed = mask.data();
  CHECK(sampler.choose(logits.data(), params, {nullptr, 0, nullptr, 0}, 0) == -1);
  allow(3), allow(512), allow(999);
  for (uint64_t seed = 0; seed < 400; ++seed) {
    params.seed = seed;
    params.temperature = seed % 5 == 0 ? 0 : 3;
    params.top_k = seed % 2 == 0 ? 0 : 700;
    params.top_p = seed % 3 == 0 ? 1 : 0.999f;
    params.min_p = seed % 7 == 0 ? 1e-6f : 0;
    int32_t token = sampler.choose(logits.data(), params, {nullptr, 0, nullptr, 0}, 0);
    CHECK(token == 3 || token == 512 || token == 999);
  }
  // Huge biases neither break the mask nor overflow.
  int32_t biased[] = {5, 3};
  float values[] = {3e38f, -3e38f};
  params.bias_tokens = biased;
  params.bias_values = values;
  params.bias_count = 2;
  params.temperature = 0;
  int32_t token = sampler.choose(logits.data(), params, {nullptr, 0, nullptr, 0}, 0);
  CHECK(token == (logits[512] >= logits[999] ? 512 : 999));
}

TEST("log-probabilities and the most likely tokens are those of the raw distribution") {
  for (int n : {3, 50, 3000}) {
    sounder::Sampler sampler(kernels(), n, 1);
    std::vector<float> logits = random_logits(n, uint64_t(n), 4);
    double log_sum, expected = 0;
    CHECK(sampler.log_sum_exp(logits.data(), &log_sum));
    for (float logit : logits) expected += std::exp(double{logit});
    CHECK_NEAR(log_sum, std::log(expected), 1e-5);
    std::vector<int32_t> order(logits.size()), tokens(20);
    std::vector<float> logprobs(20);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
    for (int count : {0, 1, 7, 20}) {
      std::fill(tokens.begin(), tokens.end(), -7);
      sampler.most_likely(logits.data(), log_sum, count, 0, tokens.data(), logprobs.data());
      for (int i = 0; i < 20; ++i) {
        CHECK(tokens[i] == (i >= count ? -7 : i < n ? order[i] : -1));
        if (i < count && i < n) CHECK_NEAR(logprobs[i], logits[order[i]] - std::log(expected), 1e-4);
      }
    }
  }
}

TEST("a NaN or an infinity anywhere is found") {
  for (int n : {1, 17, 1000}) {
    sounder::Sampler sampler(kernels(), n, 1);
    double log_sum;
    for (float bad : {float(NAN), float(INFINITY), -float(INFINITY)}) {
      for (int at : {0, n / 2, n - 1}) {
        std::vector<float> logits(size_t(n), 1.0f);
        CHECK(sampler.log_sum_exp(logits.data(), &log_sum));
        logits[size_t(at)] = bad;
        CHECK(!sampler.log_sum_exp(logits.data(), &log_sum));
      }
    }
  }
}
