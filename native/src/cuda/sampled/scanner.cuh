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
// Sketches of more than two rounds of bytes are scanned in passes, whose sums add up.
#pragma once

#include "rows.cuh"

namespace sounder::cuda {

// Shapes of a kernel: one that it knows, whose sketches take one pass; or all of a Dim, by runtime figures.
template <int kDim, int kBits>
struct OwnShape : Own<kDim> {
  static constexpr SketchPasses kPasses{kDim, kBits};
  static constexpr int kRounds = kPasses.rounds;
  static_assert(kPasses.all() == 1);
  __device__ static constexpr SketchPasses passes_of(const SketchShape &) { return kPasses; }
};
template <int kDim>
struct AnyShape : UpTo<kDim> {
  static constexpr int kRounds = 2;
  __device__ static SketchPasses passes_of(const SketchShape &s) { return {s.head_dim, s.bits}; }
};

// What a lane has of a record: the planes of one pass, with the last pass the rest.
template <typename Shape>
struct Sketch {
  static constexpr int kRounds = Shape::kRounds, kMeanWords = Shape::kMost / 64;
  uint4 planes[kRounds][4];
  uint4 scales[2];            // bf16 of the lane's 16 keys
  uint32_t mean[kMeanWords];  // two int16 each
  float mean_scale;

  // Where in a mean, or a q11, the words of a lane lie.
  static __device__ int mean_word(int i) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return Shape::kIsOwn ? lane * kMeanWords + i : lane + 32 * i;
  }

  __device__ void load(const char *record, const SketchShape &shape, int pass) {
    const SketchPasses passes = Shape::passes_of(shape);
    const int lane = static_cast<int>(threadIdx.x) % 32, keys = lane / 4 * 16, d = Shape::of(shape.head_dim);
    const int first = pass % passes.passes * passes.rounds * kSlotsOfRound, pair = pass / passes.passes;
    const char *at = record + sketch_planes_place(d) + keys + pair * passes.slots * kIndexTokens;
#pragma unroll
    for (int r = 0; r < kRounds; ++r)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int slot = first + kSlotsOfRound * r + lane % 4 * 4 + i;
        planes[r][i] = make_uint4(0, 0, 0, 0);
        if (slot < passes.slots) planes[r][i] = load_once(at + slot * kIndexTokens);
      }
    if (pass + 1 < passes.all()) return;
#pragma unroll
    for (int i = 0; i < 2; ++i) scales[i] = load_once(record + sketch_scales_place(d) + 2 * keys + 16 * i);
#pragma unroll
    for (int i = 0; i < kMeanWords; ++i) {
      const bool has_word = Shape::kIsOwn || 2 * mean_word(i) < d;
      mean[i] = has_word ? reinterpret_cast<const uint32_t *>(record)[mean_word(i)] : 0;
    }
    mean_scale = *reinterpret_cast<const float *>(record + 2 * d);
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
template <typename Shape, int N>
struct Scanner {
  static constexpr int kRounds = Shape::kRounds, kMeanWords = Shape::kMost / 64;
  using Own = Sketch<Shape>;
  using Sums = int[8][4];  // of pairs of keys, for the columns of B
  uint32_t b[kRounds][8];
  const uint32_t *fragments;
  const int32_t *q11;  // two int16 each; read again for each block, from the first cache
  SketchShape shape;
  int heads;
  float gain[N], spread[N], base_gain[N];  // gain of 128 times the product
  float below[N];                          // 64 centre; + 1.5 · 2^23 where sums are smaller than 2^22
  uint32_t most[N];                        // of the scores since the last report

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  static __device__ int head(int n) { return N * (lane() % 4) + n; }
  __device__ int dim() const { return Shape::of(shape.head_dim); }

  __device__ void fetch(int pass, int rounds) {
#pragma unroll
    for (int r = 0; r < kRounds; ++r)
#pragma unroll
      for (int j = 0; j < 8; ++j) b[r][j] = r < rounds ? fragments[((pass * rounds + r) * 8 + j) * 32] : 0;
  }

  __device__ void start(const SampledStep &step, int64_t view, const HeadSlice &slice) {
    shape = step.shape;
    heads = slice.count;
    const int words = fragment_words(Shape::passes_of(shape));
    const int64_t first = view * shape.group() + slice.first;
    fragments =
        step.memory.fragments + (view * slices_of<Shape, 4 * N>(shape) + slice.index) * words + lane();
    q11 = reinterpret_cast<const int32_t *>(step.memory.q11 + first * dim()) + Own::mean_word(0);
    if (Shape::kIsOwn) fetch(0, kRounds);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float *figures = step.memory.figures + (first + head(n)) * 4;
      const bool is_head = head(n) < heads;
      gain[n] = is_head ? __fmul_rn(figures[0], 0.5f / 64) : 0.0f;
      spread[n] = is_head ? figures[1] : 0.0f;
      base_gain[n] = is_head ? figures[2] : 0.0f;
      below[n] = (Shape::kIsOwn ? 12582912.0f : 0.0f) + (is_head ? 64 * figures[3] : 0.0f);
      most[n] = 0x80008000u;
    }
  }

  // What the mean adds to the scores of this lane's heads.
  __device__ void find_bases(const uint32_t (&mean)[kMeanWords], float mean_scale, float (&bases)[N]) const {
    int sums[4 * N];
#pragma unroll
    for (int h = 0; h < 4 * N; ++h) {
      sums[h] = 0;
      if (h >= heads) continue;
#pragma unroll
      for (int i = 0; i < kMeanWords; ++i) {
        if (!Shape::kIsOwn && 2 * Own::mean_word(i) >= dim()) continue;
        const int32_t q = q11[h * (dim() / 2) + (Shape::kIsOwn ? i : 32 * i)];
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
    // Exact: sums of shapes of one pass are below 2^21, those of all 2^24.
    const float whole =
        Shape::kIsOwn ? __uint_as_float(0x4b400000u + static_cast<uint32_t>(sum)) : __int2float_rn(sum);
    const float product = __fsub_rn(whole, below[n]);
    const float centred = __fmaf_rn(f, __fmul_rn(gain[n], product), base);
    const float x = __fmaf_rn(__fmul_rn(f, f), spread[n], centred);
    return __float_as_uint(__fadd_rn(fminf(fmaxf(x, -32767.0f), 32767.0f), 12582912.0f));
  }

  // take(pair, sums): the products of two of the lane's 16 keys with this pass's columns.
  template <typename F>
  __device__ void multiply(const Own &sketch, F take) const {
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
        take(2 * w + pair, sums);
      }
    }
  }

  __device__ void score_pair(const Own &sketch, const float (&bases)[N], int pair, const int (&sums)[4],
                             uint32_t (&scores)[N][8]) const {
    const uint32_t f = word_of(sketch.scales[pair / 4], pair % 4);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const uint32_t low = score(sums[n], n, __uint_as_float(f << 16), bases[n]);
      const uint32_t high = score(sums[2 + n], n, __uint_as_float(f & 0xffff0000u), bases[n]);
      scores[n][pair] = __byte_perm(low, high, 0x5410);
    }
  }

  // The lane's 16 keys of a block, for its heads. With more passes than one `sketch` has the first, and gets
  // the others.
  __device__ void scan(Own &sketch, const char *record, uint32_t (&scores)[N][8]) {
    float bases[N];
    if constexpr (Shape::kIsOwn) {
      find_bases(sketch.mean, sketch.mean_scale, bases);
      multiply(sketch, [&](int pair, const int(&sums)[4]) { score_pair(sketch, bases, pair, sums, scores); });
    } else {
      const SketchPasses passes = Shape::passes_of(shape);
      Sums all = {};
      for (int pass = 0; pass < passes.all(); ++pass) {
        if (pass > 0) sketch.load(record, shape, pass);
        fetch(pass, passes.rounds);
        // The first pair of four planes counts four times.
        const int before = pass == passes.passes ? 4 : 1;
        multiply(sketch, [&](int pair, const int(&sums)[4]) {
          for (int i = 0; i < 4; ++i) all[pair][i] = all[pair][i] * before + sums[i];
        });
      }
      find_bases(sketch.mean, sketch.mean_scale, bases);
#pragma unroll
      for (int pair = 0; pair < 8; ++pair) score_pair(sketch, bases, pair, all[pair], scores);
    }
  }

  // The greatest scores of a segment, which all lanes scanned last.
  __device__ void report(const SampledStep &step, int64_t first_row, int segment) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
      uint32_t x = most[n];
      for (int bits = 4; bits < 32; bits *= 2) x = max_shorts(x, __shfl_xor_sync(kWarp, x, bits));
      const int greatest = max(static_cast<int>(static_cast<int16_t>(x)), static_cast<int32_t>(x) >> 16);
      const int64_t place = (first_row + head(n)) * kMostSegmentsHere + segment;
      if (lane() < 4 && head(n) < heads) atomicMax(step.memory.maxima + place, greatest);
      most[n] = 0x80008000u;
    }
  }
};

}  // namespace sounder::cuda
