// SPDX-License-Identifier: Apache-2.0
//
// The list of a model's tensors: which there must be, of what shape, and where the files have them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model.h"

namespace sounder {

struct TensorPlace {
  int role;
  int layer;
  int file;  // index, or SOUNDER_NO_FILE
  int type;
  int rows;
  int columns;
  int interleaved_heads;
  int64_t offset;

  int64_t row_bytes() const;
  int64_t bytes() const { return row_bytes() * rows; }
};

struct TensorShape {
  int rows;  // 0: this model has no such tensor
  int columns;
};

TensorShape expected_shape(const ModelConfig &config, int role);
bool role_is_per_layer(int role);
bool role_is_norm(int role);
// Norms and biases: kept in float32.
bool role_is_vector(int role);

// "gate of layer 3", "embedding"
std::string tensor_name(int role, int layer);

class TensorList {
 public:
  // Checks a place against the model and the tensors that are already there, and adds it.
  void add(const ModelConfig &config, int files, const TensorPlace &place);

  // Fails when one is missing, or two overlap in a file.
  void require_complete(const ModelConfig &config, const std::vector<std::string> &files) const;

  const std::vector<TensorPlace> &places() const { return places_; }

 private:
  std::vector<TensorPlace> places_;
  std::vector<bool> present_;  // by layer * SOUNDER_ROLE_COUNT + role
};

}  // namespace sounder
