// SPDX-License-Identifier: Apache-2.0
//
// Values as they lie in files, turned into float32: exactly the values that GGUF's definition gives.
#pragma once

#include <cstdint>

#include "sounder.h"

namespace sounder {

// How a type packs its values: blocks of `values` values in `bytes` bytes.
struct TypeLayout {
  const char *name;
  int values;
  int bytes;
};

// type: a valid enum sounder_type.
const TypeLayout &type_layout(int type);

// count: a multiple of the type's values in a block. raw needs no alignment.
void dequantize(int type, const uint8_t *raw, int64_t count, float *values);

}  // namespace sounder
