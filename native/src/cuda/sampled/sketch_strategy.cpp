// SPDX-License-Identifier: Apache-2.0
//
// Poisson sampling driven by sketches.
#include "sounder.h"
#include "strategies.h"

namespace sounder::cuda {

namespace {

void choose(const Launcher &launcher, const SampledStep &step) {
  launch_weigh(launcher, step);
  launch_combine(launcher, step);
  launch_draw(launcher, step);
}

}  // namespace

const DeviceStrategy &sketch_strategy() {
  static constexpr DeviceStrategy kStrategy{
      SOUNDER_ATTENTION_SKETCH, false, true, false, false, false, launch_scan, choose};
  return kStrategy;
}

}  // namespace sounder::cuda
