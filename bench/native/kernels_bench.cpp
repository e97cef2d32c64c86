// SPDX-License-Identifier: Apache-2.0
//
// Kernel speeds beside what the machine can do, in one run: one line "name value unit" a figure. Figures are
// the fastest tenth of short runs, since other work on the machine only ever takes away.
//   kernels_bench [threads]      SOUNDER_CPU and SOUNDER_ONEDNN are obeyed
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "matmul.h"
#include "threads.h"

using namespace sounder;

namespace {

// Seconds of work(i) for i = 0, 1, ..: the fastest tenth of many short runs. Short, so that many fit between
// two interruptions by other programs; not the fastest of all, which may have found warm caches.
double typical_seconds(const std::function<void(int)> &work) {
  using Clock = std::chrono::steady_clock;
  constexpr double kTotalSeconds = 0.3;
  constexpr size_t kLeastRuns = 5;
  std::vector<double> runs;
  work(0);
  for (double total = 0; total < kTotalSeconds || runs.size() < kLeastRuns; total += runs.back()) {
    auto start = Clock::now();
    work(static_cast<int>(runs.size()) + 1);
    runs.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::sort(runs.begin(), runs.end());
  return runs[runs.size() / 10];
}

void print(const std::string &name, double value, const char *unit) {
  std::printf("%s %.4g %s\n", name.c_str(), value, unit);
  std::fflush(stdout);
}

// Memory in huge pages where the system gives them, as the weights have them.
struct Unmap {
  size_t bytes;
  void operator()(void *memory) const { munmap(memory, bytes); }
};
std::unique_ptr<void, Unmap> huge_memory(size_t bytes) {
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::fprintf(stderr, "kernels_bench needs %zu bytes of memory, which the system refuses\n", bytes);
    std::exit(1);
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  return {memory, Unmap{bytes}};
}

// Small random bf16 values: products neither overflow nor vanish into subnormals.
void fill_bf16(uint16_t *values, size_t count) {
  uint32_t state = 1;
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values[i] = static_cast<uint16_t>(0x3c00u | (state >> 16 & 0x807fu));
  }
}

// Bytes a second of plain reading, in pieces of kPiece through all of the memory.
double stream_bandwidth(ThreadTeam &team, const uint16_t *memory, size_t bytes) {
  constexpr size_t kPiece = 2 << 20, kChunk = 1 << 16, kWords = kChunk / sizeof(uint64_t);
  auto words = reinterpret_cast<const uint64_t *>(memory);
  std::vector<uint64_t> sums(team.size() * 64);
  double seconds = typical_seconds([&](int run) {
    const uint64_t *piece = words + run % (bytes / kPiece) * (kPiece / sizeof(uint64_t));
    auto body = [&](int chunk, int thread) {
      const uint64_t *from = piece + chunk * kWords;
      uint64_t lanes[16] = {};  // vectorises in any build
      for (size_t i = 0; i < kWords; i += 16) {
        __builtin_prefetch(from + i + 256);
        __builtin_prefetch(from + i + 264);
        for (int lane = 0; lane < 16; ++lane) lanes[lane] += from[i + lane];
      }
      for (uint64_t lane : lanes) sums[thread * 64] += lane;
    };
    team.run(kPiece / kChunk, body);
  });
  return kPiece / seconds;
}

constexpr std::pair<int, int> kShapes[] = {{576, 1536}, {1536, 576}, {384, 1024}, {4096, 4096}};

// Layer after layer of one shape through all of the weights, as decoding does.
void bench_decode(const std::string &label, Matmul &matmul, const uint16_t *weights, size_t bytes,
                  double stream) {
  for (auto [rows, columns] : kShapes) {
    const size_t matrix = static_cast<size_t>(rows) * columns, layers = bytes / 2 / matrix;
    if (layers < 2) continue;
    for (int batch : {1, 2, 4, 8, 16}) {
      std::vector<float> x(static_cast<size_t>(batch) * columns, 0.5f), y(static_cast<size_t>(batch) * rows);
      double seconds = typical_seconds([&](int run) {
        WeightMatrix w{weights + run % layers * matrix, rows, columns, false};
        matmul.multiply(w, x.data(), batch, nullptr, y.data(), rows);
      });
      double rate = matrix * 2 / seconds;
      std::string name = "matvec_bf16_" + label + "_" + std::to_string(rows) + "x" + std::to_string(columns) +
                         "_batch" + std::to_string(batch);
      print(name, rate * 1e-9, "GB/s");
      print(name + "_of_stream", rate / stream, "ratio");
    }
  }
}

void bench_prefill(const std::string &label, Matmul &matmul, const uint16_t *weights) {
  for (auto [rows, columns] : kShapes) {
    for (int tokens : {32, 128, 512, 2048}) {
      std::vector<float> x(static_cast<size_t>(tokens) * columns, 0.5f),
          y(static_cast<size_t>(tokens) * rows);
      double seconds = typical_seconds([&](int) {
        matmul.multiply({weights, rows, columns, false}, x.data(), tokens, nullptr, y.data(), rows);
      });
      print("gemm_" + label + "_" + std::to_string(rows) + "x" + std::to_string(columns) + "_tokens" +
                std::to_string(tokens),
            2e-9 * rows * columns * tokens / seconds, "GFLOP/s");
    }
  }
}

// The f32 multiply-adds that all threads can do at once, with everything in the first-level cache.
double peak_flops(ThreadTeam &team, const Kernels &kernels) {
  constexpr int kRows = 4, kColumns = 512, kBatch = 12, kRounds = 200;
  auto body = [&](int, int) {
    std::vector<float> w(kRows * kColumns, 0.5f), x(kBatch * kColumns, 0.5f), y(kBatch * kRows);
    for (int i = 0; i < kRounds; ++i) {
      kernels.matvec_f32(w.data(), x.data(), kColumns, y.data(), kRows, kRows, kColumns, kBatch);
    }
  };
  double work = 2.0 * kRows * kColumns * kBatch * kRounds * team.size();
  return work / typical_seconds([&](int) { team.run(team.size(), body); });
}

void bench_regions(ThreadTeam &team) {
  auto nothing = [](int, int) {};
  double seconds = typical_seconds([&](int) {
    for (int i = 0; i < 1000; ++i) team.run(team.size() * 4, nothing);
  });
  print("empty_region", seconds * 1e3, "us");
}

}  // namespace

int main(int count, char **arguments) {
  const char *problem = nullptr;
  const Kernels *kernels = choose_level(&problem);
  if (kernels == nullptr) {
    std::fprintf(stderr, "%s\n", problem);
    return 2;
  }
  int threads = count > 1 ? std::max(1, std::atoi(arguments[1])) : usable_cores();
  ThreadTeam team(threads);
  print("threads", threads, kernels->name);
  bench_regions(team);
  print("f32_multiply_add", peak_flops(team, *kernels) * 1e-9, "GFLOP/s");

  constexpr size_t kLarge = size_t{512} << 20;  // beyond any cache
  auto memory = huge_memory(kLarge);
  auto weights = static_cast<uint16_t *>(memory.get());
  fill_bf16(weights, kLarge / 2);
  double stream = stream_bandwidth(team, weights, kLarge);
  print("stream_read_512MiB", stream * 1e-9, "GB/s");
  constexpr size_t kSmall = size_t{24} << 20;  // a small model's weights, in the last-level cache
  double cached = stream_bandwidth(team, weights, kSmall);
  print("stream_read_24MiB", cached * 1e-9, "GB/s");

  Matmul best(team, *kernels, 2048, 4096, 4096, false);
  std::printf("# %s\n", best.description());
  bench_decode("512MiB", best, weights, kLarge, stream);
  bench_decode("24MiB", best, weights, kSmall, cached);
  if (std::strncmp(best.description(), "oneDNN", 6) == 0) bench_prefill("onednn", best, weights);
  setenv("SOUNDER_ONEDNN", "off", 1);
  Matmul own(team, *kernels, 2048, 4096, 4096, false);
  bench_prefill("own", own, weights);
  return 0;
}
