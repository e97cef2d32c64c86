// SPDX-License-Identifier: Apache-2.0
//
// The scores that the sketch estimates, beside the true ones: for figures. Slow and plain.
#pragma once

#include <cstdint>

#include "../kv_blocks.h"
#include "../model.h"

namespace sounder {

class KeyScores {
 public:
  KeyScores(const ModelConfig &config, const char *level, const KvBlocks &blocks)
      : config_(config), level_(level), blocks_(blocks) {}

  // scores [heads][length]: natural logarithms of what attention weighs keys by, before it normalises:
  // q·k / sqrt(head_dim), or the sketch's estimate of it, NaN for keys without one.
  void write(int layer, const float *q, const int32_t *blocks, int length, bool estimated, float beta,
             float *scores) const;

 private:
  void write_true(int layer, const float *q, const int32_t *blocks, int length, float *scores) const;
  void write_estimates(int layer, const float *q, const int32_t *blocks, int length, float beta,
                       float *scores) const;

  const ModelConfig &config_;
  const char *level_;
  const KvBlocks &blocks_;
};

}  // namespace sounder
