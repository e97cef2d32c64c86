// SPDX-License-Identifier: Apache-2.0
//
// Saving and restoring a context of an 8B model's KV shape (8 KV heads of 128 dimensions, sketches of 2
// bits), and how long decode steps take beside it. Prints `name value unit` lines; the best of several. The
// disk's own pace is the time of a sync of as many bytes: compare `save` (with its sync) to it.
//
//   saved_bench FOLDER [layers] [tokens] [threads]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "saved/xxh64.h"
#include "test_engine.h"

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <typename Body>
double seconds_of(const Body &body) {
  const double start = seconds();
  body();
  return seconds() - start;
}

struct Bench {
  Bench(const std::string &folder, int layers, int tokens, int threads)
      : path(folder + "/saved_bench"), tokens(tokens) {
    config.layers = layers;
    config.hidden = config.intermediate = 256;
    config.heads = 32;
    config.kv_heads = 8;
    config.head_dim = config.rope_dims = 128;
    config.f32 = false;
    config.threads = threads;
    config.context = tokens + 1024;
    config.kv_blocks = 2 * (tokens / SOUNDER_BLOCK_TOKENS) + 16;
    config.sketch_bits = 2;
    require(engine.load(tiny::make_model(config), nullptr));
    context = engine.create();
    require(sounder_context_fill(engine.handle(), context, tokens, 1));
  }
  void require(int32_t status) {
    if (status >= 0) return;
    std::fprintf(stderr, "%s\n", engine.error().c_str());
    std::exit(1);
  }
  void save() {
    require(sounder_context_save(engine.handle(), context, tokens, raw(), int32_t(path.size()), identity,
                                 nullptr, 0));
  }
  void restore() {
    const int32_t restored =
        sounder_context_restore(engine.handle(), tokens, raw(), int32_t(path.size()), identity);
    require(restored);
    sounder_context_free(engine.handle(), restored);
  }
  const uint8_t *raw() const { return reinterpret_cast<const uint8_t *>(path.data()); }
  // Milliseconds of decode steps over a short context until ended, or so many.
  std::vector<double> steps(const std::atomic<bool> *ended, int most) {
    std::vector<double> ms;
    tiny::Sequence sequence{engine.create(), {1}};
    while (int(ms.size()) < most && (ended == nullptr || !*ended))
      ms.push_back(1e3 * seconds_of([&] { engine.step({sequence}); }));
    sounder_context_free(engine.handle(), sequence.context);
    std::sort(ms.begin(), ms.end());
    return ms;
  }

  tiny::Config config;
  tiny::Engine engine;
  const std::string path;
  const int tokens;
  int32_t context = 0;
  const uint8_t identity[SOUNDER_IDENTITY_BYTES] = {};
};

void print_steps(const char *name, const std::vector<double> &ms) {
  if (ms.empty()) return;
  std::printf("%s_p50 %.3f ms\n%s_p99 %.3f ms\n", name, ms[ms.size() / 2], name, ms[ms.size() * 99 / 100]);
}

void measure(Bench &bench) {
  double save = 1e9, restore = 1e9;
  for (int i = 0; i < 5; ++i) {
    save = std::min(save, seconds_of([&] { bench.save(); }));
    restore = std::min(restore, seconds_of([&] { bench.restore(); }));
  }
  std::FILE *file = std::fopen(bench.path.c_str(), "rb");
  if (file == nullptr) std::exit(1);
  std::fseek(file, 0, SEEK_END);
  const double gigabytes = double(std::ftell(file)) / 1e9;
  std::fclose(file);
  std::printf("size %.3f GB\nsave %.2f GB/s\nrestore %.2f GB/s\n", gigabytes, gigabytes / save,
              gigabytes / restore);
  std::vector<uint8_t> bytes(size_t{64} << 20, 3);
  double hash = 1e9;
  for (int i = 0; i < 5; ++i)
    hash =
        std::min(hash, seconds_of([&] { bytes[0] = uint8_t(sounder::xxh64(bytes.data(), bytes.size())); }));
  std::printf("checksum %.2f GB/s\n", double(bytes.size()) / 1e9 / hash);

  print_steps("step_alone", bench.steps(nullptr, 900));
  std::atomic<bool> ended{false};
  std::thread saver([&] {
    for (int i = 0; i < 3; ++i) bench.save(), bench.restore();
    ended = true;
  });
  print_steps("step_beside", bench.steps(&ended, 900));
  saver.join();
}

}  // namespace

int main(int count, char **words) {
  if (count < 2) {
    std::fprintf(stderr, "saved_bench FOLDER [layers] [tokens] [threads]\n");
    return 2;
  }
  const auto number = [&](int i, int otherwise) { return count > i ? std::atoi(words[i]) : otherwise; };
  Bench bench(words[1], number(2, 8), number(3, 32768), number(4, 2));
  measure(bench);
  std::remove(bench.path.c_str());
  return 0;
}
