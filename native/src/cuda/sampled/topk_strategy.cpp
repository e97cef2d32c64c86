// SPDX-License-Identifier: Apache-2.0
//
// The keys with the largest true scores, for each query head.
#include "sounder.h"
#include "strategies.h"

namespace sounder::cuda {

namespace {

void look(const Launcher &launcher, const SampledStep &step) {
  launch_near(launcher, step);
  launch_scores(launcher, step, 1.0f, true);
}

void choose(const Launcher &launcher, const SampledStep &step) { choose_best(launcher, step, 1); }

}  // namespace

const DeviceStrategy &topk_strategy() {
  static constexpr DeviceStrategy kStrategy{
      SOUNDER_ATTENTION_TOPK, false, false, true, true, false, look, choose};
  return kStrategy;
}

}  // namespace sounder::cuda
