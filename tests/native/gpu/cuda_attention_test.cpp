// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "../attention_reference.h"
#include "../check.h"
#include "cuda/attend.h"
#include "cuda/buffer.h"
#include "device_workspace.h"
#include "no_device.h"

using namespace sounder;
using namespace sounder::cuda;
using namespace attention_reference;

namespace {

template <typename T>
Buffer on_device(const std::vector<T> &values) {
  Buffer buffer(int64_t(values.size() * sizeof(T)), "hold a test's values");
  cuda::check(cudaMemcpy(buffer.data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
              "upload a test's values");
  return buffer;
}

// The jobs of a batch, as a step has them.
struct Step {
  explicit Step(const Batch &batch) {
    for (const Context &context : batch.contexts)
      width = std::max(width, static_cast<int>(context.blocks.size()));
    for (const Context &context : batch.contexts) {
      jobs.push_back({rows, context.tokens, context.position, static_cast<int>(jobs.size())});
      rows += context.tokens;
      for (float x : context.q) q.push_back(static_cast<uint16_t>(bits(bf16_rounded(x)) >> 16));
      table.resize(jobs.size() * static_cast<size_t>(width), -1);
      std::copy(context.blocks.begin(), context.blocks.end(), table.end() - width);
    }
  }
  static uint32_t bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    return u;
  }
  int rows = 0, width = 0;
  std::vector<AttendJob> jobs;
  std::vector<uint16_t> q;
  std::vector<int32_t> table;
};

// [rows][heads * head_dim]
std::vector<float> attend_on_device(const Batch &batch, const Step &step, int large_queries, int processors) {
  const AttendPlan plan = plan_attention(batch.shape, step.jobs, processors, large_queries);
  std::vector<AttendTile> tiles = plan.small;
  tiles.insert(tiles.end(), plan.large.begin(), plan.large.end());
  const Buffer q = on_device(step.q), slab = on_device(batch.slab_bf16), tables = on_device(step.table);
  const Buffer all_tiles = on_device(tiles);
  const Buffer output = on_device(std::vector<uint16_t>(step.q.size(), 0x7fc0));
  const Buffer partials(int64_t{4} * kDevicePartials * (batch.shape.head_dim + 2), "hold partial states");
  const AttendCall call{q.data(),   slab.data(),   reinterpret_cast<const int32_t *>(tables.data()),
                        step.width, output.data(), partials.data()};
  const auto *first = reinterpret_cast<const AttendTile *>(all_tiles.data());
  const int small = static_cast<int>(plan.small.size()), large = static_cast<int>(plan.large.size());
  attend_tiles(nullptr, batch.shape, call, first, small, kSmallTile, plan.small_splits);
  if (large_queries == kHopperTile)
    attend_hopper(nullptr, batch.shape, call, first + small, large, plan.large_splits);
  else
    attend_tiles(nullptr, batch.shape, call, first + small, large, kLargeTile, plan.large_splits);
  std::vector<uint16_t> raw(step.q.size());
  cuda::check(cudaMemcpy(raw.data(), output.data(), raw.size() * 2, cudaMemcpyDeviceToHost), "read results");
  std::vector<float> values;
  for (uint16_t bits : raw) {
    const uint32_t u = uint32_t{bits} << 16;
    float x;
    std::memcpy(&x, &u, 4);
    values.push_back(x);
  }
  return values;
}

double distance(const double *expected, const float *got, int count) {
  double error = 0, square = 0;
  for (int i = 0; i < count; ++i) {
    error += (got[i] - expected[i]) * (got[i] - expected[i]);
    square += expected[i] * expected[i];
  }
  return std::sqrt(error / square);
}

void check_batch(const AttentionShape &shape, const std::vector<Length> &lengths, float spread,
                 int processors, uint32_t seed) {
  const int before = check::failures();
  const Batch batch = make_batch(shape, lengths, spread, seed);
  const Step step(batch);
  int major = 0;
  cuda::check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0), "describe itself");
  for (const int queries : {kLargeTile, kHopperTile}) {
    if (queries == kHopperTile && !can_attend_hopper(shape, major)) continue;
    const std::vector<float> got = attend_on_device(batch, step, queries, processors);
    size_t at = 0;
    for (const Context &context : batch.contexts) {
      const std::vector<double> expected = attend<double>(shape, context, Loop::kExact);
      const std::vector<double> plain = attend<float>(shape, context, Loop::kBf16);
      const int width = shape.heads * shape.head_dim;
      for (int t = 0; t < context.tokens; ++t) {
        const std::vector<float> loop(plain.begin() + t * width, plain.begin() + (t + 1) * width);
        const double error = distance(&expected[size_t(t) * width], &got[at], width);
        // Twice the plain loop's, and what rounding the results adds.
        CHECK(error < 2 * distance(&expected[size_t(t) * width], loop.data(), width) + 3e-3);
        at += size_t(width);
      }
    }
    if (check::failures() > before)
      std::printf("  heads %d of %d, head dim %d, window %d, tiles of %d\n", shape.heads, shape.kv_heads,
                  shape.head_dim, shape.sliding_window, queries);
  }
}

}  // namespace

TEST("prefill attends what it must see and nothing else, whatever lies behind the last token") {
  uint32_t seed = 1;
  for (const auto &[heads, kv_heads] : std::vector<std::array<int, 2>>{{2, 2}, {3, 1}, {8, 2}, {8, 1}})
    for (const int window : {0, 100})
      for (const auto &[tokens, position] :
           std::vector<Length>{{200, 0}, {129, 128}, {64, 1000}, {257, 127}}) {
        check_batch({heads, kv_heads, 128, window, false}, {{tokens, position}}, seed % 2 ? 1.0f : 3.0f, 1,
                    seed);
        ++seed;
      }
}

TEST("keys are split among thread blocks where queries are few for the device") {
  uint32_t seed = 100;
  for (const auto &[tokens, position] : std::vector<Length>{{64, 900}, {40, 1500}, {100, 20}})
    check_batch({4, 1, 128, 0, false}, {{tokens, position}}, 1.0f, 132, seed++);
}

TEST("contexts of a batch beside each other, prefill and decode; other head dims") {
  check_batch({8, 2, 128, 0, false}, {{1, 300}, {150, 40}, {1, 0}, {70, 600}}, 1.0f, 16, 200);
  check_batch({8, 2, 64, 0, false}, {{1, 300}, {150, 40}, {70, 600}}, 1.0f, 16, 201);
  check_batch({6, 2, 96, 50, false}, {{1, 300}, {150, 40}}, 1.0f, 16, 202);
}
