// SPDX-License-Identifier: Apache-2.0
//
// What the sketch kernels need beyond cpu/simd.h: Bytes looked up in tables of 16, sums of them in Words,
// Ints of kLanes int32, Masks of lanes. Only for level files, with the rules of cpu/simd.h.
#pragma once

#include "../cpu/simd.h"

namespace sounder::simd {
namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

constexpr int kBytes = 64;
struct Bytes {
  __m512i v;
};
SOUNDER_INLINE Bytes load_bytes(const void *p) { return {_mm512_loadu_si512(p)}; }
SOUNDER_INLINE void store_bytes(uint8_t *p, Bytes x) { _mm512_storeu_si512(p, x.v); }
SOUNDER_INLINE Bytes zero_bytes() { return {_mm512_setzero_si512()}; }
SOUNDER_INLINE Bytes low_nibbles(Bytes x) { return {_mm512_and_si512(x.v, _mm512_set1_epi8(15))}; }
SOUNDER_INLINE Bytes high_nibbles(Bytes x) {
  return {_mm512_and_si512(_mm512_srli_epi16(x.v, 4), _mm512_set1_epi8(15))};
}
SOUNDER_INLINE Bytes load_table(const uint8_t *p) {
  return {_mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i *>(p)))};
}
SOUNDER_INLINE Bytes look_up(Bytes table, Bytes nibbles) { return {_mm512_shuffle_epi8(table.v, nibbles.v)}; }
SOUNDER_INLINE Bytes add(Bytes a, Bytes b) { return {_mm512_add_epi8(a.v, b.v)}; }
// Sums up to here are made as they are written: in another order they would not fit the registers.
SOUNDER_INLINE void settle(Bytes &x) { __asm__("" : "+v"(x.v)); }

// Weighted sums of rows of bytes, 16 bits each: of the first and the second 8 of every 16.
struct Words {
  __m512i low, high;
};
SOUNDER_INLINE Words zero_words() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
// weights: of a, and 256 times that of b.
SOUNDER_INLINE Words add_rows(Words to, const uint8_t *a, const uint8_t *b, int weights) {
  const __m512i x = load_bytes(a).v, y = load_bytes(b).v;
  const __m512i w = _mm512_set1_epi16(static_cast<short>(weights));
  return {_mm512_add_epi16(to.low, _mm512_maddubs_epi16(_mm512_unpacklo_epi8(x, y), w)),
          _mm512_add_epi16(to.high, _mm512_maddubs_epi16(_mm512_unpackhi_epi8(x, y), w))};
}

// Sum of the products of n pairs, n a multiple of 32.
SOUNDER_INLINE int32_t dot(const int16_t *a, const int16_t *b, int n) {
  __m512i sum = _mm512_setzero_si512();
  for (int i = 0; i < n; i += 32)
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i)));
  return _mm512_reduce_add_epi32(sum);
}

// 4 * kLanes values, each Vec 4 of every 16.
struct Quad {
  Vec v[4];
};
// 2^23 + x: floats that have the bits of x at their end.
SOUNDER_INLINE Quad above_2_23(Words x) {
  const __m512i top = _mm512_set1_epi16(0x4b00);
  return {{{_mm512_castsi512_ps(_mm512_unpacklo_epi16(x.low, top))},
           {_mm512_castsi512_ps(_mm512_unpackhi_epi16(x.low, top))},
           {_mm512_castsi512_ps(_mm512_unpacklo_epi16(x.high, top))},
           {_mm512_castsi512_ps(_mm512_unpackhi_epi16(x.high, top))}}};
}
SOUNDER_INLINE Quad load_bf16(const uint16_t *p) {
  const __m512i none = _mm512_setzero_si512(), a = load_bytes(p).v, b = load_bytes(p + 32).v;
  const __m512i even = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
  const __m512i odd = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
  const __m512i low = _mm512_permutex2var_epi64(a, even, b), high = _mm512_permutex2var_epi64(a, odd, b);
  return {{{_mm512_castsi512_ps(_mm512_unpacklo_epi16(none, low))},
           {_mm512_castsi512_ps(_mm512_unpackhi_epi16(none, low))},
           {_mm512_castsi512_ps(_mm512_unpacklo_epi16(none, high))},
           {_mm512_castsi512_ps(_mm512_unpackhi_epi16(none, high))}}};
}
// Rounded to the nearest, ties to even, at most ±32767. NaN counts as the least.
SOUNDER_INLINE __m512i clamped(Vec a, Vec b) {
  const __m512 most = _mm512_set1_ps(32767.0f);
  const __m512i first = _mm512_cvtps_epi32(_mm512_min_ps(most, a.v));
  const __m512i second = _mm512_cvtps_epi32(_mm512_min_ps(most, b.v));
  return _mm512_max_epi16(_mm512_packs_epi32(first, second), _mm512_set1_epi16(-32767));
}
SOUNDER_INLINE void store_clamped(int16_t *p, const Quad &x) {
  const __m512i low = clamped(x.v[0], x.v[1]), high = clamped(x.v[2], x.v[3]);
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  _mm512_storeu_si512(p, _mm512_permutex2var_epi64(low, first, high));
  _mm512_storeu_si512(p + 32, _mm512_permutex2var_epi64(low, second, high));
}
// Rounded to the nearest, ties to even; |x| ≤ 32767.
SOUNDER_INLINE void store_rounded(int16_t *p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x.v)));
}
SOUNDER_INLINE Vec fused(Vec a, Vec b, Vec c) { return fma(a, b, c); }
SOUNDER_INLINE Vec square_root(Vec x) { return {_mm512_sqrt_ps(x.v)}; }
SOUNDER_INLINE Vec round_down(Vec x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}

struct Mask {
  __mmask16 v;
};
SOUNDER_INLINE Mask magnitude_below(Vec x, float limit) {
  return {_mm512_cmp_ps_mask(_mm512_abs_ps(x.v), _mm512_set1_ps(limit), _CMP_LT_OQ)};
}
SOUNDER_INLINE Mask over_zero(Vec x) { return {_mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_GT_OQ)}; }
SOUNDER_INLINE Mask both(Mask a, Mask b) { return {static_cast<__mmask16>(a.v & b.v)}; }
SOUNDER_INLINE bool all(Mask a) { return a.v == 0xffff; }
SOUNDER_INLINE Vec keep(Vec x, Mask m) { return {_mm512_maskz_mov_ps(m.v, x.v)}; }  // 0 elsewhere

struct Ints {
  __m512i v;
};
SOUNDER_INLINE Ints set_ints(int32_t x) { return {_mm512_set1_epi32(x)}; }
SOUNDER_INLINE Ints to_ints(Vec whole) { return {_mm512_cvtps_epi32(whole.v)}; }
SOUNDER_INLINE Ints add(Ints a, Ints b) { return {_mm512_add_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints either(Ints a, Ints b) { return {_mm512_or_si512(a.v, b.v)}; }
SOUNDER_INLINE Ints both(Ints a, Ints b) { return {_mm512_and_si512(a.v, b.v)}; }
SOUNDER_INLINE Ints shift_left(Ints x, int n) { return {_mm512_sll_epi32(x.v, _mm_cvtsi32_si128(n))}; }
SOUNDER_INLINE Ints shift_right(Ints x, int n) { return {_mm512_srl_epi32(x.v, _mm_cvtsi32_si128(n))}; }
// Lanes from 0 to 255.
SOUNDER_INLINE void store_bytes(uint8_t *p, Ints x) {
  _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtepi32_epi8(x.v));
}

#elif defined(__AVX2__) && defined(__FMA__)

constexpr int kBytes = 32;
struct Bytes {
  __m256i v;
};
SOUNDER_INLINE Bytes load_bytes(const void *p) {
  return {_mm256_loadu_si256(static_cast<const __m256i *>(p))};
}
SOUNDER_INLINE void store_bytes(uint8_t *p, Bytes x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), x.v);
}
SOUNDER_INLINE Bytes zero_bytes() { return {_mm256_setzero_si256()}; }
SOUNDER_INLINE Bytes low_nibbles(Bytes x) { return {_mm256_and_si256(x.v, _mm256_set1_epi8(15))}; }
SOUNDER_INLINE Bytes high_nibbles(Bytes x) {
  return {_mm256_and_si256(_mm256_srli_epi16(x.v, 4), _mm256_set1_epi8(15))};
}
SOUNDER_INLINE Bytes load_table(const uint8_t *p) {
  return {_mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i *>(p)))};
}
SOUNDER_INLINE Bytes look_up(Bytes table, Bytes nibbles) { return {_mm256_shuffle_epi8(table.v, nibbles.v)}; }
SOUNDER_INLINE Bytes add(Bytes a, Bytes b) { return {_mm256_add_epi8(a.v, b.v)}; }
// Sums up to here are made as they are written: in another order they would not fit the registers.
SOUNDER_INLINE void settle(Bytes &x) { __asm__("" : "+x"(x.v)); }

// Weighted sums of rows of bytes, 16 bits each: of the first and the second 8 of every 16.
struct Words {
  __m256i low, high;
};
SOUNDER_INLINE Words zero_words() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
// weights: of a, and 256 times that of b.
SOUNDER_INLINE Words add_rows(Words to, const uint8_t *a, const uint8_t *b, int weights) {
  const __m256i x = load_bytes(a).v, y = load_bytes(b).v;
  const __m256i w = _mm256_set1_epi16(static_cast<short>(weights));
  return {_mm256_add_epi16(to.low, _mm256_maddubs_epi16(_mm256_unpacklo_epi8(x, y), w)),
          _mm256_add_epi16(to.high, _mm256_maddubs_epi16(_mm256_unpackhi_epi8(x, y), w))};
}

// Sum of the products of n pairs, n a multiple of 32.
SOUNDER_INLINE int32_t dot(const int16_t *a, const int16_t *b, int n) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < n; i += 16) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(a + i));
    const __m256i y = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(b + i));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
  }
  __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

// 4 * kLanes values, each Vec 4 of every 16.
struct Quad {
  Vec v[4];
};
// 2^23 + x: floats that have the bits of x at their end.
SOUNDER_INLINE Quad above_2_23(Words x) {
  const __m256i top = _mm256_set1_epi16(0x4b00);
  return {{{_mm256_castsi256_ps(_mm256_unpacklo_epi16(x.low, top))},
           {_mm256_castsi256_ps(_mm256_unpackhi_epi16(x.low, top))},
           {_mm256_castsi256_ps(_mm256_unpacklo_epi16(x.high, top))},
           {_mm256_castsi256_ps(_mm256_unpackhi_epi16(x.high, top))}}};
}
SOUNDER_INLINE Quad load_bf16(const uint16_t *p) {
  const __m256i none = _mm256_setzero_si256(), a = load_bytes(p).v, b = load_bytes(p + 16).v;
  const __m256i low = _mm256_permute2x128_si256(a, b, 0x20), high = _mm256_permute2x128_si256(a, b, 0x31);
  return {{{_mm256_castsi256_ps(_mm256_unpacklo_epi16(none, low))},
           {_mm256_castsi256_ps(_mm256_unpackhi_epi16(none, low))},
           {_mm256_castsi256_ps(_mm256_unpacklo_epi16(none, high))},
           {_mm256_castsi256_ps(_mm256_unpackhi_epi16(none, high))}}};
}
// Rounded to the nearest, ties to even, at most ±32767. NaN counts as the least.
SOUNDER_INLINE __m256i clamped(Vec a, Vec b) {
  const __m256 most = _mm256_set1_ps(32767.0f);
  const __m256i first = _mm256_cvtps_epi32(_mm256_min_ps(most, a.v));
  const __m256i second = _mm256_cvtps_epi32(_mm256_min_ps(most, b.v));
  return _mm256_max_epi16(_mm256_packs_epi32(first, second), _mm256_set1_epi16(-32767));
}
SOUNDER_INLINE void store_clamped(int16_t *p, const Quad &x) {
  const __m256i low = clamped(x.v[0], x.v[1]), high = clamped(x.v[2], x.v[3]);
  __m256i *at = reinterpret_cast<__m256i *>(p);
  _mm256_storeu_si256(at, _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_storeu_si256(at + 1, _mm256_permute2x128_si256(low, high, 0x31));
}
// Rounded to the nearest, ties to even; |x| ≤ 32767.
SOUNDER_INLINE void store_rounded(int16_t *p, Vec x) {
  const __m256i whole = _mm256_cvtps_epi32(x.v);
  _mm_storeu_si128(reinterpret_cast<__m128i *>(p),
                   _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}
SOUNDER_INLINE Vec fused(Vec a, Vec b, Vec c) { return fma(a, b, c); }
SOUNDER_INLINE Vec square_root(Vec x) { return {_mm256_sqrt_ps(x.v)}; }
SOUNDER_INLINE Vec round_down(Vec x) { return {_mm256_floor_ps(x.v)}; }

struct Mask {
  __m256 v;
};
SOUNDER_INLINE Mask magnitude_below(Vec x, float limit) {
  const __m256 magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v);
  return {_mm256_cmp_ps(magnitude, _mm256_set1_ps(limit), _CMP_LT_OQ)};
}
SOUNDER_INLINE Mask over_zero(Vec x) { return {_mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_GT_OQ)}; }
SOUNDER_INLINE Mask both(Mask a, Mask b) { return {_mm256_and_ps(a.v, b.v)}; }
SOUNDER_INLINE bool all(Mask a) { return _mm256_movemask_ps(a.v) == 0xff; }
SOUNDER_INLINE Vec keep(Vec x, Mask m) { return {_mm256_and_ps(x.v, m.v)}; }  // 0 elsewhere

struct Ints {
  __m256i v;
};
SOUNDER_INLINE Ints set_ints(int32_t x) { return {_mm256_set1_epi32(x)}; }
SOUNDER_INLINE Ints to_ints(Vec whole) { return {_mm256_cvtps_epi32(whole.v)}; }
SOUNDER_INLINE Ints add(Ints a, Ints b) { return {_mm256_add_epi32(a.v, b.v)}; }
SOUNDER_INLINE Ints either(Ints a, Ints b) { return {_mm256_or_si256(a.v, b.v)}; }
SOUNDER_INLINE Ints both(Ints a, Ints b) { return {_mm256_and_si256(a.v, b.v)}; }
SOUNDER_INLINE Ints shift_left(Ints x, int n) { return {_mm256_sll_epi32(x.v, _mm_cvtsi32_si128(n))}; }
SOUNDER_INLINE Ints shift_right(Ints x, int n) { return {_mm256_srl_epi32(x.v, _mm_cvtsi32_si128(n))}; }
// Lanes from 0 to 255.
SOUNDER_INLINE void store_bytes(uint8_t *p, Ints x) {
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i *>(p), _mm_packus_epi16(words, words));
}

#else

constexpr int kBytes = 1;
struct Bytes {
  const uint8_t *table;
  int v;
};
SOUNDER_INLINE Bytes load_bytes(const void *p) { return {nullptr, *static_cast<const uint8_t *>(p)}; }
SOUNDER_INLINE void store_bytes(uint8_t *p, Bytes x) { *p = static_cast<uint8_t>(x.v); }
SOUNDER_INLINE Bytes zero_bytes() { return {nullptr, 0}; }
SOUNDER_INLINE Bytes low_nibbles(Bytes x) { return {nullptr, x.v & 15}; }
SOUNDER_INLINE Bytes high_nibbles(Bytes x) { return {nullptr, x.v >> 4}; }
SOUNDER_INLINE Bytes load_table(const uint8_t *p) { return {p, 0}; }
SOUNDER_INLINE Bytes look_up(Bytes table, Bytes nibble) { return {nullptr, table.table[nibble.v]}; }
SOUNDER_INLINE Bytes add(Bytes a, Bytes b) { return {nullptr, a.v + b.v}; }
SOUNDER_INLINE void settle(Bytes &) {}

struct Words {
  int v[4];
};
SOUNDER_INLINE Words zero_words() { return {{0, 0, 0, 0}}; }
// weights: of a, and 256 times that of b.
SOUNDER_INLINE Words add_rows(Words to, const uint8_t *a, const uint8_t *b, int weights) {
  for (int i = 0; i < 4; ++i) to.v[i] += (weights & 255) * a[i] + (weights >> 8) * b[i];
  return to;
}

SOUNDER_INLINE int32_t dot(const int16_t *a, const int16_t *b, int n) {
  int32_t sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// 4 * kLanes values.
struct Quad {
  Vec v[4];
};
// 2^23 + x
SOUNDER_INLINE Quad above_2_23(Words x) {
  Quad result;
  for (int i = 0; i < 4; ++i) result.v[i].v = static_cast<float>((1 << 23) + x.v[i]);
  return result;
}
SOUNDER_INLINE Quad load_bf16(const uint16_t *p) {
  return {{load(p), load(p + 1), load(p + 2), load(p + 3)}};
}
// Rounded to the nearest, ties to even; |x| ≤ 32767.
SOUNDER_INLINE void store_rounded(int16_t *p, Vec x) { *p = static_cast<int16_t>(round_to_integer(x).v); }
// Rounded to the nearest, ties to even, at most ±32767. NaN counts as the least.
SOUNDER_INLINE float clamped(float x) { return x > -32767.0f ? (x < 32767.0f ? x : 32767.0f) : -32767.0f; }
SOUNDER_INLINE void store_clamped(int16_t *p, const Quad &x) {
  for (int i = 0; i < 4; ++i) store_rounded(p + i, {clamped(x.v[i].v)});
}
SOUNDER_INLINE Vec fused(Vec a, Vec b, Vec c) { return {__builtin_fmaf(a.v, b.v, c.v)}; }
SOUNDER_INLINE Vec square_root(Vec x) { return {__builtin_sqrtf(x.v)}; }
SOUNDER_INLINE Vec round_down(Vec x) { return {__builtin_floorf(x.v)}; }

struct Mask {
  bool v;
};
SOUNDER_INLINE Mask magnitude_below(Vec x, float limit) { return {__builtin_fabsf(x.v) < limit}; }
SOUNDER_INLINE Mask over_zero(Vec x) { return {x.v > 0.0f}; }
SOUNDER_INLINE Mask both(Mask a, Mask b) { return {a.v && b.v}; }
SOUNDER_INLINE bool all(Mask a) { return a.v; }
SOUNDER_INLINE Vec keep(Vec x, Mask m) { return {m.v ? x.v : 0.0f}; }  // 0 elsewhere

struct Ints {
  uint32_t v;
};
SOUNDER_INLINE Ints set_ints(int32_t x) { return {static_cast<uint32_t>(x)}; }
SOUNDER_INLINE Ints to_ints(Vec whole) { return set_ints(static_cast<int32_t>(whole.v)); }
SOUNDER_INLINE Ints add(Ints a, Ints b) { return {a.v + b.v}; }
SOUNDER_INLINE Ints either(Ints a, Ints b) { return {a.v | b.v}; }
SOUNDER_INLINE Ints both(Ints a, Ints b) { return {a.v & b.v}; }
SOUNDER_INLINE Ints shift_left(Ints x, int n) { return {x.v << n}; }
SOUNDER_INLINE Ints shift_right(Ints x, int n) { return {x.v >> n}; }
// Lanes from 0 to 255.
SOUNDER_INLINE void store_bytes(uint8_t *p, Ints x) { *p = static_cast<uint8_t>(x.v); }

#endif

}  // namespace
}  // namespace sounder::simd
