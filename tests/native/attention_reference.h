// SPDX-License-Identifier: Apache-2.0
//
// Attention in double precision, and the plain loops whose error against it bounds what a kernel's may be.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "attention/attention.h"

namespace attention_reference {

inline float bf16_rounded(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
  std::memcpy(&x, &u, 4);
  return x;
}

// One context: its queries, and the keys and values of all its tokens as [token][kv_heads][head_dim].
struct Context {
  int tokens, position;
  std::vector<float> q, k, v;
  std::vector<int32_t> blocks;
  int length() const { return tokens + position; }
};

enum class Loop { kExact, kFloat, kBf16 };  // kBf16: queries and weights rounded to bf16

// [tokens][heads * head_dim], computed with Float sums.
template <typename Float>
std::vector<double> attend(const sounder::AttentionShape &shape, const Context &context, Loop loop) {
  const int d = shape.head_dim, group = shape.heads / shape.kv_heads;
  std::vector<double> out(static_cast<size_t>(context.tokens) * shape.heads * d);
  std::vector<Float> weight, sum(d);
  for (int t = 0; t < context.tokens; ++t) {
    const int end = context.position + t + 1;
    const int first = shape.sliding_window > 0 ? std::max(0, end - shape.sliding_window) : 0;
    for (int h = 0; h < shape.heads; ++h) {
      const float *q = &context.q[(static_cast<size_t>(t) * shape.heads + h) * d];
      weight.assign(end - first, 0);
      Float highest = -std::numeric_limits<Float>::infinity(), total = 0;
      for (int j = first; j < end; ++j) {
        const float *k = &context.k[(static_cast<size_t>(j) * shape.kv_heads + h / group) * d];
        Float dot = 0;
        for (int c = 0; c < d; ++c)
          dot += Float(loop == Loop::kBf16 ? bf16_rounded(q[c]) : q[c]) * Float(k[c]);
        weight[j - first] = dot / std::sqrt(Float(d));
        highest = std::max(highest, weight[j - first]);
      }
      std::fill(sum.begin(), sum.end(), Float(0));
      for (int j = first; j < end; ++j) {
        const float *v = &context.v[(static_cast<size_t>(j) * shape.kv_heads + h / group) * d];
        Float p = std::exp(weight[j - first] - highest);
        total += p;
        if (loop == Loop::kBf16) p = bf16_rounded(static_cast<float>(p));
        for (int c = 0; c < d; ++c) sum[c] += p * Float(v[c]);
      }
      for (int c = 0; c < d; ++c)
        out[(static_cast<size_t>(t) * shape.heads + h) * d + c] = double(sum[c] / total);
    }
  }
  return out;
}

// Contexts and the slab that their blocks lie in: block ids in random order, every row that belongs to no
// token filled with NaN.
struct Batch {
  sounder::AttentionShape shape;
  std::vector<Context> contexts;
  std::vector<uint16_t> slab_bf16;
  std::vector<float> slab_f32;
  const void *slab() const {
    return shape.kv_is_f32 ? static_cast<const void *>(slab_f32.data()) : slab_bf16.data();
  }
};

inline void write_rows(Batch &batch, const Context &context) {
  const sounder::AttentionShape &s = batch.shape;
  for (int j = 0; j < context.length(); ++j) {
    for (int h = 0; h < s.kv_heads; ++h) {
      const size_t block = context.blocks[j / sounder::kBlockTokens];
      const size_t at =
          ((block * s.kv_heads + h) * sounder::kBlockTokens + j % sounder::kBlockTokens) * 2 * s.head_dim;
      for (int c = 0; c < 2 * s.head_dim; ++c) {
        const std::vector<float> &from = c < s.head_dim ? context.k : context.v;
        float x = from[(static_cast<size_t>(j) * s.kv_heads + h) * s.head_dim + c % s.head_dim];
        if (s.kv_is_f32) {
          batch.slab_f32[at + c] = x;
        } else {
          uint32_t u;
          std::memcpy(&u, &x, 4);
          batch.slab_bf16[at + c] = static_cast<uint16_t>(u >> 16);
        }
      }
    }
  }
}

struct Length {
  int tokens, position;
};

// spread: standard deviation of queries and keys; larger ones make attention look at fewer keys.
inline Batch make_batch(const sounder::AttentionShape &shape, const std::vector<Length> &lengths,
                        float spread, uint32_t seed) {
  Batch batch;
  batch.shape = shape;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  auto fill = [&](std::vector<float> &to, size_t count, float scale, bool as_stored) {
    to.resize(count);
    for (float &x : to)
      x = as_stored && !shape.kv_is_f32 ? bf16_rounded(normal(random) * scale) : normal(random) * scale;
  };
  int blocks = 0;
  for (const Length &length : lengths)
    blocks += (length.tokens + length.position + sounder::kBlockTokens - 1) / sounder::kBlockTokens;
  std::vector<int32_t> ids(blocks + 2);  // two blocks are nobody's
  std::iota(ids.begin(), ids.end(), 0);
  std::shuffle(ids.begin(), ids.end(), random);
  const size_t values = ids.size() * shape.kv_heads * sounder::kBlockTokens * 2 * shape.head_dim;
  if (shape.kv_is_f32)
    batch.slab_f32.assign(values, std::numeric_limits<float>::quiet_NaN());
  else
    batch.slab_bf16.assign(values, 0x7fc0);
  size_t next = 0;
  for (const Length &length : lengths) {
    Context context;
    context.tokens = length.tokens;
    context.position = length.position;
    const size_t rows = static_cast<size_t>(context.length()) * shape.kv_heads * shape.head_dim;
    fill(context.q, static_cast<size_t>(length.tokens) * shape.heads * shape.head_dim, spread, false);
    fill(context.k, rows, spread, true);
    fill(context.v, rows, 1.0f, true);
    for (int at = 0; at < context.length(); at += sounder::kBlockTokens)
      context.blocks.push_back(ids[next++]);
    write_rows(batch, context);
    batch.contexts.push_back(std::move(context));
  }
  return batch;
}

}  // namespace attention_reference
