// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <vector>

#include "check.h"
#include "threads.h"

using sounder::ChunkShares;
using sounder::ThreadTeam;

TEST("shares hand out each chunk once: to a thread its own in order, then others' from their end") {
  ChunkShares shares(3);
  shares.divide(8);  // 0 1 | 2 3 4 | 5 6 7
  const int threads[] = {1, 0, 1, 1, 1, 1, 2, 2}, own[] = {2, 0, 3, 4, 7, 6, 5, 1};
  for (int i = 0; i < 8; ++i) CHECK(shares.claim(threads[i]) == own[i]);
}

TEST("shares hand out each chunk once, whoever is quick") {
  ThreadTeam team(4);
  ChunkShares shares(4);
  for (int chunks : {1, 2, 3, 4, 5, 63, 1000}) {
    std::vector<std::atomic<int>> runs(chunks);
    shares.divide(chunks);
    auto body = [&](int, int thread) { ++runs[shares.claim(thread)]; };
    team.run(chunks, body);
    CHECK(std::all_of(runs.begin(), runs.end(), [](auto &count) { return count == 1; }));
  }
}
