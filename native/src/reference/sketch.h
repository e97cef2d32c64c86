// SPDX-License-Identifier: Apache-2.0
//
// What sketches and their scores mean (sampled/sketch_kernels.h), key by key in plain loops. Slow on purpose.
// Steps that are floats there are the same floats here, in the order that is given there.
#pragma once

#include <cstdint>
#include <vector>

#include "../sampled/index.h"

namespace sounder::reference {

// R x
std::vector<float> rotate(std::vector<float> x, const float *signs);

struct Sketch {
  std::vector<int> mean;  // in units of mean_scale
  float mean_scale = 0;
  std::vector<std::vector<int>> codes;  // [key][dimension], 0 .. 2^bits - 1
  std::vector<float> scales;            // f of each key
  bool operator==(const Sketch &) const = default;
};

// keys: [128][head_dim] as they lie in the block. previous: of the block before, nullptr for the first.
Sketch seal_sketch(const std::vector<std::vector<float>> &keys, const IndexShape &shape, const float *signs,
                   const Sketch *previous, int block);

// The record's bytes; those between its parts are 0.
std::vector<char> record_of(const std::vector<std::vector<float>> &keys, const IndexShape &shape,
                            const Sketch &sketch);

struct SketchQuery {
  std::vector<int> q5, q11;
  float gain = 0, base_gain = 0, spread = 0;
};
SketchQuery prepare_query(const std::vector<float> &q, const float *signs, int bits, float beta);

int sketch_score(const Sketch &sketch, const SketchQuery &query, int key, int bits);

}  // namespace sounder::reference
