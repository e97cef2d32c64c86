// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "model.h"

namespace sounder {

// Checks every figure and fails with SOUNDER_INVALID and a sentence that names the one that is wrong.
// THREADS = 0 becomes the number of usable cores. Leaves the floats and frequencies unset.
ModelConfig read_config_ints(const int32_t *ints, int32_t count);

// Adds the floats and frequencies to config, checked.
void read_config_floats(ModelConfig &config, const float *floats, int32_t count, const float *frequencies,
                        int32_t frequency_count);

// Names the dense layers: as many as config has, each once.
void set_dense_layers(ModelConfig &config, const int32_t *layers, int32_t count);

}  // namespace sounder
