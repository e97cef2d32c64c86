// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <instructions.cuh>
#include <vector>

#include "streams.h"

namespace sounder::cuda {

// Streams beside a launcher's, for kernels that run beside others.
class Branches {
 public:
  explicit Branches(int count) : own_(static_cast<size_t>(count)) {
    for (const Own &own : own_) list_.push_back({own.stream, own.begins, own.ends});
  }
  void give(Launcher &launcher) const {
    launcher.branches = list_.data();
    launcher.branch_count = static_cast<int>(list_.size());
  }

 private:
  struct Own {
    Stream stream;
    Event begins, ends;
  };
  std::vector<Own> own_;
  std::vector<Branch> list_;
};

}  // namespace sounder::cuda
