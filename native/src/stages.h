// SPDX-License-Identifier: Apache-2.0
//
// Time of a step by stage (enum sounder_stage).
#pragma once

#include <algorithm>
#include <array>
#include <chrono>

#include "sounder.h"

namespace sounder {

using StageMs = std::array<float, SOUNDER_STAGE_COUNT>;

// Adds up wall time by stage.
class StageClock {
 public:
  StageClock() : start_(now()), last_(start_) {}
  // The time since the last lap belongs to this stage.
  void lap(int stage) {
    auto time = now();
    add(stage, std::chrono::duration<float, std::milli>(time - last_).count());
    last_ = time;
  }
  // Nobody's: who tells the stages of this time himself adds them.
  void skip() { last_ = now(); }
  void add(int stage, float ms) { ms_[size_t(stage)] += ms; }
  void write(float *stage_ms) {
    ms_[SOUNDER_STAGE_TOTAL] = std::chrono::duration<float, std::milli>(now() - start_).count();
    std::copy(ms_.begin(), ms_.end(), stage_ms);
  }

 private:
  static std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }
  std::chrono::steady_clock::time_point start_, last_;
  StageMs ms_{};
};

}  // namespace sounder
