// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "attend.h"
#include "device_workspace.h"

namespace sounder::cuda {

namespace {

// Packed queries up to which a job is cut into small tiles: beyond them, tiles that share their keys' way
// into shared memory among four warps read fewer bytes.
constexpr int kMostInSmallTiles = 32;

void cut(const AttendJob &job, int packed, int size, std::vector<AttendTile> &tiles) {
  for (int first = 0; first < packed; first += size)
    tiles.push_back({job.first_row, job.tokens, job.position, job.sequence, first, {}});
}

int splits_for(size_t tiles, int kv_heads, int size, int processors) {
  if (tiles == 0) return 1;
  const int64_t blocks = static_cast<int64_t>(tiles) * kv_heads;
  const int64_t room = kDevicePartials / (blocks * size);
  const int64_t wanted = int64_t{processors} * kBlocksPerProcessor / blocks;
  return static_cast<int>(std::clamp<int64_t>(std::min(wanted, room), 1, kMostSplits));
}

}  // namespace

bool fits_small_tiles(const AttentionShape &shape, int tokens) {
  return tokens <= 1 || tokens * (shape.heads / shape.kv_heads) <= kMostInSmallTiles;
}

int attention_splits(const AttentionShape &shape, size_t tiles, int queries, int processors) {
  return splits_for(tiles, shape.kv_heads, queries, processors);
}

AttendPlan plan_attention(const AttentionShape &shape, const std::vector<AttendJob> &jobs, int processors,
                          int large_queries) {
  AttendPlan plan;
  plan.large_queries = large_queries;
  const int group = shape.heads / shape.kv_heads;
  for (const AttendJob &job : jobs) {
    const int packed = job.tokens * group;
    if (fits_small_tiles(shape, job.tokens))
      cut(job, packed, kSmallTile, plan.small);
    else
      cut(job, packed, large_queries, plan.large);
  }
  // Later tokens have more keys: the longest tiles begin first.
  std::reverse(plan.large.begin(), plan.large.end());
  plan.small_splits = splits_for(plan.small.size(), shape.kv_heads, kSmallTile, processors);
  plan.large_splits = splits_for(plan.large.size(), shape.kv_heads, large_queries, processors);
  return plan;
}

}  // namespace sounder::cuda
