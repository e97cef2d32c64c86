// SPDX-License-Identifier: Apache-2.0
//
// The strategies of this build, a file each. A factory gives nullptr when the index that it needs is absent.
#pragma once

#include <memory>

#include "strategy.h"

namespace sounder {

std::unique_ptr<Strategy> make_sketch_strategy(const StrategyShape &shape);
std::unique_ptr<Strategy> make_lsh_strategy(const StrategyShape &shape);
std::unique_ptr<Strategy> make_quest_strategy(const StrategyShape &shape);
std::unique_ptr<Strategy> make_topk_strategy(const StrategyShape &shape);
std::unique_ptr<Strategy> make_oracle_strategy(const StrategyShape &shape);

}  // namespace sounder
