// SPDX-License-Identifier: Apache-2.0
//
// The strategies of this build, a file each. A factory gives nullptr when the index that it needs is absent.
#pragma once

#include <memory>

#include "strategy.h"

// One line a strategy: its name in enum sounder_attention (sounder.h), and the factory that its file defines.
#define SOUNDER_STRATEGIES(STRATEGY)     \
  STRATEGY(SKETCH, make_sketch_strategy) \
  STRATEGY(LSH, make_lsh_strategy)       \
  STRATEGY(QUEST, make_quest_strategy)   \
  STRATEGY(TOPK, make_topk_strategy)     \
  STRATEGY(ORACLE, make_oracle_strategy)

namespace sounder {

#define SOUNDER_DECLARE(name, make) std::unique_ptr<Strategy> make(const StrategyShape &shape);
SOUNDER_STRATEGIES(SOUNDER_DECLARE)
#undef SOUNDER_DECLARE

}  // namespace sounder
