// SPDX-License-Identifier: Apache-2.0
#include "sampled_range.h"

#include <algorithm>
#include <cmath>

#include "../model.h"
#include "sounder.h"

namespace sounder {

SampledShape sampled_shape(const ModelConfig &config) {
  return {config.attention_shape(), config.index_shape(), config.index_seed, config.lsh_bits,
          config.lsh_tables,        config.sink,          config.window,     config.least_rows};
}

bool sampled_range(const SampledShape &shape, const SampledParams &params, int position, int covered,
                   SampledRange *range) {
  if (params.attention == SOUNDER_ATTENTION_FULL) return false;
  // The tail begins with a block: at least the window, and the open block.
  int end = std::max(0, position + 1 - shape.window) / kBlockTokens * kBlockTokens;
  if (params.attention == SOUNDER_ATTENTION_LSH) end = std::min(end, covered / kBlockTokens * kBlockTokens);
  const int begin = std::min(shape.sink, position + 1), keys = end - begin;
  if (keys <= shape.least_rows) return false;
  const double share = std::ceil(static_cast<double>(params.budget) * keys);
  *range = {begin, end, std::max(shape.least_rows, static_cast<int>(share))};
  // Tables decide how much lsh reads, whatever its budget.
  return range->budget < keys || params.attention == SOUNDER_ATTENTION_LSH;
}

int exact_rows(const SampledShape &shape, const SampledParams &params, int position, int rows, int covered) {
  if (params.attention == SOUNDER_ATTENTION_FULL) return rows;
  for (int row = std::max(0, params.sampled_from - position); row < rows; ++row) {
    SampledRange range;
    if (sampled_range(shape, params, position + row, covered, &range)) return row;
  }
  return rows;
}

}  // namespace sounder
