// SPDX-License-Identifier: Apache-2.0
//
// What attention needs beyond cpu/simd.h. Only for level files, with the same rules.
#pragma once

#include "../cpu/simd.h"

namespace sounder::simd {
namespace {

// Two vectors made of 2 * kLanes values of a row. bf16 values are split into those of even and of odd
// place, which costs a shift and a mask instead of two widening loads; f32 values keep their order.
struct Pair {
  Vec first, second;
};
constexpr int kPair = 2 * kLanes;

// Where lane `lane` of the pair's first (side 0) or second vector comes from, in values.
constexpr int pair_place(const uint16_t *, int side, int lane) { return 2 * lane + side; }
constexpr int pair_place(const float *, int side, int lane) { return side * kLanes + lane; }

SOUNDER_INLINE Pair load_pair(const float *p) { return {load(p), load(p + kLanes)}; }
// The first n < kPair values, zeros for the rest, whose memory is not touched.
SOUNDER_INLINE Pair load_pair_partial(const float *p, int n) {
  if (n < kLanes) return {load_partial(p, n), zero()};
  return {load(p), load_partial(p + kLanes, n - kLanes)};
}

// 2^t = 1 + t p(t) on |t| ≤ 1/2, fitted for least maximal relative error: 1.1e-7.
constexpr float kPower1 = 0x1.62e42ap-1f, kPower2 = 0x1.ebf9bcp-3f, kPower3 = 0x1.c6b752p-5f,
                kPower4 = 0x1.3cea88p-7f, kPower5 = 0x1.5bba14p-10f;

SOUNDER_INLINE Vec power_of_fraction(Vec t) {
  Vec p = fma(set1(kPower5), t, set1(kPower4));
  p = fma(p, t, set1(kPower3));
  p = fma(p, t, set1(kPower2));
  p = fma(p, t, set1(kPower1));
  return fma(p, t, set1(1.0f));
}

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

SOUNDER_INLINE Pair split_pairs(__m512i x) {
  return {{_mm512_castsi512_ps(_mm512_slli_epi32(x, 16))},
          {_mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))}};
}
SOUNDER_INLINE Pair load_pair(const uint16_t *p) { return split_pairs(_mm512_loadu_si512(p)); }
SOUNDER_INLINE Vec in_register(Vec x) {
  __asm__("" : "+v"(x.v));
  return x;
}
SOUNDER_INLINE Pair load_pair_partial(const uint16_t *p, int n) {
  return split_pairs(_mm512_maskz_loadu_epi16((__mmask32{1} << n) - 1u, p));
}

// 2^t for t ≤ 0
SOUNDER_INLINE Vec exp2_nonpositive(Vec t) {
  Vec n = round_to_integer(t);
  return scale_by_power(power_of_fraction(sub(t, n)), n);
}

SOUNDER_INLINE float first_lane(Vec x) { return _mm512_cvtss_f32(x.v); }
// Whether a > b in any lane.
SOUNDER_INLINE bool any_greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ) != 0; }

// x where from ≤ place < to, other elsewhere
SOUNDER_INLINE Vec where_between(Vec place, Vec from, Vec to, Vec x, Vec other) {
  __mmask16 inside = _mm512_cmp_ps_mask(from.v, place.v, _CMP_LE_OQ);
  inside = _mm512_mask_cmp_ps_mask(inside, place.v, to.v, _CMP_LT_OQ);
  return {_mm512_mask_blend_ps(inside, other.v, x.v)};
}

// to[0 .. 3] = the sums of the lanes of a, b, c, d
SOUNDER_INLINE __m256 halves(Vec x) {
  return _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
}
SOUNDER_INLINE void store_sums(float *to, Vec a, Vec b, Vec c, Vec d) {
  __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(halves(a), halves(b)), _mm256_hadd_ps(halves(c), halves(d)));
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#elif defined(__AVX2__) && defined(__FMA__)

SOUNDER_INLINE Pair split_pairs(__m256i x) {
  return {{_mm256_castsi256_ps(_mm256_slli_epi32(x, 16))},
          {_mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(static_cast<int>(0xffff0000u))))}};
}
SOUNDER_INLINE Pair load_pair(const uint16_t *p) {
  __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
  __asm__("" : "+x"(x));  // loaded once, not by each of the two operations
  return split_pairs(x);
}
// Keeps the compiler from loading x again at each use.
SOUNDER_INLINE Vec in_register(Vec x) {
  __asm__("" : "+x"(x.v));
  return x;
}
SOUNDER_INLINE Pair load_pair_partial(const uint16_t *p, int n) {
  alignas(32) uint16_t part[kPair] = {};
  for (int i = 0; i < n; ++i) part[i] = p[i];
  return split_pairs(_mm256_load_si256(reinterpret_cast<const __m256i *>(part)));
}

// 2^t for t ≤ 0; below 2^-126 the result is 2^-126, which no sum here can tell from 0.
SOUNDER_INLINE Vec exp2_nonpositive(Vec t) {
  t = max(set1(-126.0f), t);              // NaN is the second operand: it stays
  Vec moved = add(t, set1(12582912.0f));  // 1.5 · 2^23: the lowest bits are now the rounded t
  Vec y = power_of_fraction(sub(t, sub(moved, set1(12582912.0f))));
  __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(moved.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y.v), exponent))};
}

SOUNDER_INLINE float first_lane(Vec x) { return _mm256_cvtss_f32(x.v); }
SOUNDER_INLINE bool any_greater(Vec a, Vec b) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)) != 0;
}

SOUNDER_INLINE Vec where_between(Vec place, Vec from, Vec to, Vec x, Vec other) {
  __m256 inside =
      _mm256_and_ps(_mm256_cmp_ps(from.v, place.v, _CMP_LE_OQ), _mm256_cmp_ps(place.v, to.v, _CMP_LT_OQ));
  return {_mm256_blendv_ps(other.v, x.v, inside)};
}

// Neighbouring lanes of a and b added, in turn. Not vhaddps, which takes three times as long here.
SOUNDER_INLINE __m256 neighbours(Vec a, Vec b) {
  return _mm256_add_ps(_mm256_unpacklo_ps(a.v, b.v), _mm256_unpackhi_ps(a.v, b.v));
}
SOUNDER_INLINE void store_sums(float *to, Vec a, Vec b, Vec c, Vec d) {
  __m256d x = _mm256_castps_pd(neighbours(a, b)), y = _mm256_castps_pd(neighbours(c, d));
  __m256 low = _mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), high = _mm256_castpd_ps(_mm256_unpackhi_pd(x, y));
  __m256 all = _mm256_add_ps(low, high);
  _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#else

SOUNDER_INLINE Pair load_pair(const uint16_t *p) { return {load(p), load(p + 1)}; }
SOUNDER_INLINE Vec in_register(Vec x) { return x; }
SOUNDER_INLINE Pair load_pair_partial(const uint16_t *p, int n) { return {n > 0 ? load(p) : zero(), zero()}; }

SOUNDER_INLINE Vec exp2_nonpositive(Vec t) {
  t = max(set1(-126.0f), t);
  Vec n = round_to_integer(t);
  return scale_by_power(power_of_fraction(sub(t, n)), n);
}

SOUNDER_INLINE float first_lane(Vec x) { return x.v; }
SOUNDER_INLINE bool any_greater(Vec a, Vec b) { return a.v > b.v; }

SOUNDER_INLINE Vec where_between(Vec place, Vec from, Vec to, Vec x, Vec other) {
  return from.v <= place.v && place.v < to.v ? x : other;
}

SOUNDER_INLINE void store_sums(float *to, Vec a, Vec b, Vec c, Vec d) {
  to[0] = a.v;
  to[1] = b.v;
  to[2] = c.v;
  to[3] = d.v;
}

#endif

}  // namespace
}  // namespace sounder::simd
