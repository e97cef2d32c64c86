// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda/attend.h"
#include "cuda/buffer.h"
#include "cuda/products.h"
#include "device_workspace.h"
#include "gpu_bench.h"

namespace bench {

namespace {

using namespace sounder;
using namespace sounder::cuda;

constexpr int kRepeats = 20;

// Random bf16 values of magnitude 1/8 to 2, either sign.
Buffer random_buffer(int64_t bytes) {
  Buffer buffer(bytes, "make room for a bench");
  std::vector<uint16_t> values(size_t(1) << 24);
  std::minstd_rand random(7);
  for (uint16_t &value : values) {
    const uint32_t r = random() >> 8;
    value = static_cast<uint16_t>((r & 0x8000u) | (0x3e00u + (r & 0x1ffu)));
  }
  const int64_t piece = int64_t(values.size()) * 2;
  for (int64_t first = 0; first < bytes; first += piece) {
    check(cudaMemcpy(buffer.data() + first, values.data(), size_t(std::min(piece, bytes - first)),
                     cudaMemcpyHostToDevice),
          "fill a buffer");
  }
  return buffer;
}

class Timer {
 public:
  explicit Timer(cudaStream_t stream) : stream_(stream) {
    check(cudaEventCreate(&start_), "make an event");
    check(cudaEventCreate(&end_), "make an event");
  }
  // Median milliseconds of body(i), i from 0 up, each timed alone after two that are not.
  template <typename Body>
  double median(Body body) {
    std::vector<float> times;
    for (int i = 0; i < kRepeats + 2; ++i) {
      check(cudaEventRecord(start_, stream_), "mark a start");
      body(i);
      check(cudaEventRecord(end_, stream_), "mark an end");
      check(cudaEventSynchronize(end_), "run");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, start_, end_), "measure");
      if (i >= 2) times.push_back(ms);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t start_, end_;
};

struct World {
  World()
      : weights(random_buffer(int64_t{4} << 30)),
        kv(random_buffer(int64_t{4} << 30)),
        x(random_buffer(int64_t{512} << 20)),
        y(int64_t{1} << 30, "make room for results"),
        scratch(kDeviceProductBytes, "make room for products") {
    check(cudaStreamCreate(&stream), "make a stream");
    products = std::make_unique<Products>(stream, scratch.data());
    timer = std::make_unique<Timer>(stream);
  }
  // Another part of the weights each time: none is in a cache.
  WeightMatrix matrix(int rows, int columns, int turn) const {
    const int64_t bytes = int64_t{2} * rows * columns, parts = (int64_t{4} << 30) / bytes;
    return {weights.data() + turn % parts * bytes, rows, columns, false};
  }

  Buffer weights, kv, x, y, scratch;
  cudaStream_t stream;
  std::unique_ptr<Products> products;
  std::unique_ptr<Timer> timer;
};

Roofs measure_roofs(World &world) {
  const size_t half = size_t{2} << 30;
  const double copy = world.timer->median([&](int) {
    check(
        cudaMemcpyAsync(world.kv.data(), world.weights.data(), half, cudaMemcpyDeviceToDevice, world.stream),
        "copy");
  });
  const double product = world.timer->median([&](int turn) {
    world.products->multiply_many(world.matrix(8192, 8192, turn), world.x.data(), 8192, Into::kValues,
                                  world.y.data());
  });
  const Roofs roofs{2.0 * double(half) / copy * 1e3, 2.0 * 8192 * 8192 * 8192 / product * 1e3};
  std::printf("roofs: a copy moves %.0f GB/s (read and written), a product of 8192 runs at %.0f TFLOP/s\n",
              roofs.bytes / 1e9, roofs.flops / 1e12);
  return roofs;
}

void bench_products(World &world, const Roofs &roofs) {
  struct Named {
    const char *name;
    int rows, columns;
    Into into;
  };
  const Named all[] = {{"qkv", 6144, 4096, Into::kFloats},
                       {"output of attention", 4096, 4096, Into::kResidual},
                       {"gate and up", 28672, 4096, Into::kValues},
                       {"down", 4096, 14336, Into::kResidual},
                       {"logits", 128256, 4096, Into::kFloats}};
  for (const Named &m : all) {
    for (int tokens : {1, 2, 4, 5, 8, 16, 32, 4096}) {
      if (tokens == 4096 && m.rows == 128256) continue;
      const double bytes = 2.0 * m.rows * m.columns, flops = bytes * tokens;
      for (bool own : {true, false}) {
        if (own && !world.products->streams(world.matrix(m.rows, m.columns, 0), tokens)) continue;
        const double ms = world.timer->median([&](int turn) {
          const WeightMatrix w = world.matrix(m.rows, m.columns, turn);
          if (own)
            world.products->multiply(w, world.x.data(), tokens, m.into, world.y.data());
          else
            world.products->multiply_many(w, world.x.data(), tokens, m.into, world.y.data());
        });
        const std::string name =
            std::string(m.name) + ", " + std::to_string(tokens) + " tokens, " + (own ? "own" : "cuBLASLt");
        print(name.c_str(), ms, tokens <= 32 ? bytes : 0, tokens > 32 ? flops : 0, roofs);
      }
    }
  }
}

// `sequences` contexts with `tokens` new ones each, after `position` others.
void bench_attention(World &world, const Roofs &roofs, int sequences, int tokens, int position,
                     int large_queries = kLargeTile) {
  const AttentionShape shape{kHeads, kKvHeads, kHeadDim, 0, false};
  const int64_t block_bytes = int64_t{2} * kKvHeads * kBlockTokens * 2 * kHeadDim;
  const int blocks = (position + tokens + kBlockTokens - 1) / kBlockTokens;
  const int there = static_cast<int>((int64_t{4} << 30) / block_bytes) - 1;
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "say what it is");
  std::vector<AttendJob> jobs;
  std::vector<int32_t> table;
  for (int s = 0; s < sequences; ++s) {
    jobs.push_back({s * tokens, tokens, position, s});
    for (int b = 0; b < blocks; ++b) table.push_back((s * blocks + b) * 7 % there);
  }
  const AttendPlan plan = plan_attention(shape, jobs, properties.multiProcessorCount, large_queries);
  std::vector<AttendTile> tiles = plan.small;
  tiles.insert(tiles.end(), plan.large.begin(), plan.large.end());
  Buffer tables(int64_t(table.size()) * 4, "make room for tables");
  Buffer on_device(int64_t(tiles.size() * sizeof(AttendTile)), "make room for tiles");
  Buffer partials(int64_t{4} * kDevicePartials * (kHeadDim + 2), "make room for partial states");
  check(cudaMemcpy(tables.data(), table.data(), table.size() * 4, cudaMemcpyHostToDevice), "upload tables");
  check(cudaMemcpy(on_device.data(), tiles.data(), tiles.size() * sizeof(AttendTile), cudaMemcpyHostToDevice),
        "upload tiles");
  const AttendTile *first = reinterpret_cast<const AttendTile *>(on_device.data());
  const int small = static_cast<int>(plan.small.size()), large = static_cast<int>(plan.large.size());
  const double ms = world.timer->median([&](int turn) {
    // Slabs begin elsewhere each time, as those of layers do.
    const AttendCall call{world.x.data(),
                          world.kv.data() + turn % 2 * block_bytes,
                          reinterpret_cast<const int32_t *>(tables.data()),
                          blocks,
                          world.y.data(),
                          partials.data()};
    attend_tiles(world.stream, shape, call, first, small, kSmallTile, plan.small_splits);
    if (large_queries == kHopperTile)
      attend_hopper(world.stream, shape, call, first + small, large, plan.large_splits);
    else
      attend_tiles(world.stream, shape, call, first + small, large, kLargeTile, plan.large_splits);
  });
  const double keys = double(sequences) * tokens * (position + (tokens + 1) / 2.0);
  const double bytes = double(sequences) * (position + tokens) * kKvHeads * 2 * kHeadDim * 2;
  const std::string name = "attention, " + std::to_string(sequences) + " x " + std::to_string(tokens) +
                           " tokens after " + std::to_string(position) +
                           (large_queries == kHopperTile ? ", Hopper" : "");
  print(name.c_str(), ms, tokens == 1 ? bytes : 0, tokens > 1 ? keys * 4 * kHeads * kHeadDim : 0, roofs);
}

}  // namespace

Roofs bench_kernels(bool all) {
  World world;
  const Roofs roofs = measure_roofs(world);
  if (!all) return roofs;
  bench_products(world, roofs);
  for (int position : {1023, 8191, 32767, 98303, 393215}) bench_attention(world, roofs, 1, 1, position);
  bench_attention(world, roofs, 16, 1, 1023);
  bench_attention(world, roofs, 16, 1, 32767);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "say what it is");
  for (int queries : {kLargeTile, kHopperTile}) {
    if (queries == kHopperTile && properties.major != 9) continue;
    for (int position : {0, 28672, 94208}) bench_attention(world, roofs, 1, 4096, position, queries);
    bench_attention(world, roofs, 1, 64, 32768, queries);
  }
  return roofs;
}

}  // namespace bench
