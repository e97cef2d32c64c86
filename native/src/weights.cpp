// SPDX-License-Identifier: Apache-2.0
#include "weights.h"

#include "sounder.h"

namespace sounder {

namespace {

// A cache line: no two matrices share one.
int64_t aligned(int64_t offset) { return (offset + 63) & ~int64_t{63}; }

// In the order of memory; those of one line follow each other without a gap and form one matrix or vector.
constexpr int kOrder[] = {
    SOUNDER_ROLE_EMBEDDING,
    SOUNDER_ROLE_OUTPUT,
    SOUNDER_ROLE_FINAL_NORM,
    SOUNDER_ROLE_ATTENTION_NORM,
    SOUNDER_ROLE_Q,
    SOUNDER_ROLE_K,
    SOUNDER_ROLE_V,  //
    SOUNDER_ROLE_Q_BIAS,
    SOUNDER_ROLE_K_BIAS,
    SOUNDER_ROLE_V_BIAS,  //
    SOUNDER_ROLE_Q_NORM,
    SOUNDER_ROLE_K_NORM,
    SOUNDER_ROLE_ATTENTION_OUTPUT,
    SOUNDER_ROLE_FEED_FORWARD_NORM,  //
    SOUNDER_ROLE_GATE,
    SOUNDER_ROLE_UP,  //
    SOUNDER_ROLE_DOWN,
};

bool continues_previous(int role) {
  return role == SOUNDER_ROLE_K || role == SOUNDER_ROLE_V || role == SOUNDER_ROLE_K_BIAS ||
         role == SOUNDER_ROLE_V_BIAS || role == SOUNDER_ROLE_UP;
}

}  // namespace

Weights::LayerOffsets Weights::place_layer(int64_t &end, bool first) const {
  LayerOffsets offsets;
  for (int role : kOrder) {
    TensorShape shape = expected_shape(config_, role);
    bool present = shape.rows > 0 && (first || role_is_per_layer(role));
    offsets.roles[role] = -1;
    if (!present) continue;
    if (!continues_previous(role)) end = aligned(end);
    offsets.roles[role] = end;
    end += int64_t{shape.rows} * shape.columns * (role_is_vector(role) ? 4 : config_.value_bytes());
  }
  return offsets;
}

Weights::Weights(const ModelConfig &config, Device *device) : config_(config), device_(device) {
  int64_t end = 0;
  layer_starts_.push_back(0);
  for (int layer = 0; layer < config.layers; ++layer) {
    offsets_.push_back(place_layer(end, layer == 0));
    layer_starts_.push_back(end);
  }
  memory_ = Mapping(end, "the weights");
  if (device != nullptr) device->prepare(config, end);
  base_ = device != nullptr ? device->weights() : static_cast<const char *>(memory_.data());
  build_views();
  if (device != nullptr) device->set_weights(model_);
}

void Weights::send_layer(int layer) {
  const int64_t first = layer_starts_[layer], bytes = layer_starts_[layer + 1] - first;
  device_->upload(device_->weights() + first, static_cast<char *>(memory_.data()) + first, bytes);
  memory_.forget(first, bytes);
}

void *Weights::destination(int role, int layer) {
  return static_cast<char *>(memory_.data()) + offsets_[layer].roles[role];
}

const float *Weights::vector_at(int role, int layer) const {
  int64_t offset = offsets_[layer].roles[role];
  if (offset < 0) return nullptr;
  return reinterpret_cast<const float *>(base_ + offset);
}

WeightMatrix Weights::matrix_at(int role, int layer, int rows, int columns) const {
  return {base_ + offsets_[layer].roles[role], rows, columns, config_.f32};
}

void Weights::build_views() {
  const ModelConfig &c = config_;
  model_.embedding = matrix_at(SOUNDER_ROLE_EMBEDDING, 0, c.vocabulary, c.hidden);
  model_.output =
      c.tied_output ? model_.embedding : matrix_at(SOUNDER_ROLE_OUTPUT, 0, c.vocabulary, c.hidden);
  model_.final_norm = vector_at(SOUNDER_ROLE_FINAL_NORM, 0);
  for (int l = 0; l < c.layers; ++l) {
    LayerWeights layer;
    layer.attention_norm = vector_at(SOUNDER_ROLE_ATTENTION_NORM, l);
    layer.qkv = matrix_at(SOUNDER_ROLE_Q, l, c.qkv_width(), c.hidden);
    layer.qkv_bias = vector_at(SOUNDER_ROLE_Q_BIAS, l);
    layer.q_norm = vector_at(SOUNDER_ROLE_Q_NORM, l);
    layer.k_norm = vector_at(SOUNDER_ROLE_K_NORM, l);
    layer.attention_output = matrix_at(SOUNDER_ROLE_ATTENTION_OUTPUT, l, c.hidden, c.q_width());
    layer.feed_forward_norm = vector_at(SOUNDER_ROLE_FEED_FORWARD_NORM, l);
    layer.gate_up = matrix_at(SOUNDER_ROLE_GATE, l, 2 * c.intermediate, c.hidden);
    layer.down = matrix_at(SOUNDER_ROLE_DOWN, l, c.hidden, c.intermediate);
    model_.layers.push_back(layer);
  }
}

}  // namespace sounder
