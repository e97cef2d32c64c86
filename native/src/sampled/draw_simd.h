// SPDX-License-Identifier: Apache-2.0
//
// Vectors of integers for draw_kernels.inc: Shorts of kShorts int16, Ints of kInts int32. Only for level
// files, with the rules of cpu/simd.h.
#pragma once

#include "../cpu/simd.h"

namespace sounder::simd {
namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

constexpr int kShorts = 32;
struct Shorts {
  __m512i v;
};
SOUNDER_INLINE Shorts set_shorts(int x) { return {_mm512_set1_epi16(static_cast<short>(x))}; }
SOUNDER_INLINE Shorts load_shorts(const int16_t *p) { return {_mm512_loadu_si512(p)}; }
SOUNDER_INLINE void store_shorts(void *p, Shorts x) { _mm512_storeu_si512(p, x.v); }
SOUNDER_INLINE Shorts max(Shorts a, Shorts b) { return {_mm512_max_epi16(a.v, b.v)}; }
SOUNDER_INLINE Shorts min(Shorts a, Shorts b) { return {_mm512_min_epi16(a.v, b.v)}; }
SOUNDER_INLINE Shorts min_unsigned(Shorts a, Shorts b) { return {_mm512_min_epu16(a.v, b.v)}; }
SOUNDER_INLINE Shorts sub(Shorts a, Shorts b) { return {_mm512_sub_epi16(a.v, b.v)}; }
SOUNDER_INLINE Shorts sub_saturated(Shorts a, Shorts b) { return {_mm512_subs_epi16(a.v, b.v)}; }

constexpr int kInts = 16;
struct Ints {
  __m512i v;
};
SOUNDER_INLINE Ints set_ints(int32_t x) { return {_mm512_set1_epi32(x)}; }
SOUNDER_INLINE Ints counting_ints(int32_t first) {
  return {_mm512_add_epi32(_mm512_set1_epi32(first),
                           _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))};
}
SOUNDER_INLINE Ints load_widened(const int16_t *p) {
  return {_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)))};
}
SOUNDER_INLINE Ints max(Ints a, Ints b) { return {_mm512_max_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints min(Ints a, Ints b) { return {_mm512_min_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints add(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints sub(Ints a, Ints b) { return {_mm512_sub_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints mul_low(Ints a, Ints b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints exclusive_or(Ints a, Ints b) { return {_mm512_xor_si512(a.v, b.v)}; }
template <int kBits>
SOUNDER_INLINE Ints shift_right(Ints x) {
  return {_mm512_srli_epi32(x.v, kBits)};
}
SOUNDER_INLINE void store_ints(int32_t *p, Ints x) { _mm512_storeu_si512(p, x.v); }
SOUNDER_INLINE Ints load_ints(const int32_t *p) { return {_mm512_loadu_si512(p)}; }
SOUNDER_INLINE Ints min_unsigned(Ints a, Ints b) { return {_mm512_min_epu32(a.v, b.v)}; }
SOUNDER_INLINE Ints gather(const uint32_t *from, Ints place) {
  return {_mm512_i32gather_epi32(place.v, from, 4)};
}
// Reads one value more than place says.
SOUNDER_INLINE Ints gather_widened(const int16_t *from, Ints place) {
  return {_mm512_srai_epi32(_mm512_slli_epi32(_mm512_i32gather_epi32(place.v, from, 2), 16), 16)};
}
// high[place / 4 % 8] * low[place % 4], of less than 2^15 each.
struct Products {
  __m512i first, second;  // all 32
};
SOUNDER_INLINE Products load_products(const int32_t *high, const int32_t *low) {
  const __m512i places = counting_ints(0).v,
                highs = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(high)));
  const __m512i lows = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i *>(low)));
  const __m512i quarter = _mm512_srli_epi32(places, 2);
  const __m512i later = _mm512_add_epi32(quarter, _mm512_set1_epi32(4));
  return {_mm512_mullo_epi32(_mm512_permutexvar_epi32(quarter, highs), lows),
          _mm512_mullo_epi32(_mm512_permutexvar_epi32(later, highs), lows)};
}
SOUNDER_INLINE Ints look_up(const Products &products, Ints place) {
  return {_mm512_permutex2var_epi32(products.first, place.v, products.second)};
}
// 0 where bits ≥ 32
SOUNDER_INLINE Ints shift_right_by(Ints x, Ints bits) { return {_mm512_srlv_epi32(x.v, bits.v)}; }
// Writes the lanes of x where test is 0 to `to`, in order, and something behind them, kInts in all.
SOUNDER_INLINE int store_where_zero(int32_t *to, Ints x, Ints test) {
  const __mmask16 zero = _mm512_testn_epi32_mask(test.v, test.v);
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(zero, x.v));
  return __builtin_popcount(zero);
}

#elif defined(__AVX2__) && defined(__FMA__)

constexpr int kShorts = 16;
struct Shorts {
  __m256i v;
};
SOUNDER_INLINE Shorts set_shorts(int x) { return {_mm256_set1_epi16(static_cast<short>(x))}; }
SOUNDER_INLINE Shorts load_shorts(const int16_t *p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))};
}
SOUNDER_INLINE void store_shorts(void *p, Shorts x) { _mm256_storeu_si256(static_cast<__m256i *>(p), x.v); }
SOUNDER_INLINE Shorts max(Shorts a, Shorts b) { return {_mm256_max_epi16(a.v, b.v)}; }
SOUNDER_INLINE Shorts min(Shorts a, Shorts b) { return {_mm256_min_epi16(a.v, b.v)}; }
SOUNDER_INLINE Shorts min_unsigned(Shorts a, Shorts b) { return {_mm256_min_epu16(a.v, b.v)}; }
SOUNDER_INLINE Shorts sub(Shorts a, Shorts b) { return {_mm256_sub_epi16(a.v, b.v)}; }
SOUNDER_INLINE Shorts sub_saturated(Shorts a, Shorts b) { return {_mm256_subs_epi16(a.v, b.v)}; }

constexpr int kInts = 8;
struct Ints {
  __m256i v;
};
SOUNDER_INLINE Ints set_ints(int32_t x) { return {_mm256_set1_epi32(x)}; }
SOUNDER_INLINE Ints counting_ints(int32_t first) {
  return {_mm256_add_epi32(_mm256_set1_epi32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))};
}
SOUNDER_INLINE Ints load_widened(const int16_t *p) {
  return {_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)))};
}
SOUNDER_INLINE Ints max(Ints a, Ints b) { return {_mm256_max_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints min(Ints a, Ints b) { return {_mm256_min_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints add(Ints a, Ints b) { return {_mm256_add_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints sub(Ints a, Ints b) { return {_mm256_sub_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints mul_low(Ints a, Ints b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints exclusive_or(Ints a, Ints b) { return {_mm256_xor_si256(a.v, b.v)}; }
template <int kBits>
SOUNDER_INLINE Ints shift_right(Ints x) {
  return {_mm256_srli_epi32(x.v, kBits)};
}
SOUNDER_INLINE void store_ints(int32_t *p, Ints x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), x.v);
}
SOUNDER_INLINE Ints load_ints(const int32_t *p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))};
}
SOUNDER_INLINE Ints min_unsigned(Ints a, Ints b) { return {_mm256_min_epu32(a.v, b.v)}; }
SOUNDER_INLINE Ints gather(const uint32_t *from, Ints place) {
  return {_mm256_i32gather_epi32(reinterpret_cast<const int *>(from), place.v, 4)};
}
// Reads one value more than place says.
SOUNDER_INLINE Ints gather_widened(const int16_t *from, Ints place) {
  const __m256i pairs = _mm256_i32gather_epi32(reinterpret_cast<const int *>(from), place.v, 2);
  return {_mm256_srai_epi32(_mm256_slli_epi32(pairs, 16), 16)};
}
// high[place / 4 % 8] * low[place % 4], of less than 2^15 each.
struct Products {
  __m256i high, low;  // 8 values each
};
SOUNDER_INLINE Products load_products(const int32_t *high, const int32_t *low) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(high)),
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i *>(low)))};
}
SOUNDER_INLINE Ints look_up(const Products &products, Ints place) {
  return {_mm256_madd_epi16(_mm256_permutevar8x32_epi32(products.high, _mm256_srli_epi32(place.v, 2)),
                            _mm256_permutevar8x32_epi32(products.low, place.v))};
}
// 0 where bits ≥ 32
SOUNDER_INLINE Ints shift_right_by(Ints x, Ints bits) { return {_mm256_srlv_epi32(x.v, bits.v)}; }

// For each mask of 8 lanes, the places of its lanes, then zeros.
struct LanePlaces {
  uint8_t of[256][8];
};
constexpr LanePlaces make_lane_places() {
  LanePlaces places{};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (int lane = 0; lane < 8; ++lane)
      if (mask >> lane & 1) places.of[mask][count++] = static_cast<uint8_t>(lane);
  }
  return places;
}
constexpr LanePlaces kLanePlaces = make_lane_places();

// Writes the lanes of x where test is 0 to `to`, in order, and something behind them, kInts in all.
SOUNDER_INLINE int store_where_zero(int32_t *to, Ints x, Ints test) {
  const __m256i zero = _mm256_cmpeq_epi32(test.v, _mm256_setzero_si256());
  const int mask = _mm256_movemask_ps(_mm256_castsi256_ps(zero));
  const __m128i places = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(kLanePlaces.of[mask]));
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(to),
                      _mm256_permutevar8x32_epi32(x.v, _mm256_cvtepu8_epi32(places)));
  return __builtin_popcount(static_cast<unsigned>(mask));
}

#else

constexpr int kShorts = 1;
struct Shorts {
  int16_t v;
};
SOUNDER_INLINE Shorts set_shorts(int x) { return {static_cast<int16_t>(x)}; }
SOUNDER_INLINE Shorts load_shorts(const int16_t *p) { return {*p}; }
SOUNDER_INLINE void store_shorts(void *p, Shorts x) { *static_cast<int16_t *>(p) = x.v; }
SOUNDER_INLINE Shorts max(Shorts a, Shorts b) { return a.v > b.v ? a : b; }
SOUNDER_INLINE Shorts min(Shorts a, Shorts b) { return a.v < b.v ? a : b; }
SOUNDER_INLINE Shorts min_unsigned(Shorts a, Shorts b) {
  return static_cast<uint16_t>(a.v) < static_cast<uint16_t>(b.v) ? a : b;
}
SOUNDER_INLINE Shorts sub(Shorts a, Shorts b) { return {static_cast<int16_t>(a.v - b.v)}; }
SOUNDER_INLINE Shorts sub_saturated(Shorts a, Shorts b) {
  const int x = a.v - b.v;
  return {static_cast<int16_t>(x > 32767 ? 32767 : x < -32768 ? -32768 : x)};
}

constexpr int kInts = 1;
struct Ints {
  int32_t v;
};
SOUNDER_INLINE Ints of_bits(uint32_t x) { return {static_cast<int32_t>(x)}; }
SOUNDER_INLINE uint32_t bits_of(Ints x) { return static_cast<uint32_t>(x.v); }
SOUNDER_INLINE Ints set_ints(int32_t x) { return {x}; }
SOUNDER_INLINE Ints counting_ints(int32_t first) { return {first}; }
SOUNDER_INLINE Ints load_widened(const int16_t *p) { return {*p}; }
SOUNDER_INLINE Ints max(Ints a, Ints b) { return a.v > b.v ? a : b; }
SOUNDER_INLINE Ints min(Ints a, Ints b) { return a.v < b.v ? a : b; }
SOUNDER_INLINE Ints add(Ints a, Ints b) { return of_bits(bits_of(a) + bits_of(b)); }
SOUNDER_INLINE Ints sub(Ints a, Ints b) { return of_bits(bits_of(a) - bits_of(b)); }
SOUNDER_INLINE Ints mul_low(Ints a, Ints b) { return of_bits(bits_of(a) * bits_of(b)); }
SOUNDER_INLINE Ints exclusive_or(Ints a, Ints b) { return {a.v ^ b.v}; }
template <int kBits>
SOUNDER_INLINE Ints shift_right(Ints x) {
  return of_bits(bits_of(x) >> kBits);
}
SOUNDER_INLINE void store_ints(int32_t *p, Ints x) { *p = x.v; }
SOUNDER_INLINE Ints load_ints(const int32_t *p) { return {*p}; }
SOUNDER_INLINE Ints min_unsigned(Ints a, Ints b) { return bits_of(a) < bits_of(b) ? a : b; }
SOUNDER_INLINE Ints gather(const uint32_t *from, Ints place) { return of_bits(from[place.v]); }
SOUNDER_INLINE Ints gather_widened(const int16_t *from, Ints place) { return {from[place.v]}; }
// high[place / 4 % 8] * low[place % 4], of less than 2^15 each.
struct Products {
  const int32_t *high, *low;
};
SOUNDER_INLINE Products load_products(const int32_t *high, const int32_t *low) { return {high, low}; }
SOUNDER_INLINE Ints look_up(const Products &products, Ints place) {
  return {products.high[place.v >> 2 & 7] * products.low[place.v & 3]};
}
// 0 where bits ≥ 32
SOUNDER_INLINE Ints shift_right_by(Ints x, Ints bits) {
  return bits_of(bits) >= 32 ? Ints{0} : of_bits(bits_of(x) >> bits.v);
}
// Writes x to `to`; counts it when test is 0.
SOUNDER_INLINE int store_where_zero(int32_t *to, Ints x, Ints test) {
  *to = x.v;
  return test.v == 0;
}

#endif

}  // namespace
}  // namespace sounder::simd
