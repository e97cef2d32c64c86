// SPDX-License-Identifier: Apache-2.0
//
// The scan of sketches beside its two roofs on the same threads: the bandwidth of reading memory, and the
// rate of table look-ups in registers; the sealing of blocks and the preparation of queries beside them.
// Every scan is of records that no cache holds. Prints `name value unit` lines; on a machine that others use
// at the same time the best of several runs says most, so roofs are measured between cases and the best
// of all is taken.
//
//   sketch_bench [most threads] [MiB of records to scan in turn, more than the last cache holds]
#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "sampled/sketch_kernels.h"
#include "threads.h"

using namespace sounder;

namespace {

constexpr int kKvHeads = 8, kHeads = 4, kHeadDim = 128, kRuns = 9;
constexpr double kNever = 1e9;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Lowers `least`, in seconds, to the time of body.
template <typename F>
void measure(double &least, F body) {
  const double start = seconds();
  body();
  least = std::min(least, seconds() - start);
}

struct Slab {
  explicit Slab(int64_t bytes_) : bytes(bytes_) {
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
      std::fprintf(stderr, "no %lld bytes of memory for records; give fewer MiB\n",
                   static_cast<long long>(bytes));
      std::exit(1);
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    data = static_cast<char *>(memory);
  }
  ~Slab() { munmap(data, bytes); }
  Slab(const Slab &) = delete;
  Slab &operator=(const Slab &) = delete;

  int64_t bytes;
  char *data;
};

struct Aligned {
  explicit Aligned(int64_t bytes) : memory(static_cast<size_t>(bytes) + 64) {
    data = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  }
  std::vector<char> memory;
  char *data;
};

// ---- the roofs -------------------------------------------------------------------------------------------

#define SUM_WORDS_BODY                                 \
  uint64_t sum = 0;                                    \
  for (int64_t i = 0; i < count; ++i) sum += words[i]; \
  return sum;
__attribute__((target("avx512f"))) uint64_t sum_words_avx512(const uint64_t *words, int64_t count) {
  SUM_WORDS_BODY
}
__attribute__((target("avx2"))) uint64_t sum_words_avx2(const uint64_t *words, int64_t count){
    SUM_WORDS_BODY} uint64_t sum_words_plain(const uint64_t *words, int64_t count) {
  SUM_WORDS_BODY
}

constexpr int64_t kPiece = 1 << 18;
volatile uint64_t sink;

double stream_seconds_a_byte(ThreadTeam &team, const Slab &slab) {
  auto sum_words = __builtin_cpu_supports("avx512f") ? sum_words_avx512
                   : __builtin_cpu_supports("avx2")  ? sum_words_avx2
                                                     : sum_words_plain;
  auto body = [&](int piece, int) {
    sink = sum_words(reinterpret_cast<const uint64_t *>(slab.data + piece * kPiece), kPiece / 8);
  };
  double time = kNever;
  const int pieces = static_cast<int>(slab.bytes / kPiece);
  measure(time, [&] { team.run(pieces, body); });
  return time / (double(pieces) * kPiece);
}

// Look-ups in registers, of bytes in whatever is there.
constexpr int kChains = 8, kLookups = 1 << 18;
#define LOOK_UP(width, n) "vpshufb %%" width #n ", %%" width "8, %%" width #n "\n"
#define LOOK_UP_BODY(width)                                                                        \
  for (int i = 0; i < kLookups; ++i)                                                               \
    __asm__ volatile(LOOK_UP(width, 0) LOOK_UP(width, 1) LOOK_UP(width, 2) LOOK_UP(width, 3)       \
                         LOOK_UP(width, 4) LOOK_UP(width, 5) LOOK_UP(width, 6) LOOK_UP(width, 7):: \
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
__attribute__((target("avx2"), noinline)) void look_up_avx2() { LOOK_UP_BODY("ymm") }
__attribute__((target("avx512f,avx512bw"), noinline)) void look_up_avx512() { LOOK_UP_BODY("zmm") }

double seconds_a_lookup(ThreadTeam &team) {
  const bool wide = __builtin_cpu_supports("avx512bw");
  if (!wide && !__builtin_cpu_supports("avx2")) return 0;
  auto body = [&](int, int) { wide ? look_up_avx512() : look_up_avx2(); };
  double time = kNever;
  measure(time, [&] { team.run(team.size(), body); });
  return time / (double(kChains) * kLookups * (wide ? 64 : 32) * team.size());
}

// ---- kernels ---------------------------------------------------------------------------------------------

struct Case {
  int bits, keys;
  double time;
};

class Bench {
 public:
  Bench(const SketchKernels &kernels, const Slab &slab)
      : kernels_(kernels), slab_(slab), signs_(rotation_signs(kHeadDim, 1)) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    rows_.resize(size_t{2} * kIndexTokens * kHeadDim);
    for (uint16_t &x : rows_) {
      const float value = normal(random);
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      x = static_cast<uint16_t>(bits >> 16);
    }
    q_.resize(size_t{kKvHeads} * kHeads * kHeadDim);
    for (float &x : q_) x = normal(random);
  }

  void seal(const IndexShape &shape) {
    std::vector<float> scratch(static_cast<size_t>(seal_scratch_floats(kHeadDim)));
    Aligned record(record_bytes(shape));
    const std::vector<float> signs = rotation_signs(shape.head_dim, 1);
    SealTask task{rows_.data(), shape, signs.data(), nullptr, 0, record.data, scratch.data()};
    double time = kNever;
    for (int run = 0; run < 200; ++run) measure(time, [&] { kernels_.seal_bf16(task); });
    std::printf("seal_d%d_bits%d_page%d %.1f us a block\n", shape.head_dim, shape.sketch_bits,
                shape.quest_page, time * 1e6);
  }

  void prepare() {
    Aligned query(sketch_query_bytes(kHeadDim));
    double time = kNever;
    for (int run = 0; run < 200; ++run)
      measure(time, [&] { kernels_.prepare(q_.data(), signs_.data(), kHeadDim, 2, 1.0f, query.data); });
    std::printf("prepare_d%d %.2f us a head\n", kHeadDim, time * 1e6);
  }

  // Fills the slab with records, all alike.
  void fill(int bits) {
    const IndexShape shape{kHeadDim, bits, 0, 0, false};
    record_bytes_ = record_bytes(shape);
    std::vector<float> scratch(static_cast<size_t>(seal_scratch_floats(kHeadDim)));
    Aligned record(record_bytes_);
    kernels_.seal_bf16({rows_.data(), shape, signs_.data(), nullptr, 0, record.data, scratch.data()});
    slots_ = slab_.bytes / record_bytes_ / kKvHeads;
    for (int64_t i = 0; i < slots_ * kKvHeads; ++i)
      std::memcpy(slab_.data + i * record_bytes_, record.data, static_cast<size_t>(record_bytes_));
    blocks_.resize(static_cast<size_t>(slots_));
    std::iota(blocks_.begin(), blocks_.end(), 0);
    std::shuffle(blocks_.begin(), blocks_.end(), std::mt19937(2));
    next_ = 0;
  }

  // One layer's scan of one query token, as the engine cuts it.
  void scan(ThreadTeam &team, Case &c) {
    const int blocks = c.keys / kIndexTokens;
    if (blocks > slots_) return;
    if (next_ + blocks > slots_) next_ = 0;
    const int32_t *own = blocks_.data() + next_;
    next_ += blocks;
    const int64_t query_bytes = sketch_query_bytes(kHeadDim);
    Aligned queries(query_bytes * kKvHeads * kHeads);
    for (int h = 0; h < kKvHeads * kHeads; ++h)
      kernels_.prepare(q_.data() + int64_t{h} * kHeadDim, signs_.data(), kHeadDim, c.bits, 1.0f,
                       queries.data + h * query_bytes);
    scores_.resize(size_t{kKvHeads} * kHeads * c.keys);
    const int segment = std::max(c.keys / 32 / kIndexTokens + 1, 32),
              segments = (blocks + segment - 1) / segment;
    auto body = [&](int chunk, int) {
      const int kv_head = chunk / segments, first = chunk % segments * segment;
      ScanTask task{};
      task.records = slab_.data + kv_head * record_bytes_;
      task.record_stride = kKvHeads * record_bytes_;
      task.blocks = own;
      task.first_block = first;
      task.end_block = std::min(blocks, first + segment);
      task.head_dim = kHeadDim;
      task.bits = c.bits;
      task.queries = queries.data + kv_head * kHeads * query_bytes;
      task.heads = kHeads;
      task.scores = scores_.data() + int64_t{kv_head} * kHeads * c.keys;
      task.score_stride = c.keys;
      kernels_.scan(task);
    };
    measure(c.time, [&] { team.run(kKvHeads * segments, body); });
  }

 private:
  const SketchKernels &kernels_;
  const Slab &slab_;
  std::vector<float> signs_, q_;
  std::vector<uint16_t> rows_;
  std::vector<int32_t> blocks_;
  std::vector<int16_t> scores_;
  int64_t record_bytes_ = 0, slots_ = 0, next_ = 0;
};

void print(const Case &c, int threads, double a_byte, double a_lookup) {
  const double bytes = double(c.keys) / kIndexTokens * kKvHeads * sketch_bytes(kHeadDim, c.bits);
  const double lookups = double(c.keys) * kKvHeads * kHeads * c.bits * 2 * sketch_groups(kHeadDim);
  const double stream = bytes * a_byte, look_up = lookups * a_lookup;
  std::printf(
      "scan_bits%d_n%d_threads%d %.3f ms, %.1f GB/s, %.0f %% of stream, %.0f %% of look-ups, "
      "%.0f %% of the cheaper\n",
      c.bits, c.keys, threads, c.time * 1e3, bytes / c.time * 1e-9, 100 * stream / c.time,
      100 * look_up / c.time, 100 * std::max(stream, look_up) / c.time);
}

void bench_scans(Bench &bench, const Slab &slab, int threads) {
  ThreadTeam team(threads);
  double a_byte = kNever, a_lookup = kNever;
  for (int bits : {1, 2}) {
    bench.fill(bits);
    for (int keys : {16384, 98304, 262144}) {
      Case c{bits, keys, kNever};
      for (int run = 0; run < kRuns; ++run) {
        a_byte = std::min(a_byte, stream_seconds_a_byte(team, slab));
        a_lookup = std::min(a_lookup, seconds_a_lookup(team));
        bench.scan(team, c);
      }
      if (c.time < kNever) print(c, threads, a_byte, a_lookup);
    }
  }
  std::printf("stream_read_threads%d %.2f GB/s\nlook_ups_threads%d %.1f G/s\n", threads, 1e-9 / a_byte,
              threads, a_lookup > 0 ? 1e-9 / a_lookup : 0);
}

}  // namespace

int main(int argc, char **argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : usable_cores();
  const int64_t mib = argc > 2 ? std::atoi(argv[2]) : 512;
  if (threads < 1 || mib < 1) {
    std::fprintf(stderr, "usage: sketch_bench [most threads] [MiB]\n");
    return 2;
  }
  const char *problem = nullptr;
  const Kernels *level = choose_level(&problem);
  if (level == nullptr) {
    std::fprintf(stderr, "%s\n", problem);
    return 2;
  }
  Slab slab(mib << 20);
  Bench bench(*sketch_kernels(level->name), slab);
  std::printf("level %s\n", level->name);
  for (int head_dim : {64, 128})
    for (int bits : {1, 2, 4}) bench.seal({head_dim, bits, 0, 0, false});
  bench.seal({kHeadDim, 0, 0, 16, false});
  bench.prepare();
  for (int count = 1; count <= threads; count *= 2) bench_scans(bench, slab, count);
}
