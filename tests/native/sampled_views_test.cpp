// SPDX-License-Identifier: Apache-2.0
//
// What a strategy is given for each query token and KV head.
#include "sampled/sampled_views.h"

#include <set>
#include <utility>

#include "check.h"
#include "sounder.h"

using namespace sounder;

namespace {

constexpr int kKvHeads = 3, kHeadDim = 8, kTokens = 512;

// The draw seeds of jobs at these positions, layer after layer.
std::vector<uint64_t> draw_seeds(const std::vector<int> &positions, const std::vector<int> &layers,
                                 uint64_t seed) {
  const SampledShape shape{
      {2 * kKvHeads, kKvHeads, kHeadDim, 0, true}, {kHeadDim, 2, 0, 0, true}, 1, 0, 0, 4, 64, 16};
  SampledViews views("scalar", shape, 1, static_cast<int>(positions.size()), kTokens);
  const SampledParams params{SOUNDER_ATTENTION_SKETCH, 0, seed, 0.1f, 1.0f, 2, 0, false};
  const std::vector<int32_t> blocks = {0, 1, 2, 3};
  const std::vector<float> q(size_t{2} * kKvHeads * kHeadDim, 1.0f);
  std::vector<SampledJob> jobs;
  for (int position : positions)
    jobs.push_back({q.data(), nullptr, position, blocks.data(), &params, nullptr, nullptr});
  std::vector<uint64_t> seeds;
  for (int layer : layers) {
    views.make(layer, q.data(), {}, jobs.data(), static_cast<int>(jobs.size()));
    for (const View &view : views.all()) seeds.push_back(view.strategy_view.draw_seed);
  }
  return seeds;
}

TEST("seeds, positions, layers and KV heads draw independently of one another") {
  std::set<uint64_t> all;
  size_t count = 0;
  for (uint64_t seed : {0ull, 1ull, 2ull, 1ull << 32, ~0ull}) {
    const std::vector<uint64_t> seeds = draw_seeds({400, 401, 402}, {0, 1, 2, 300}, seed);
    CHECK(seeds.size() == 3 * 4 * kKvHeads);
    count += seeds.size();
    all.insert(seeds.begin(), seeds.end());
  }
  CHECK(all.size() == count);
}

TEST("what else is in the step, or came before it, changes no draw") {
  const std::vector<uint64_t> together = draw_seeds({400, 401}, {5}, 7), alone = draw_seeds({401}, {2, 5}, 7);
  for (int head = 0; head < kKvHeads; ++head) CHECK(together[kKvHeads + head] == alone[kKvHeads + head]);
}

TEST(
    "keys are cut evenly into segments of at least 8,192 keys, 8 to 32 where there are many, and a choice "
    "has room for each") {
  const std::pair<int, int> most[] = {{1, 32}, {2, 32}, {3, 21}, {4, 16}, {8, 8}, {32, 8}};
  for (const auto &[kv_heads, segments] : most)
    for (int end : {128, 8192, 8320, 32000, 65536, 65664, 262144, 1 << 20}) {
      end = end / kIndexTokens * kIndexTokens;
      const int keys = segment_keys_of(end, kv_heads);
      CHECK(keys % kIndexTokens == 0 && keys >= 8192);
      CHECK((end + keys - 1) / keys <= segments);
      CHECK(keys == 8192 || keys <= end / segments + kIndexTokens);
      CHECK(keys <= most_segment_keys(end) && keys <= most_segment_keys(end + 100));
    }
}

}  // namespace
