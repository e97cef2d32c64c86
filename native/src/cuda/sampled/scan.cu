// SPDX-License-Identifier: Apache-2.0
//
// The scan: bits of sketches times q5 on tensor cores. A warp takes a block of 128 keys at a time, all query
// heads of the group at once. Lane 4 g + t loads the bytes of keys 16 g .. 16 g + 15 in the slots 4 t .. 4 t
// + 3 (and 16 further on, …) of the planes, 16 bytes at a time; turned on their side, a word holds four slots
// of one key, and masked with 0x01010101 << m it holds four of the 32 unsigned bytes of a row of A: bits
// times 2^m. B has q5 times 2^(2 - m), so that all bits count four times; bits 3 to 7 are moved down before.
// Which of the sum's terms is which does not matter, as long as A and B agree (prepare.cu lays B out).
//
// Column n of B is head n / 2 (odd ones nothing) for groups of up to four, so that lane t of a quad gets the
// sums of head t; for larger groups it is head n, and a lane gets those of two.
//
// The first blocks of the grid attend sink and tail instead, while the others scan.
#include "rows.cuh"

namespace sounder::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kScanBlocks =
    3;  // of a multiprocessor: four have no registers to fetch ahead, and are no faster

template <int D, int kBits>
struct Sketch {
  static constexpr int kSlots = kBits * D / 8, kRounds = rounds_of(D, kBits);
  uint4 planes[kRounds][4];
  uint4 scales[2];        // bf16 of the lane's 16 keys
  uint32_t mean[D / 64];  // two int16 each
  float mean_scale;

  __device__ void load(const char *record) {
    const int lane = static_cast<int>(threadIdx.x) % 32, keys = lane / 4 * 16;
    const char *at = record + sketch_planes_place(D) + keys;
#pragma unroll
    for (int r = 0; r < kRounds; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int slot = kSlotsOfRound * r + lane % 4 * 4 + i;
        planes[r][i] = make_uint4(0, 0, 0, 0);
        if (kSlots % kSlotsOfRound == 0 || slot < kSlots) planes[r][i] = load_once(at + slot * kIndexTokens);
      }
#pragma unroll
    for (int i = 0; i < 2; ++i) scales[i] = load_once(record + sketch_scales_place(D) + 2 * keys + 16 * i);
#pragma unroll
    for (int i = 0; i < D / 64; ++i)
      mean[i] = reinterpret_cast<const uint32_t *>(record)[lane * (D / 64) + i];
    mean_scale = *reinterpret_cast<const float *>(record + 2 * D);
  }
};

__device__ inline uint32_t word_of(const uint4 &x, int i) {
  return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w;
}

// Word w of four slots' bytes, keys 4 w .. 4 w + 3: → for each of these keys its four slots.
__device__ inline void turn_bytes(const uint4 (&slots)[4], int w, uint32_t (&keys)[4]) {
  const uint32_t a = word_of(slots[0], w), b = word_of(slots[1], w);
  const uint32_t c = word_of(slots[2], w), d = word_of(slots[3], w);
  const uint32_t ab_low = __byte_perm(a, b, 0x5140), ab_high = __byte_perm(a, b, 0x7362);
  const uint32_t cd_low = __byte_perm(c, d, 0x5140), cd_high = __byte_perm(c, d, 0x7362);
  keys[0] = __byte_perm(ab_low, cd_low, 0x5410);
  keys[1] = __byte_perm(ab_low, cd_low, 0x7632);
  keys[2] = __byte_perm(ab_high, cd_high, 0x5410);
  keys[3] = __byte_perm(ab_high, cd_high, 0x7632);
}

// Bits j of four slots, times 2^j.
__device__ inline uint32_t bits_of(uint32_t slots, int j) { return slots & (0x01010101u << j); }

// Sums of two keys' bits times q5, for the columns of B, 256 times. Bits by threes have sums of their own, as
// B makes each three of one size: 4, 32 and 256 times.
template <int kRounds>
__device__ inline void add_products(const uint32_t (&first)[kRounds], const uint32_t (&second)[kRounds],
                                    const uint32_t (&b)[kRounds][8], int (&sums)[4]) {
  int thirds[3][4];
  int none[4] = {0, 0, 0, 0};
  auto add = [&](int third, int r, int j, int other_r, int other_j) {
    const uint32_t a[4] = {bits_of(first[r], j), bits_of(second[r], j), bits_of(first[other_r], other_j),
                           bits_of(second[other_r], other_j)};
    const bool is_begin = r == 0 && j % 3 == 0;
    mma_u8_s8(thirds[third], a, b[r][j], b[other_r][other_j], is_begin ? none : thirds[third]);
  };
#pragma unroll
  for (int third = 0; third < 3; ++third) {
    const int j = 3 * third;
#pragma unroll
    for (int r = 0; r < kRounds; ++r) add(third, r, j, r, j + 1);
    if (third == 2) continue;
    // The third bits of two rounds together; of one, beside nothing.
    if (kRounds == 2) {
      add(third, 0, j + 2, kRounds - 1, j + 2);
    } else {
      const uint32_t a[4] = {bits_of(first[0], j + 2), bits_of(second[0], j + 2), 0, 0};
      mma_u8_s8(thirds[third], a, b[0][j + 2], 0, thirds[third]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[i] = thirds[0][i] * 64 + (thirds[1][i] * 8 + thirds[2][i]);
}

// N: heads of a lane.
template <int D, int kBits, int N>
struct Scanner {
  static constexpr int kRounds = rounds_of(D, kBits);
  uint32_t b[kRounds][8];
  const int32_t *q11;  // two int16 each; read again for each block, from the first cache
  int group;
  float gain[N], spread[N], base_gain[N];  // gain of 128 times the product
  float below[N];                          // 1.5 · 2^23 + 64 centre
  uint32_t most[N];                        // of the scores since the last report

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  static __device__ int head(int n) { return N * (lane() % 4) + n; }

  __device__ void start(const SampledStep &step, int64_t view) {
    group = step.shape.group();
    const uint32_t *fragments = step.memory.fragments + view * fragment_words(D, kBits) + lane();
    q11 = reinterpret_cast<const int32_t *>(step.memory.q11 + view * group * D) + lane() * (D / 64);
#pragma unroll
    for (int r = 0; r < kRounds; ++r)
#pragma unroll
      for (int j = 0; j < 8; ++j) b[r][j] = fragments[(r * 8 + j) * 32];
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float *figures = step.memory.figures + (view * group + head(n)) * 4;
      const bool is_head = head(n) < group;
      gain[n] = is_head ? __fmul_rn(figures[0], 0.5f / 64) : 0.0f;
      spread[n] = is_head ? figures[1] : 0.0f;
      base_gain[n] = is_head ? figures[2] : 0.0f;
      below[n] = 12582912.0f + (is_head ? 64 * figures[3] : 0.0f);
      most[n] = 0x80008000u;
    }
  }

  // What the mean adds to the scores of this lane's heads.
  __device__ void find_bases(const uint32_t (&mean)[D / 64], float mean_scale, float (&bases)[N]) const {
    int sums[4 * N];
#pragma unroll
    for (int h = 0; h < 4 * N; ++h) {
      sums[h] = 0;
      if (h >= group) continue;
#pragma unroll
      for (int i = 0; i < D / 64; ++i) {
        const int32_t q = q11[h * (D / 2) + i];
        sums[h] += static_cast<int16_t>(mean[i]) * static_cast<int16_t>(q) +
                   (static_cast<int32_t>(mean[i]) >> 16) * (q >> 16);
      }
    }
    // Lane t of a quad keeps heads N t .. N t + N - 1.
#pragma unroll
    for (int half = 2 * N, bits = 2; half >= N; half /= 2, bits /= 2)
#pragma unroll
      for (int i = 0; i < half; ++i) {
        const bool is_upper = lane() & bits;
        const int give = is_upper ? sums[i] : sums[i + half], keep = is_upper ? sums[i + half] : sums[i];
        sums[i] = keep + __shfl_xor_sync(kWarp, give, bits);
      }
#pragma unroll
    for (int n = 0; n < N; ++n) {
      for (int bits = 4; bits < 32; bits *= 2) sums[n] += __shfl_xor_sync(kWarp, sums[n], bits);
      bases[n] = __fmul_rn(__int2float_rn(sums[n]), __fmul_rn(mean_scale, base_gain[n]));
    }
  }

  // The low half of the result is the score.
  __device__ uint32_t score(int sum, int n, float f, float base) const {
    // Exact: sums are below 2^21.
    const float product = __fsub_rn(__uint_as_float(0x4b400000u + static_cast<uint32_t>(sum)), below[n]);
    const float centred = __fmaf_rn(f, __fmul_rn(gain[n], product), base);
    const float x = __fmaf_rn(__fmul_rn(f, f), spread[n], centred);
    return __float_as_uint(__fadd_rn(fminf(fmaxf(x, -32767.0f), 32767.0f), 12582912.0f));
  }

  // The lane's 16 keys of a block, for its heads.
  __device__ void scan(const Sketch<D, kBits> &sketch, uint32_t (&scores)[N][8]) const {
    float bases[N];
    find_bases(sketch.mean, sketch.mean_scale, bases);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      uint32_t keys[kRounds][4];
#pragma unroll
      for (int r = 0; r < kRounds; ++r) turn_bytes(sketch.planes[r], w, keys[r]);
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        uint32_t first[kRounds], second[kRounds];
#pragma unroll
        for (int r = 0; r < kRounds; ++r) {
          first[r] = keys[r][2 * pair];
          second[r] = keys[r][2 * pair + 1];
        }
        int sums[4];
        add_products<kRounds>(first, second, b, sums);
        const uint32_t f = word_of(sketch.scales[w / 2], w % 2 * 2 + pair);
#pragma unroll
        for (int n = 0; n < N; ++n) {
          const uint32_t low = score(sums[n], n, __uint_as_float(f << 16), bases[n]);
          const uint32_t high = score(sums[2 + n], n, __uint_as_float(f & 0xffff0000u), bases[n]);
          scores[n][2 * w + pair] = __byte_perm(low, high, 0x5410);
        }
      }
    }
  }

  // The greatest scores of a segment, which all lanes scanned last.
  __device__ void report(const SampledStep &step, int64_t view, int segment) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
      uint32_t x = most[n];
      for (int bits = 4; bits < 32; bits *= 2) x = max_shorts(x, __shfl_xor_sync(kWarp, x, bits));
      const int greatest = max(static_cast<int>(static_cast<int16_t>(x)), static_cast<int32_t>(x) >> 16);
      const int64_t place = (view * step.shape.group() + head(n)) * kMostSegmentsHere + segment;
      if (lane() < 4 && head(n) < step.shape.group()) atomicMax(step.memory.maxima + place, greatest);
      most[n] = 0x80008000u;
    }
  }
};

template <int N>
__device__ inline void hide_keys(int count, uint32_t (&scores)[N][8]) {
  const int first = static_cast<int>(threadIdx.x) % 32 / 4 * 16;
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (first + 2 * i < count) scores[n][i] = (scores[n][i] & 0xffff0000u) | 0x8000u;
      if (first + 2 * i + 1 < count) scores[n][i] = (scores[n][i] & 0xffffu) | 0x80000000u;
    }
}

__device__ inline void store_scores(const uint32_t (&scores)[8], int16_t *at) {
  auto *to = reinterpret_cast<uint4 *>(at + static_cast<int>(threadIdx.x) % 32 / 4 * 16);
  to[0] = make_uint4(scores[0], scores[1], scores[2], scores[3]);
  to[1] = make_uint4(scores[4], scores[5], scores[6], scores[7]);
}

// Blocks [block, end) of one context and KV head. The next record is fetched before this one is worked on,
// and where it lies one block earlier.
template <int D, int kBits, int N>
__device__ inline void scan_blocks(const SampledStep &step, int query, int kv_head, int block, int end) {
  const SampledQuery &own_query = step.query[query];
  const int32_t *ids = own_query.blocks;
  const int begin = own_query.begin, group = step.shape.group();
  const int blocks_of_segment = own_query.segment_keys / kIndexTokens;
  const int64_t view = view_index(step, query, kv_head), keys = step.memory.keys;
  auto record_of = [&](int id) {
    return step.records + (static_cast<int64_t>(id) * step.shape.kv_heads + kv_head) * step.record_stride;
  };
  Sketch<D, kBits> sketch;
  sketch.load(record_of(ids[block]));
  int id = ids[min(block + 1, end - 1)], segment = block / blocks_of_segment;
  Scanner<D, kBits, N> scanner;
  scanner.start(step, view);
  for (; block < end; ++block) {
    const Sketch<D, kBits> own = sketch;
    if (block + 1 < end) sketch.load(record_of(id));
    id = ids[min(block + 2, end - 1)];
    uint32_t scores[N][8];
    scanner.scan(own, scores);
    if (block * kIndexTokens < begin) hide_keys<N>(begin - block * kIndexTokens, scores);
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int i = 0; i < 8; ++i) scanner.most[n] = max_shorts(scanner.most[n], scores[n][i]);
      if (scanner.head(n) < group)
        store_scores(scores[n], step.memory.scores + (view * group + scanner.head(n)) * keys +
                                    int64_t{block} * kIndexTokens);
    }
    if (block + 1 < end && block + 1 < (segment + 1) * blocks_of_segment) continue;
    scanner.report(step, view, segment++);
  }
}

// Items [item, end) of all queries' served KV heads' blocks.
template <int D, int kBits, int N>
__device__ inline void scan_items(const SampledStep &step, int64_t item, int64_t end) {
  for (int query = 0; query < step.queries && item < end; ++query) {
    const int blocks = step.query[query].end / kIndexTokens;
    const int64_t all = int64_t{blocks} * step.served.count();
    for (; item < min(all, end);) {
      const int kv_head = static_cast<int>(item) / blocks, first = static_cast<int>(item) % blocks;
      const int last = static_cast<int>(min(int64_t{blocks}, first + end - item));
      scan_blocks<D, kBits, N>(step, query, step.served.first + kv_head, first, last);
      item += last - first;
    }
    item -= all;
    end -= all;
  }
}

// Sink and tail.
template <int D, int H>
__device__ inline void attend_near(const SampledStep &step, int query, int kv_head, int part, float *shared,
                                   MergeFactors &factors) {
  const SampledQuery &own = step.query[query];
  const int group = step.shape.group(), begin = own.begin, skipped = own.end - own.begin;
  auto row_at = [&](int i) {
    const int key = i < begin ? i : i + skipped;
    return ReadRow{row_of(step, step.near_rows, own.near_blocks, kv_head, key), 0.0f};
  };
  float *result =
      step.memory.exact + (view_index(step, query, kv_head) * kNearParts + part) * group * state_floats(D);
  attend_block<D, H, H >= 4 ? 2 : 4>(step, query, kv_head, part, kNearParts, own.position + 1 - skipped,
                                     shared, factors, result, row_at);
}

template <int D, int kBits, int H>
__global__ void __launch_bounds__(kThreads, H == 8 ? 2 : kScanBlocks) scan_kernel(SampledStep step) {
  __shared__ float shared[shared_state_floats<D, H>(kWarps)];
  __shared__ MergeFactors factors;
  let_next_start();
  wait_for_previous();
  const int near = step.queries * step.served.count() * kNearParts, block = static_cast<int>(blockIdx.x);
  if (block < near) {
    const int view = block / kNearParts, heads = step.served.count();
    attend_near<D, H>(step, view / heads, step.served.first + view % heads, block % kNearParts, shared,
                      factors);
    return;
  }
  int64_t items = 0;
  for (int q = 0; q < step.queries; ++q)
    items += int64_t{step.query[q].end / kIndexTokens} * step.served.count();
  const int64_t warps = (static_cast<int>(gridDim.x) - near) * kWarps;
  const int64_t warp = (block - near) * kWarps + static_cast<int>(threadIdx.x) / 32;
  scan_items<D, kBits, H == 8 ? 2 : 1>(step, items * warp / warps, items * (warp + 1) / warps);
}

template <int D, int kBits>
void launch_with_group(const Launcher &launcher, const SampledStep &step) {
  const int near = step.queries * step.served.count() * kNearParts, group = step.shape.group();
  const dim3 grid{static_cast<unsigned>(near + kScanBlocks * launcher.multiprocessors), 1, 1};
  if (group == 1) return launch(launcher, scan_kernel<D, kBits, 1>, grid, kThreads, 0, step);
  if (group == 2) return launch(launcher, scan_kernel<D, kBits, 2>, grid, kThreads, 0, step);
  if (group <= 4) return launch(launcher, scan_kernel<D, kBits, 4>, grid, kThreads, 0, step);
  launch(launcher, scan_kernel<D, kBits, 8>, grid, kThreads, 0, step);
}

}  // namespace

void launch_scan(const Launcher &launcher, const SampledStep &step) {
  check_shape(has_sketch_kernels(step.shape));
  const int d = step.shape.head_dim, bits = step.shape.bits;
  if (d == 64 && bits == 1) launch_with_group<64, 1>(launcher, step);
  if (d == 64 && bits == 2) launch_with_group<64, 2>(launcher, step);
  if (d == 128 && bits == 1) launch_with_group<128, 1>(launcher, step);
  if (d == 128 && bits == 2) launch_with_group<128, 2>(launcher, step);
}

}  // namespace sounder::cuda
