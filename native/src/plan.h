// SPDX-License-Identifier: Apache-2.0
//
// The memory formula (plan.cpp).
#pragma once

#include <cstdint>

#include "model.h"
#include "sampled/lsh.h"

namespace sounder {

// Rows of logits that are computed at a time.
constexpr int kLogitsRows = 64;

int64_t weight_bytes(const ModelConfig &config);
int64_t block_bytes(const ModelConfig &config);
int64_t index_bytes(const ModelConfig &config);    // the part of block_bytes that is index
int64_t host_kv_bytes(const ModelConfig &config);  // the part of the KV that a GPU finds in host memory
int64_t planned_lsh_bytes(const ModelConfig &config);
int64_t workspace_bytes(const ModelConfig &config);
int64_t host_workspace_bytes(const ModelConfig &config);  // beside a GPU, in host memory

// The figures of the model that lsh tables depend on.
LshShape lsh_shape(const ModelConfig &config);

// Floats of activations that one token of a step takes (transformer.h).
int64_t activation_floats(const ModelConfig &config);

int max_matrix_rows(const ModelConfig &config);
int max_matrix_columns(const ModelConfig &config);

}  // namespace sounder
