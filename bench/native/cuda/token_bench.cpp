// SPDX-License-Identifier: Apache-2.0
//
// A whole decode token of Llama-3.1-8B's shape, seeded weights, batch 1, as one captured graph: weights,
// sketches and layer 0's KV in the GPU's memory, the KV of the other layers in pinned host memory. Prints a
// table of contexts and budgets, and for each context the stages beside their rooflines: bytes over the
// bandwidths that are measured here, of reading the GPU's memory and of copying from pinned memory.
//
//   token_bench [name=value …]
//     context=98304, and those between that are a power of four times 98304
//     bits=2       of the sketches
//     branches=7   streams beside the first, for parts of the heads of attention
//     part=49152   least keys of a part
//     shuffle=1    0: blocks lie in the order of the context
//     splits=0     thread blocks of a KV head's chosen rows; 0: as place_sampled has it
//     stages=1     0: no stages
//     variants=0   1: ways to launch beside each other instead
#include <cuda_runtime.h>

#include <map>
#include <string>

#include "token.h"

using namespace sounder;
using namespace token_bench;

namespace {

struct Figures {
  double read_rate, wire_rate;  // bytes a second
};

Figures measure_roofs(Bench &bench) {
  const int64_t bytes = bench.model.layers[0].gate_up->count * 2;
  uint32_t *sink = reinterpret_cast<uint32_t *>(bench.best->data);
  const double read = bench.time([&] {
    for (int l = 0; l < Model::kLayers; ++l)
      launch_read(bench.launcher, bench.model.layers[l].gate_up->data, bytes, sink);
  });
  const int64_t part = std::min<int64_t>(int64_t{1} << 28, bench.dense_rows->count * 2);
  const double copy = bench.time(
      [&] {
        check(cudaMemcpyAsync(bench.dense_rows->data, bench.host_rows[0]->host(), static_cast<size_t>(part),
                              cudaMemcpyHostToDevice, bench.launcher.stream),
              "copy");
      },
      5);
  return {1e3 * static_cast<double>(bytes) * Model::kLayers / read, 1e3 * static_cast<double>(part) / copy};
}

void print_stage(const char *name, double ms, double bytes, double rate) {
  std::printf("    %-28s %8.3f ms %10.1f MB %8.1f GB/s %6.0f %% of the roof\n", name, ms, bytes / 1e6,
              bytes / ms / 1e6, 1e5 * bytes / rate / ms);
}

// After a whole token: stages that use up what the ones before made come first.
void print_stages(Bench &bench, const Figures &roof, double rows) {
  const cuda::Launcher &own = bench.launcher;
  auto layers = [&](auto body) {
    return bench.time([&] {
      for (int l = kDense; l < Model::kLayers; ++l) body(bench.step_of(l), l);
    });
  };
  const double sampled = Model::kLayers - kDense, views = sampled * Model::kKvHeads, keys = bench.query.end;
  const double scores = views * keys * 2;
  const double attend = layers([&](const auto &s, int) { cuda::launch_attend(own, s); });
  const double choose = layers([&](const auto &s, int) { cuda::launch_draw(own, s); });
  const double combine = layers([&](const auto &s, int) { cuda::launch_combine(own, s); });
  const double weigh = layers([&](const auto &s, int) { cuda::launch_weigh(own, s); });
  const double scan = layers([&](const auto &s, int) { cuda::launch_scan(own, s); });
  const double prepare =
      layers([&](const auto &s, int l) { cuda::launch_prepare(own, s, bench.new_rows_of(l)); });
  const double dense = bench.time([&] {
    for (int l = 0; l < kDense; ++l) cuda::launch_exact_attention(own, bench.step_of(l));
  });
  const double products = bench.time([&] {
    bench.first();
    for (int l = 0; l < Model::kLayers; ++l) bench.multiply(bench.products_after(l));
    bench.last();
  });
  const double record = static_cast<double>(record_bytes(index_shape(bench.bits)));
  print_stage("products", products, static_cast<double>(bench.model.streamed_bytes), roof.read_rate);
  print_stage("prepare", prepare, views * 2 * Model::kRowBytes, roof.read_rate);
  print_stage("scan, sink and tail", scan, views * keys / kIndexTokens * record + 4 * scores, roof.read_rate);
  print_stage("weigh", weigh, 4 * scores, roof.read_rate);
  print_stage("combine", combine, 5 * scores, roof.read_rate);
  print_stage("choose", choose, scores + views * rows * 8, roof.read_rate);
  print_stage("attend (host rows)", attend, views * rows * Model::kRowBytes, roof.wire_rate);
  print_stage("layer 0, dense", dense,
              kDense * Model::kKvHeads * static_cast<double>(bench.query.position + 1) * Model::kRowBytes,
              roof.read_rate);
  std::printf("    sum of stages %.2f ms\n",
              products + prepare + scan + weigh + combine + choose + attend + dense);
}

void run_context(Bench &bench, int n, const Figures &roof) {
  for (const double budget : {0.005, 0.01, 0.02, 0.04}) {
    bench.set_query(n, budget);
    bench.rows_read(1);
    const double ms = bench.time([&] { bench.token(); });
    const double rows = bench.rows_read(kRepeats + 3);
    std::printf("context %7d  bits %d  budget %4.1f %%  rows %8.1f (of %d asked)  token %7.3f ms\n", n,
                bench.bits, 100 * budget, rows, bench.query.budget, ms);
    if (budget == 0.02 && bench.options.stages) print_stages(bench, roof, rows);
    std::fflush(stdout);
  }
}

// Ways to launch the same token, beside each other.
void run_variants(Bench &bench, int n) {
  const Options asked = bench.options;
  for (const int branches : {0, 1, 3, 7})
    for (const int splits : {8, 16}) {
      bench.options.branches = branches;
      bench.options.splits = splits;
      bench.place_work();
      std::printf("context %7d  branches %d  splits %2d ", n, branches, splits);
      for (const double budget : {0.005, 0.01, 0.02}) {
        bench.set_query(n, budget);
        std::printf("  %.1f %%: %7.3f ms", 100 * budget, bench.time([&] { bench.token(); }, 8));
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  bench.options = asked;
  bench.place_work();
}

Options read_options(int count, char **arguments) {
  Options o;
  const std::map<std::string, int *> names = {
      {"context", &o.context}, {"bits", &o.bits},         {"branches", &o.branches}, {"splits", &o.splits},
      {"stages", &o.stages},   {"variants", &o.variants}, {"shuffle", &o.shuffle},   {"part", &o.part}};
  for (int i = 1; i < count; ++i) {
    const std::string text = arguments[i];
    const size_t equals = text.find('=');
    const auto name = names.find(text.substr(0, equals));
    if (name == names.end() || equals == std::string::npos) {
      std::fprintf(stderr, "Cannot read the option %s: see the top of token_bench.cpp\n", arguments[i]);
      std::exit(1);
    }
    *name->second = std::atoi(text.c_str() + equals + 1);
  }
  return o;
}

void run(const Options &options) {
  const double start = seconds();
  Bench bench(options);
  size_t left = 0, all = 0;
  check(cudaMemGetInfo(&left, &all), "look at the device");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "look at the device");
  const double pinned =
      double{Model::kLayers - kDense} * options.context * Model::kKvHeads * Model::kRowBytes / (1 << 30);
  std::printf(
      "%s; %.1f GiB pinned (touched in %.1f s, pinned in %.1f s), %.1f GiB of device memory in use, ready in "
      "%.1f "
      "s\n",
      properties.name, pinned, PinnedSlab::touch_seconds(), PinnedSlab::pin_seconds(),
      static_cast<double>(all - left) / (1 << 30), seconds() - start);
  const Figures roof = measure_roofs(bench);
  std::printf("reading device memory %.0f GB/s, copying from pinned memory %.1f GB/s\n", roof.read_rate / 1e9,
              roof.wire_rate / 1e9);
  std::fflush(stdout);
  for (int n = std::min(98304, options.context); n <= options.context; n *= 4)
    options.variants ? run_variants(bench, n) : run_context(bench, n, roof);
}

}  // namespace

int main(int count, char **arguments) {
  const Options options = read_options(count, arguments);
  try {
    run(options);
  } catch (const std::exception &failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return 1;
  }
}
