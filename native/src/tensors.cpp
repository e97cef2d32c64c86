// SPDX-License-Identifier: Apache-2.0
#include "tensors.h"

#include <algorithm>

#include "dequantize.h"
#include "failure.h"
#include "sounder.h"

namespace sounder {

namespace {

enum class Kind { kMatrix, kNorm, kBias };

struct Role {
  const char *name;
  Kind kind;
  bool per_layer;
};

constexpr Role kRoles[SOUNDER_ROLE_COUNT] = {
    {"embedding", Kind::kMatrix, false},
    {"output", Kind::kMatrix, false},
    {"final_norm", Kind::kNorm, false},
    {"attention_norm", Kind::kNorm, true},
    {"q", Kind::kMatrix, true},
    {"k", Kind::kMatrix, true},
    {"v", Kind::kMatrix, true},
    {"q_bias", Kind::kBias, true},
    {"k_bias", Kind::kBias, true},
    {"v_bias", Kind::kBias, true},
    {"q_norm", Kind::kNorm, true},
    {"k_norm", Kind::kNorm, true},
    {"attention_output", Kind::kMatrix, true},
    {"feed_forward_norm", Kind::kNorm, true},
    {"gate", Kind::kMatrix, true},
    {"up", Kind::kMatrix, true},
    {"down", Kind::kMatrix, true},
};

// Heads of a role whose rows are rotated by RoPE, 0 for the others.
int rotated_heads(const ModelConfig &config, int role) {
  if (role == SOUNDER_ROLE_Q || role == SOUNDER_ROLE_Q_BIAS) return config.heads;
  if (role == SOUNDER_ROLE_K || role == SOUNDER_ROLE_K_BIAS) return config.kv_heads;
  return 0;
}

void check_place(const ModelConfig &config, int files, const TensorPlace &place) {
  if (place.role < 0 || place.role >= SOUNDER_ROLE_COUNT) {
    fail(SOUNDER_INVALID, "There is no tensor role %d.", place.role);
  }
  int layers = role_is_per_layer(place.role) ? config.layers : 1;
  if (place.layer < 0 || place.layer >= layers) {
    fail(SOUNDER_INVALID, "Tensor %s is stated for layer %d; the model has layers 0 to %d.",
         kRoles[place.role].name, place.layer, layers - 1);
  }
  std::string name = tensor_name(place.role, place.layer);
  if (place.file < SOUNDER_NO_FILE || place.file >= files) {
    fail(SOUNDER_INVALID, "Tensor %s lies in file %d; there are %d files.", name.c_str(), place.file, files);
  }
  if (place.type < 0 || place.type >= SOUNDER_TYPE_COUNT) {
    fail(SOUNDER_INVALID, "Tensor %s has the unknown type %d.", name.c_str(), place.type);
  }
  TensorShape shape = expected_shape(config, place.role);
  if (shape.rows == 0) {
    fail(SOUNDER_INVALID, "Tensor %s has no place in a model with these flags.", name.c_str());
  }
  if (place.rows != shape.rows || place.columns != shape.columns) {
    fail(SOUNDER_INVALID, "Tensor %s has the shape [%d, %d]; the model's figures ask for [%d, %d].",
         name.c_str(), place.rows, place.columns, shape.rows, shape.columns);
  }
  const TypeLayout &layout = type_layout(place.type);
  if (place.columns % layout.values != 0) {
    fail(SOUNDER_INVALID, "Tensor %s has %d columns, which is no multiple of the %d values of a %s block.",
         name.c_str(), place.columns, layout.values, layout.name);
  }
  if (place.interleaved_heads != 0 && place.interleaved_heads != rotated_heads(config, place.role)) {
    fail(SOUNDER_INVALID, "Tensor %s is stated to have %d interleaved heads; it can have %d or none.",
         name.c_str(), place.interleaved_heads, rotated_heads(config, place.role));
  }
  if (place.offset < 0) {
    fail(SOUNDER_INVALID, "Tensor %s lies at the negative offset %lld.", name.c_str(),
         static_cast<long long>(place.offset));
  }
}

// Offsets were checked against nothing yet, so ends are compared by subtraction.
void require_apart(std::vector<TensorPlace> places, const std::vector<std::string> &files) {
  std::erase_if(places, [](const TensorPlace &place) { return place.file == SOUNDER_NO_FILE; });
  std::sort(places.begin(), places.end(), [](const TensorPlace &a, const TensorPlace &b) {
    return a.file != b.file ? a.file < b.file : a.offset < b.offset;
  });
  for (size_t i = 1; i < places.size(); ++i) {
    const TensorPlace &before = places[i - 1], &place = places[i];
    if (before.file == place.file && place.offset - before.offset < before.bytes()) {
      fail(SOUNDER_INVALID, "Tensors %s and %s overlap in %s.",
           tensor_name(before.role, before.layer).c_str(), tensor_name(place.role, place.layer).c_str(),
           files[place.file].c_str());
    }
  }
}

}  // namespace

int64_t TensorPlace::row_bytes() const {
  const TypeLayout &layout = type_layout(type);
  return int64_t{columns} / layout.values * layout.bytes;
}

TensorShape expected_shape(const ModelConfig &config, int role) {
  int hidden = config.hidden, q = config.q_width(), kv = config.kv_width();
  switch (role) {
    case SOUNDER_ROLE_EMBEDDING:
      return {config.vocabulary, hidden};
    case SOUNDER_ROLE_OUTPUT:
      return {config.tied_output ? 0 : config.vocabulary, hidden};
    case SOUNDER_ROLE_Q:
      return {q, hidden};
    case SOUNDER_ROLE_K:
    case SOUNDER_ROLE_V:
      return {kv, hidden};
    case SOUNDER_ROLE_Q_BIAS:
      return {config.qkv_bias ? 1 : 0, q};
    case SOUNDER_ROLE_K_BIAS:
    case SOUNDER_ROLE_V_BIAS:
      return {config.qkv_bias ? 1 : 0, kv};
    case SOUNDER_ROLE_Q_NORM:
    case SOUNDER_ROLE_K_NORM:
      return {config.qk_norm ? 1 : 0, config.head_dim};
    case SOUNDER_ROLE_ATTENTION_OUTPUT:
      return {hidden, q};
    case SOUNDER_ROLE_GATE:
    case SOUNDER_ROLE_UP:
      return {config.intermediate, hidden};
    case SOUNDER_ROLE_DOWN:
      return {hidden, config.intermediate};
    default:  // the norms over the residual stream
      return {1, hidden};
  }
}

bool role_is_per_layer(int role) { return kRoles[role].per_layer; }
bool role_is_norm(int role) { return kRoles[role].kind == Kind::kNorm; }
bool role_is_vector(int role) { return kRoles[role].kind != Kind::kMatrix; }

std::string tensor_name(int role, int layer) {
  if (!kRoles[role].per_layer) return kRoles[role].name;
  return formatted("%s of layer %d", kRoles[role].name, layer);
}

void TensorList::add(const ModelConfig &config, int files, const TensorPlace &place) {
  check_place(config, files, place);
  present_.resize(static_cast<size_t>(config.layers) * SOUNDER_ROLE_COUNT);
  size_t index = static_cast<size_t>(place.layer) * SOUNDER_ROLE_COUNT + place.role;
  if (present_[index]) {
    fail(SOUNDER_INVALID, "Tensor %s is stated twice.", tensor_name(place.role, place.layer).c_str());
  }
  places_.push_back(place);
  present_[index] = true;
}

void TensorList::require_complete(const ModelConfig &config, const std::vector<std::string> &files) const {
  for (int role = 0; role < SOUNDER_ROLE_COUNT; ++role) {
    if (expected_shape(config, role).rows == 0) continue;
    int layers = role_is_per_layer(role) ? config.layers : 1;
    for (int layer = 0; layer < layers; ++layer) {
      size_t index = static_cast<size_t>(layer) * SOUNDER_ROLE_COUNT + role;
      if (index >= present_.size() || !present_[index]) {
        fail(SOUNDER_INVALID, "Tensor %s is missing.", tensor_name(role, layer).c_str());
      }
    }
  }
  require_apart(places_, files);
}

}  // namespace sounder
