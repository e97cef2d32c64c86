// SPDX-License-Identifier: Apache-2.0
//
// The weights of a model in memory: one mapping in huge pages, q/k/v and gate/up stacked so that one product
// (and one barrier) does for all of them.
#pragma once

#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "device.h"
#include "load_control.h"
#include "memory.h"
#include "model.h"
#include "sounder.h"
#include "tensors.h"
#include "threads.h"

namespace sounder {

class Weights {
 public:
  // Makes room; the values are zero until load_weights. device: where they are to lie, prepared for this
  // model; nullptr: here.
  explicit Weights(const ModelConfig &config, Device *device = nullptr);

  const ModelWeights &model() const { return model_; }

  // Where the values of a tensor that the model has belong: rows * columns values, contiguous, float32 for
  // norms and biases, the model's type for matrices.
  void *destination(int role, int layer);

  // Values on their way to a device are only here until their layer is complete, and then sent.
  bool on_device() const { return device_ != nullptr; }
  void send_layer(int layer);

 private:
  struct LayerOffsets {
    int64_t roles[SOUNDER_ROLE_COUNT];  // bytes from the start, -1: there is none
  };
  LayerOffsets place_layer(int64_t &end, bool first) const;
  const float *vector_at(int role, int layer) const;
  WeightMatrix matrix_at(int role, int layer, int rows, int columns) const;
  void build_views();

  const ModelConfig &config_;
  Device *device_;
  std::vector<LayerOffsets> offsets_;  // by layer; the tensors of no layer are in the first
  std::vector<int64_t> layer_starts_;  // [layers + 1] bytes from the start
  const char *base_;                   // of the views: in memory_, or in the device's
  Mapping memory_;
  ModelWeights model_;
};

// Reads and converts all tensors of a complete list with the whole team.
void load_weights(const ModelConfig &config, const std::vector<std::string> &files, const TensorList &tensors,
                  Weights &weights, ThreadTeam &team, const Kernels &kernels, const LoadControl &control);

}  // namespace sounder
