// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "threads.h"

namespace sounder {

// Values (of about a nanosecond's tenth each) below which waking the team costs more than it saves.
constexpr int64_t kSerialWork = 64 * 1024;

// body(row) for all rows, by the whole team where the work is worth it.
template <typename Body>
void for_rows(ThreadTeam &team, int rows, int64_t work_per_row, const Body &body) {
  if (team.size() == 1 || rows == 1 || rows * work_per_row < kSerialWork) {
    for (int row = 0; row < rows; ++row) body(row);
    return;
  }
  int chunk_rows = std::max(1, rows / (team.size() * 4));
  auto chunk_body = [&](int chunk, int) {
    int end = std::min(rows, (chunk + 1) * chunk_rows);
    for (int row = chunk * chunk_rows; row < end; ++row) body(row);
  };
  team.run((rows + chunk_rows - 1) / chunk_rows, chunk_body);
}

}  // namespace sounder
