// SPDX-License-Identifier: Apache-2.0
//
// A thread block a row. A token's weight exp(scaled logit - largest) is an integer, so that sums don't depend
// on their order. Cuts are keys: how far a scaled logit is below the largest, then the token, so that no two
// are equal; a cut is found by halving what it may be, over all tokens as long as many are left and then over
// a list.
#include <instructions.cuh>

#include "block_scan.cuh"
#include "draw_tokens.h"
#include "random.h"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32;
constexpr int kListed = 4096;
// 2^39: the weights of 2^24 tokens add up to 2^63. What is further than kFarthest below the best weighs
// nothing.
constexpr float kUnit = 549755813888.0f, kFarthest = 28;
constexpr int kLastToken = 0x7fffffff;

__device__ uint64_t key_of(float distance, int token) {
  return uint64_t{__float_as_uint(distance)} << 32 | static_cast<uint32_t>(token);
}
__device__ float distance_of(uint64_t key) { return __uint_as_float(static_cast<uint32_t>(key >> 32)); }
__device__ uint64_t weight_of(uint64_t key) { return static_cast<uint64_t>(expf(-distance_of(key)) * kUnit); }

// Of some keys.
struct Tally {
  uint64_t weight;
  int count;
};

struct Shared {
  uint64_t weights[kWarps];
  int counts[kWarps];
  int listed;
  uint64_t list[kListed];
};

// The logits of a row as keys.
struct Keys {
  const float *logits;
  int vocabulary;
  float largest, factor;

  __device__ uint64_t operator[](int token) const {
    return key_of(fminf((largest - logits[token]) * factor, 2 * kFarthest), token);
  }
};

// For all threads.
__device__ Tally sum_over_block(Tally own, Shared &shared) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) {
    own.weight += __shfl_xor_sync(0xffffffff, own.weight, bits);
    own.count += __shfl_xor_sync(0xffffffff, own.count, bits);
  }
  __syncthreads();  // the last sum was read
  if (threadIdx.x % 32 == 0)
    shared.weights[threadIdx.x / 32] = own.weight, shared.counts[threadIdx.x / 32] = own.count;
  __syncthreads();
  Tally sum{0, 0};
  for (int i = 0; i < kWarps; ++i) sum.weight += shared.weights[i], sum.count += shared.counts[i];
  return sum;
}

// Of the keys in [from, to]: all of a row, or those that are listed.
template <typename Source>
__device__ Tally tally(const Source &source, int size, uint64_t from, uint64_t to, Shared &shared) {
  Tally own{0, 0};
#pragma unroll 4
  for (int i = threadIdx.x; i < size; i += kThreads) {
    const uint64_t key = source[i];
    if (key >= from && key <= to) own.weight += weight_of(key), ++own.count;
  }
  return sum_over_block(own, shared);
}

__device__ int list_keys(const Keys &keys, uint64_t from, uint64_t to, Shared &shared) {
  __syncthreads();
  if (threadIdx.x == 0) shared.listed = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < keys.vocabulary; i += kThreads) {
    const uint64_t key = keys[i];
    if (key >= from && key <= to) shared.list[atomicAdd(&shared.listed, 1)] = key;
  }
  __syncthreads();
  return shared.listed;
}

// Between the two: half way in distance, or in what is left where that is too little.
__device__ uint64_t middle_of(uint64_t from, uint64_t to) {
  const uint64_t half_way = key_of(0.5f * (distance_of(from) + distance_of(to)), kLastToken);
  return half_way >= from && half_way < to ? half_way : from + (to - from) / 2;
}

// Up to which key the fewest keys are, from the least on, that weigh, or with kCounts are, so much; `to`
// where even those up to that don't. inside: at most so many are up to `to`.
template <bool kCounts>
__device__ uint64_t find_cut(const Keys &keys, uint64_t to, uint64_t target, int inside, Shared &shared) {
  uint64_t from = 0, below = 0;
  int listed = -1;
  while (from < to && inside > 1) {
    if (listed < 0 && inside <= kListed) listed = list_keys(keys, from, to, shared);
    const uint64_t middle = middle_of(from, to);
    const Tally found = listed < 0 ? tally(keys, keys.vocabulary, from, middle, shared)
                                   : tally(shared.list, listed, from, middle, shared);
    const uint64_t reached = below + (kCounts ? static_cast<uint64_t>(found.count) : found.weight);
    if (reached >= target) {
      to = middle;
      inside = found.count;
    } else {
      from = middle + 1;
      below = reached;
      inside -= found.count;
    }
  }
  return to;
}

// Up to which key tokens may be drawn. Cuts are taken in the sampler's order.
__device__ uint64_t cut_of(const Keys &keys, const TokenChoice &choice, Shared &shared) {
  uint64_t cut = key_of(kFarthest, kLastToken);
  int inside = keys.vocabulary;
  if (choice.top_k > 0 && choice.top_k < inside) {
    cut = find_cut<true>(keys, cut, static_cast<uint64_t>(choice.top_k), inside, shared);
    inside = choice.top_k;
  }
  const uint64_t far = key_of(fabsf(fminf(choice.farthest, kFarthest)), kLastToken);
  if (choice.top_p >= 1) return far < cut ? far : cut;
  const double all = static_cast<double>(tally(keys, keys.vocabulary, 0, cut, shared).weight);
  const uint64_t target = static_cast<uint64_t>(all * choice.top_p);
  return find_cut<false>(keys, far < cut ? far : cut, target > 0 ? target : 1, inside, shared);
}

// The token in whose part of all weights, in the order of tokens, the random number lies: the thread that has
// it says so.
__device__ void draw(const Keys &keys, uint64_t cut, uint64_t random, Shared &shared, ChosenToken *chosen) {
  const int each = (keys.vocabulary + kThreads - 1) / kThreads, first = threadIdx.x * each;
  const int end = first + each < keys.vocabulary ? first + each : keys.vocabulary;
  uint64_t own = 0, all = 0;
  for (int i = first; i < end; ++i) {
    const uint64_t key = keys[i];
    if (key <= cut) own += weight_of(key);
  }
  __syncthreads();  // the last sum was read
  uint64_t reached = sum_before(own, shared.weights, &all);
  const uint64_t target = __umul64hi(random, all);
  if (target < reached || target >= reached + own) return;
  for (int i = first; i < end; ++i) {
    const uint64_t key = keys[i];
    if (key > cut) continue;
    reached += weight_of(key);
    if (target >= reached) continue;
    *chosen = {i, chosen->logprob + (keys.logits[i] - keys.largest)};
    return;
  }
}

__global__ void __launch_bounds__(kThreads) draw_kernel(const float *logits, int vocabulary, const Row *rows,
                                                        const TokenChoice *choices, ChosenToken *chosen) {
  __shared__ Shared shared;
  const TokenChoice choice = choices[blockIdx.x];
  const int best = chosen[blockIdx.x].token;
  if (choice.factor == 0 || best < 0) return;
  const float *row = logits + int64_t{blockIdx.x} * vocabulary;
  const Keys keys{row, vocabulary, row[best], choice.factor};
  const uint64_t cut = cut_of(keys, choice, shared);
  // The upper 53 bits, as the sampler has it.
  const uint64_t random = random_bits(choice.seed, static_cast<uint64_t>(choice.choice),
                                      static_cast<uint64_t>(rows[blockIdx.x].position + 1)) >>
                          11 << 11;
  draw(keys, cut, random, shared, chosen + blockIdx.x);
}

}  // namespace

void draw_tokens(cudaStream_t stream, const float *logits, int count, int vocabulary, const Row *rows,
                 const TokenChoice *choices, ChosenToken *chosen) {
  launch({stream}, draw_kernel, count, kThreads, 0, logits, vocabulary, rows, choices, chosen);
}

}  // namespace sounder::cuda
