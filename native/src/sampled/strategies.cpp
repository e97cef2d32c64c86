// SPDX-License-Identifier: Apache-2.0
#include "strategies.h"

#include "sounder.h"

namespace sounder {

std::vector<std::unique_ptr<Strategy>> make_strategies(const StrategyShape &shape) {
  std::vector<std::unique_ptr<Strategy>> strategies(SOUNDER_ATTENTION_COUNT);
  strategies[SOUNDER_ATTENTION_SKETCH] = make_sketch_strategy(shape);
  strategies[SOUNDER_ATTENTION_LSH] = make_lsh_strategy(shape);
  strategies[SOUNDER_ATTENTION_QUEST] = make_quest_strategy(shape);
  strategies[SOUNDER_ATTENTION_TOPK] = make_topk_strategy(shape);
  strategies[SOUNDER_ATTENTION_ORACLE] = make_oracle_strategy(shape);
  return strategies;
}

}  // namespace sounder
