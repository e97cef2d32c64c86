// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>

#include "launcher.h"
#include "stages.h"
#include "streams.h"

namespace sounder::cuda {

// Tells a step's stages apart by marks in its stream.
class StageMarks {
 public:
  // A step begins, whose stages are told apart or not.
  void begin(cudaStream_t stream, bool tells) {
    count_ = 0;
    tells_ = tells;
    skip(stream);
  }
  bool tells() const { return tells_; }
  // What was queued since the last mark is this stage's.
  void mark(cudaStream_t stream, int stage) {
    if (!tells_) return;
    if (count_ == marks_.size()) marks_.emplace_back();
    marks_[count_].stage = stage;
    marks_[count_++].event.record(stream);
  }
  // Nobody's.
  void skip(cudaStream_t stream) { mark(stream, -1); }

  // Once the stream is done.
  StageMs ms() const {
    StageMs by_stage{};
    for (size_t i = 1; i < count_; ++i) {
      if (marks_[i].stage < 0) continue;
      float ms = 0;
      check(cudaEventElapsedTime(&ms, marks_[i - 1].event, marks_[i].event), "say how long it took");
      by_stage[size_t(marks_[i].stage)] += ms;
    }
    return by_stage;
  }

 private:
  struct Mark {
    Event event{cudaEventDefault};
    int stage = -1;
  };
  std::deque<Mark> marks_;
  size_t count_ = 0;
  bool tells_ = false;
};

inline void mark(const Launcher &launcher, int stage) {
  if (launcher.marks != nullptr) launcher.marks->mark(launcher.stream, stage);
}

}  // namespace sounder::cuda
