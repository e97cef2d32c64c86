// SPDX-License-Identifier: Apache-2.0
//
// No step sorts the vocabulary: cuts are found by selection over the few tokens that can survive them.
// Cuts are taken in the order temperature, top-k, top-p, min-p, as Hugging Face does.
#include "sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "random.h"

namespace sounder {

namespace {

// Below this a temperature is greedy: 1 / temperature stays far from float32's end.
constexpr float kGreedyBelow = 1e-5f;
// Logit of a token that must not be chosen; below every logit that adjustments leave.
constexpr float kForbidden = -1e30f;
// Scaled logits are (logit - max) / temperature; exp of this and less is 0 in float32.
constexpr float kNegligible = -1e4f;
constexpr int kDrawBlock = 512;

// Best first; of equal values the lower token.
bool better(const Candidate &a, const Candidate &b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

bool lower_token(const Candidate &a, const Candidate &b) { return a.token < b.token; }

// Collects the best `keep` of values above floor into held (room for min(n, max(2 keep, 64))), unordered.
int collect_best(const float *values, int n, int keep, float floor, Candidate *held) {
  int room = static_cast<int>(std::min<int64_t>(n, std::max<int64_t>(int64_t{2} * keep, 64)));
  int count = 0;
  for (int i = 0; i < n; ++i) {
    if (!(values[i] > floor)) continue;
    if (count == room) {
      std::nth_element(held, held + keep - 1, held + count, better);
      count = keep;
      // A later token with the same value would lose, so only greater ones come in from here on.
      floor = held[keep - 1].value;
      if (!(values[i] > floor)) continue;
    }
    held[count++] = {values[i], i};
  }
  if (count > keep) std::nth_element(held, held + keep - 1, held + count, better);
  return std::min(count, keep);
}

double weight(const Candidate &candidate) { return std::exp(static_cast<double>(candidate.value)); }

double total_weight(const Candidate *from, const Candidate *to) {
  double sum = 0;
  for (; from != to; ++from) sum += weight(*from);
  return sum;
}

// The last of the best candidates whose weights reach target together: quickselect by weight, expected
// linear in their number. Reorders them.
Candidate nucleus_end(Candidate *first, Candidate *last, double target) {
  while (last - first > 16) {
    Candidate *middle = first + (last - first) / 2;
    Candidate pivot = std::max(std::min(*first, *middle, better),
                               std::min(std::max(*first, *middle, better), *(last - 1), better), better);
    Candidate *split = std::partition(first, last, [&](const Candidate &c) { return better(c, pivot); });
    double above = total_weight(first, split);
    if (above >= target && split != first) {
      last = split;
    } else {
      // The pivot is the best of the rest: put it first, so that each round removes at least one.
      std::iter_swap(split,
                     std::find_if(split, last, [&](const Candidate &c) { return c.token == pivot.token; }));
      target -= above + weight(*split);
      if (target <= 0) return *split;
      first = split + 1;
      if (first == last) return *split;
    }
  }
  std::sort(first, last, better);
  for (Candidate *c = first;; ++c) {
    target -= weight(*c);
    if (target <= 0 || c + 1 == last) return *c;
  }
}

int64_t scratch_bytes(int vocabulary) {
  return int64_t{vocabulary} * (sizeof(float) + sizeof(int32_t) + 2 * sizeof(Candidate));
}

}  // namespace

int64_t Sampler::workspace_bytes(int vocabulary, int threads) { return scratch_bytes(vocabulary) * threads; }

Sampler::Sampler(const Kernels &kernels, int vocabulary, int threads)
    : kernels_(kernels),
      vocabulary_(vocabulary),
      memory_(workspace_bytes(vocabulary, threads), "the sampler") {}

namespace {

bool has_penalties(const SamplingParams &p) {
  return p.repetition_penalty != 1 || p.presence_penalty != 0 || p.frequency_penalty != 0;
}

bool is_greedy(const SamplingParams &p) { return p.temperature < kGreedyBelow || p.top_k == 1; }

}  // namespace

std::optional<TokenChoice> plain_choice(const SamplingParams &p) {
  if (has_penalties(p) || p.bias_count > 0 || p.allowed != nullptr) return std::nullopt;
  if (is_greedy(p)) return TokenChoice{};
  return TokenChoice{p.seed, p.choice, 1 / p.temperature, p.top_k, p.top_p, -std::log(p.min_p)};
}

Sampler::Scratch Sampler::scratch(int thread) const {
  char *start = static_cast<char *>(memory_.data()) + thread * scratch_bytes(vocabulary_);
  Candidate *candidates = reinterpret_cast<Candidate *>(start);
  float *values = reinterpret_cast<float *>(candidates + 2 * int64_t{vocabulary_});
  return {values, reinterpret_cast<int32_t *>(values + vocabulary_), candidates, candidates + vocabulary_};
}

bool Sampler::log_sum_exp(const float *logits, double *log_sum) const {
  uint32_t bad = 0;
  for (int i = 0; i < vocabulary_; ++i) {
    uint32_t bits;
    std::memcpy(&bits, logits + i, 4);
    bad |= (bits & 0x7f800000) == 0x7f800000 ? 1 : 0;
  }
  if (bad != 0) return false;
  float maximum = kernels_.maximum(logits, vocabulary_);
  *log_sum = maximum + std::log(kernels_.sum_exp(logits, vocabulary_, maximum));
  return true;
}

void Sampler::most_likely(const float *logits, double log_sum, int count, int thread, int32_t *tokens,
                          float *logprobs) const {
  Candidate *held = scratch(thread).candidates;
  int keep = std::min(count, vocabulary_);
  int found = keep == 0 ? 0 : collect_best(logits, vocabulary_, keep, -INFINITY, held);
  std::sort(held, held + found, better);
  for (int i = 0; i < count; ++i) {
    tokens[i] = i < found ? held[i].token : -1;
    logprobs[i] = i < found ? static_cast<float>(held[i].value - log_sum) : 0;
  }
}

void Sampler::penalize(const SamplingParams &params, const TokenHistory &history,
                       const Scratch &scratch) const {
  float *values = scratch.values;
  int32_t *counts = scratch.counts;
  bool repetition = params.repetition_penalty != 1;
  int prompt = std::min(params.prompt_tokens, history.count());
  // counts[t]: 1 + how often t was generated, 0 where it never occurred and nothing is to do.
  for (int i = repetition ? 0 : prompt; i < history.count(); ++i) {
    int32_t &count = counts[history[i]];
    if (count == 0) count = 1;
    if (i >= prompt) ++count;
  }
  for (int i = repetition ? 0 : prompt; i < history.count(); ++i) {
    int32_t token = history[i], count = counts[token];
    if (count == 0) continue;
    counts[token] = 0;
    float &value = values[token];
    if (repetition) value = value > 0 ? value / params.repetition_penalty : value * params.repetition_penalty;
    if (count > 1)
      value -= params.presence_penalty + params.frequency_penalty * static_cast<float>(count - 1);
  }
}

// The logits after bias, penalties and the mask; the given ones where nothing changes them.
const float *Sampler::adjusted(const float *logits, const SamplingParams &params, const TokenHistory &history,
                               const Scratch &scratch) const {
  const bool penalties = has_penalties(params);
  if (params.bias_count == 0 && params.allowed == nullptr && !penalties) return logits;
  float *values = scratch.values;
  std::memcpy(values, logits, static_cast<size_t>(vocabulary_) * sizeof(float));
  for (int i = 0; i < params.bias_count; ++i) values[params.bias_tokens[i]] += params.bias_values[i];
  if (penalties) penalize(params, history, scratch);
  // Extreme bias and penalties stay below infinity and above what is forbidden.
  for (int i = 0; i < vocabulary_; ++i) values[i] = std::clamp(values[i], kForbidden / 2, -kForbidden / 2);
  if (params.allowed != nullptr) {
    for (int i = 0; i < vocabulary_; ++i) {
      if ((params.allowed[i / 32] >> (i % 32) & 1) == 0) values[i] = kForbidden;
    }
  }
  return values;
}

int32_t Sampler::first_with_value(const float *values, float value) const {
  return static_cast<int32_t>(std::find(values, values + vocabulary_, value) - values);
}

int32_t Sampler::choose(const float *logits, const SamplingParams &params, const TokenHistory &history,
                        int thread) const {
  Scratch own = scratch(thread);
  const float *values = adjusted(logits, params, history, own);
  float maximum = kernels_.maximum(values, vocabulary_);
  if (maximum == kForbidden) return -1;
  if (is_greedy(params)) return first_with_value(values, maximum);
  float factor = 1 / params.temperature;
  for (int i = 0; i < vocabulary_; ++i) {
    own.values[i] = std::max((values[i] - maximum) * factor, kNegligible);
  }
  double uniform = random_uniform(
      random_bits(params.seed, static_cast<uint64_t>(params.choice), static_cast<uint64_t>(history.count())));
  return draw(params, uniform, own);
}

// scratch.values: scaled logits, the largest 0.
int32_t Sampler::draw(const SamplingParams &params, double uniform, const Scratch &scratch) const {
  bool top_k = params.top_k > 0 && params.top_k < vocabulary_;
  if (!top_k && params.top_p >= 1 && params.min_p <= 0) return draw_from_all(scratch.values, uniform);
  Candidate *candidates = scratch.candidates;
  int count;
  double total;
  if (top_k) {
    count = collect_best(scratch.values, vocabulary_, params.top_k, kNegligible, candidates);
    std::sort(candidates, candidates + count, lower_token);
    total = total_weight(candidates, candidates + count);
  } else {
    total = kernels_.sum_exp(scratch.values, vocabulary_, 0);
    // Tokens below this weigh less than 1 - top_p together, even if all were: the nucleus needs none of them.
    double least = std::max<double>((1 - double{params.top_p}) * total / vocabulary_, params.min_p);
    float floor = std::max(static_cast<float>(std::log(least)) - 1e-4f, kNegligible);
    count = 0;
    for (int i = 0; i < vocabulary_; ++i) {
      if (scratch.values[i] > floor) candidates[count++] = {scratch.values[i], i};
    }
  }
  Candidate last = {std::max(std::log(params.min_p), kNegligible), vocabulary_};
  if (params.top_p < 1) {
    std::copy(candidates, candidates + count, scratch.ordered);
    Candidate end = nucleus_end(scratch.ordered, scratch.ordered + count, params.top_p * total);
    if (better(end, last)) last = end;
  }
  Candidate *end =
      std::remove_if(candidates, candidates + count, [&](const Candidate &c) { return better(last, c); });
  double target = uniform * total_weight(candidates, end);
  for (Candidate *c = candidates;; ++c) {
    target -= weight(*c);
    if (target < 0 || c + 1 == end) return c->token;
  }
}

// The block of tokens in which the draw falls, then the token in it: two passes of the vector kernel and
// one of scalar code over a single block.
int32_t Sampler::draw_from_all(const float *values, double uniform) const {
  auto block_weight = [&](int first) {
    return kernels_.sum_exp(values + first, std::min(kDrawBlock, vocabulary_ - first), 0);
  };
  double total = 0;
  for (int first = 0; first < vocabulary_; first += kDrawBlock) total += block_weight(first);
  double target = uniform * total;
  for (int first = 0; first < vocabulary_; first += kDrawBlock) {
    double block = block_weight(first);
    if (target >= block) {
      target -= block;
      continue;
    }
    int32_t chosen = first;
    int end = std::min(first + kDrawBlock, vocabulary_);
    for (int i = first; i < end && target >= 0; ++i) {
      double token_weight = std::exp(static_cast<double>(values[i]));
      if (token_weight > 0) chosen = i;
      target -= token_weight;
    }
    return chosen;
  }
  return first_with_value(values, 0);  // rounding left a rest past the last block
}

}  // namespace sounder
