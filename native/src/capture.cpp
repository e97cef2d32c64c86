// SPDX-License-Identifier: Apache-2.0
#include "capture.h"

#include <algorithm>

namespace sounder {

namespace {
bool belongs_to_layer(int what) {
  return what != SOUNDER_CAPTURE_EMBEDDING && what != SOUNDER_CAPTURE_FINAL_NORM &&
         what != SOUNDER_CAPTURE_LOGITS;
}
}  // namespace

Capture::Capture(const ModelConfig &config, int tokens)
    : tokens_(tokens),
      layers_(config.layers),
      values_(static_cast<size_t>(SOUNDER_CAPTURE_COUNT) * config.layers) {
  std::fill(std::begin(widths_), std::end(widths_), config.hidden);
  widths_[SOUNDER_CAPTURE_Q] = widths_[SOUNDER_CAPTURE_ATTENTION] = config.q_width();
  widths_[SOUNDER_CAPTURE_K] = widths_[SOUNDER_CAPTURE_V] = config.kv_width();
  widths_[SOUNDER_CAPTURE_LOGITS] = config.vocabulary;
}

size_t Capture::index(int what, int layer) const {
  return static_cast<size_t>(what) * layers_ + (belongs_to_layer(what) ? layer : 0);
}

void Capture::keep(int what, int layer, const float *rows, int64_t stride, const std::vector<int32_t> &tokens,
                   int first, int count) {
  std::vector<float> &values = values_[index(what, layer)];
  size_t width = static_cast<size_t>(widths_[what]);
  values.resize(width * tokens_);
  for (int i = 0; i < count; ++i) {
    std::copy_n(rows + i * stride, width, values.begin() + width * tokens[first + i]);
  }
}

const std::vector<float> &Capture::values(int what, int layer) const { return values_[index(what, layer)]; }

}  // namespace sounder
