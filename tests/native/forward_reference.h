// SPDX-License-Identifier: Apache-2.0
//
// The whole forward of a tiny model in double precision, all tokens at once, without KV, blocks or batches.
#pragma once

#include <vector>

#include "reference/ops.h"
#include "tiny_model.h"

namespace tiny {

using Doubles = std::vector<double>;

inline Doubles widened(const std::vector<float> &values) { return {values.begin(), values.end()}; }

// y[t] = W x[t] + bias for all tokens.
inline Doubles product(const Model &model, int role, int layer, int rows, const Doubles &x, int tokens,
                       int bias_role = -1) {
  Doubles w = widened(model.at(role, layer)), y(size_t(tokens) * rows);
  Doubles bias = bias_role < 0 ? Doubles() : widened(model.at(bias_role, layer));
  sounder::reference::matmul(w.data(), rows, int(x.size()) / tokens, x.data(), tokens,
                             bias_role < 0 ? nullptr : bias.data(), y.data());
  return y;
}

inline Doubles normed(const Model &model, int role, int layer, const Doubles &x, int width) {
  Doubles weight = widened(model.at(role, layer)), y(x.size());
  for (size_t start = 0; start < x.size(); start += size_t(width)) {
    sounder::reference::rms_norm(x.data() + start, weight.data(), model.config.norm_epsilon, width,
                                 y.data() + start);
  }
  return y;
}

inline void rotate(const Config &config, Doubles &x, int heads, int tokens) {
  std::vector<float> frequencies = config.frequencies();
  Doubles cosine(frequencies.size()), sine(frequencies.size());
  for (int t = 0; t < tokens; ++t) {
    for (size_t i = 0; i < frequencies.size(); ++i) {
      double angle = static_cast<float>(t) * frequencies[i];
      cosine[i] = std::cos(angle) * config.rope_scale;
      sine[i] = std::sin(angle) * config.rope_scale;
    }
    for (int h = 0; h < heads; ++h) {
      sounder::reference::rope(x.data() + (size_t(t) * heads + h) * config.head_dim, cosine.data(),
                               sine.data(), int(frequencies.size()));
    }
  }
}

inline Doubles attention_block(const Model &model, int layer, const Doubles &x, int tokens) {
  const Config &c = model.config;
  int q_width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
  Doubles h = normed(model, SOUNDER_ROLE_ATTENTION_NORM, layer, x, c.hidden);
  Doubles q = product(model, SOUNDER_ROLE_Q, layer, q_width, h, tokens, c.bias ? SOUNDER_ROLE_Q_BIAS : -1);
  Doubles k = product(model, SOUNDER_ROLE_K, layer, kv_width, h, tokens, c.bias ? SOUNDER_ROLE_K_BIAS : -1);
  Doubles v = product(model, SOUNDER_ROLE_V, layer, kv_width, h, tokens, c.bias ? SOUNDER_ROLE_V_BIAS : -1);
  if (c.qk_norm) {
    q = normed(model, SOUNDER_ROLE_Q_NORM, layer, q, c.head_dim);
    k = normed(model, SOUNDER_ROLE_K_NORM, layer, k, c.head_dim);
  }
  rotate(c, q, c.heads, tokens);
  rotate(c, k, c.kv_heads, tokens);
  Doubles attended(q.size());
  sounder::reference::attention({tokens, 0, c.heads, c.kv_heads, c.head_dim, c.sliding_window}, q.data(),
                                k.data(), v.data(), attended.data());
  return product(model, SOUNDER_ROLE_ATTENTION_OUTPUT, layer, c.hidden, attended, tokens);
}

inline Doubles feed_forward_block(const Model &model, int layer, const Doubles &x, int tokens) {
  const Config &c = model.config;
  Doubles h = normed(model, SOUNDER_ROLE_FEED_FORWARD_NORM, layer, x, c.hidden);
  Doubles gate = product(model, SOUNDER_ROLE_GATE, layer, c.intermediate, h, tokens);
  Doubles up = product(model, SOUNDER_ROLE_UP, layer, c.intermediate, h, tokens);
  sounder::reference::silu_multiply(gate.data(), up.data(), int(gate.size()));
  return product(model, SOUNDER_ROLE_DOWN, layer, c.hidden, gate, tokens);
}

// [tokens, vocabulary]
inline Doubles reference_logits(const Model &model, const std::vector<int32_t> &tokens) {
  const Config &c = model.config;
  int count = int(tokens.size());
  Doubles x;
  const std::vector<float> &embedding = model.at(SOUNDER_ROLE_EMBEDDING);
  for (int32_t token : tokens) {
    x.insert(x.end(), embedding.begin() + int64_t(token) * c.hidden,
             embedding.begin() + int64_t(token + 1) * c.hidden);
  }
  for (int layer = 0; layer < c.layers; ++layer) {
    Doubles delta = attention_block(model, layer, x, count);
    for (size_t i = 0; i < x.size(); ++i) x[i] += delta[i];
    delta = feed_forward_block(model, layer, x, count);
    for (size_t i = 0; i < x.size(); ++i) x[i] += delta[i];
  }
  x = normed(model, SOUNDER_ROLE_FINAL_NORM, 0, x, c.hidden);
  return product(model, c.tied ? SOUNDER_ROLE_EMBEDDING : SOUNDER_ROLE_OUTPUT, 0, c.vocabulary, x, count);
}

}  // namespace tiny
