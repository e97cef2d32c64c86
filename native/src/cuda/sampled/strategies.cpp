// SPDX-License-Identifier: Apache-2.0
#include "strategies.h"

#include "failure.h"
#include "sounder.h"

namespace sounder::cuda {

namespace {

constexpr const DeviceStrategy &(*kStrategies[kDeviceStrategies])() = {
    sketch_strategy,        //
    lsh_strategy,           //
    quest_strategy,         //
    topk_strategy,          //
    oracle_strategy,        //
    oracle_draws_strategy,  //
};

}  // namespace

const DeviceStrategy &device_strategy(int index) { return kStrategies[index](); }

int device_strategy_of(const SampledParams &params) {
  for (int i = 0; i < kDeviceStrategies; ++i) {
    const DeviceStrategy &own = device_strategy(i);
    if (own.attention == params.attention &&
        own.has_draws == (params.attention == SOUNDER_ATTENTION_ORACLE && params.draws > 0))
      return i;
  }
  fail(SOUNDER_INTERNAL, "There is no such strategy on a GPU.");
}

}  // namespace sounder::cuda
