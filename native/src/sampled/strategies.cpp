// SPDX-License-Identifier: Apache-2.0
#include "strategies.h"

#include "sounder.h"

namespace sounder {

std::vector<std::unique_ptr<Strategy>> make_strategies(const StrategyShape &shape) {
  std::vector<std::unique_ptr<Strategy>> strategies(SOUNDER_ATTENTION_COUNT);
#define SOUNDER_MAKE(name, make) strategies[SOUNDER_ATTENTION_##name] = make(shape);
  SOUNDER_STRATEGIES(SOUNDER_MAKE)
#undef SOUNDER_MAKE
  return strategies;
}

}  // namespace sounder
