// SPDX-License-Identifier: Apache-2.0
//
// The forward with weights and KV in bfloat16, against the reference in double precision.
#include "forward_checks.h"

using tiny::Config;
using tiny::deviation;
using tiny::Engine;
using tiny::logits_in_pieces;
using tiny::Model;

namespace {

void expect_near_reference(Config config) {
  config.f32 = false;
  Model model = tiny::make_model(config);
  std::vector<int32_t> tokens = tiny::random_tokens(140, config.vocabulary, 4);
  tiny::Doubles expected = tiny::reference_logits(model, tokens);
  Engine engine;
  CHECK(engine.load(model) == SOUNDER_OK);
  for (const std::vector<int> &pieces : {std::vector<int>{140}, {61, 3}, {1}}) {
    std::vector<float> logits = logits_in_pieces(engine, tokens, pieces);
    double squares = 0;
    for (size_t i = 0; i < logits.size(); ++i) squares += std::pow(logits[i] - expected[i], 2);
    // A value has 8 bits; the weights are exact, so what is left is K, V and the activations of the product.
    CHECK_NEAR(std::sqrt(squares / double(logits.size())) / deviation(expected), 0, 0.02);
  }
}

}  // namespace

TEST("bfloat16 weights and KV stay near the reference") { expect_near_reference({}); }

TEST("so they do at all head dims, sizes of a group and windows") {
  struct Shape {
    int head_dim, heads, kv_heads, sliding_window;
  };
  for (auto [head_dim, heads, kv_heads, sliding_window] :
       {Shape{2, 4, 2, 0}, Shape{20, 3, 3, 0}, Shape{64, 4, 2, 0}, Shape{64, 7, 1, 50}, Shape{80, 2, 1, 0},
        Shape{128, 4, 1, 0}, Shape{128, 36, 1, 0}, Shape{144, 2, 2, 130}, Shape{256, 2, 1, 0},
        Shape{256, 2, 2, 17}}) {
    Config config;
    config.head_dim = head_dim;
    config.rope_dims = std::min(head_dim, 64);
    config.heads = heads;
    config.kv_heads = kv_heads;
    config.sliding_window = sliding_window;
    expect_near_reference(config);
  }
}
