// SPDX-License-Identifier: Apache-2.0
//
// The inner values of one step, for tests and figures.
#pragma once

#include <cstdint>
#include <vector>

#include "model.h"
#include "sounder.h"

namespace sounder {

class Capture {
 public:
  Capture(const ModelConfig &config, int tokens);

  // Keeps rows of values, stride apart; tokens[i] says which token of the step row i is.
  void keep(int what, int layer, const float *rows, int64_t stride, const std::vector<int32_t> &tokens,
            int first, int count);

  // Empty when the step did not come so far.
  const std::vector<float> &values(int what, int layer) const;

 private:
  size_t index(int what, int layer) const;

  int tokens_;
  int layers_;
  int widths_[SOUNDER_CAPTURE_COUNT];
  std::vector<std::vector<float>> values_;  // [what, layer]
};

}  // namespace sounder
