// SPDX-License-Identifier: Apache-2.0
//
// A vector of floats whose width follows from the flags of the file that includes this: 16 lanes with
// AVX-512, 8 with AVX2 and FMA, otherwise 1. Only for level files.
//
// Everything here has internal linkage: a weak symbol compiled under AVX-512 flags could be the copy that
// the linker keeps for a CPU without it. For the same reason level files use no standard containers,
// std::min, <cmath> or static initialisers.
#pragma once

// gcc 12 takes the undefined operands inside its own AVX-512 intrinsics for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cstdint>

#define SOUNDER_INLINE [[gnu::always_inline]] inline

namespace sounder::simd {
namespace {

// ---- single values ---------------------------------------------------------------------------------

SOUNDER_INLINE uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
SOUNDER_INLINE float float_of(uint32_t x) { return __builtin_bit_cast(float, x); }
SOUNDER_INLINE float float_of_bf16(uint16_t x) { return float_of(uint32_t{x} << 16); }

// Round to nearest even; NaN stays NaN (made quiet), whatever its payload.
SOUNDER_INLINE uint16_t bf16_of_float(float x) {
  uint32_t u = bits_of(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

SOUNDER_INLINE void prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }
// To the second cache.
SOUNDER_INLINE void prefetch_second(const void *address) { __builtin_prefetch(address, 0, 2); }

// exp(r) = 1 + r + r² p(r) on |r| ≤ ln 2 / 2; p fitted for least maximal relative error (3.1e-9).
constexpr float kExp2 = 0x1.fffffcp-2f, kExp3 = 0x1.555492p-3f, kExp4 = 0x1.5558f4p-5f, kExp5 = 0x1.123a2p-7f,
                kExp6 = 0x1.6a23c2p-10f;
constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;  // high · n is exact for |n| < 2^9
// Beyond these, results are 0 and infinity.
constexpr float kExpLeast = -104.0f, kExpMost = 89.0f;

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

constexpr int kLanes = 16;
struct Vec {
  __m512 v;
};

SOUNDER_INLINE Vec set1(float x) { return {_mm512_set1_ps(x)}; }
SOUNDER_INLINE Vec zero() { return {_mm512_setzero_ps()}; }

SOUNDER_INLINE Vec load(const float *p) { return {_mm512_loadu_ps(p)}; }
SOUNDER_INLINE Vec widen(__m256i x) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16))};
}
SOUNDER_INLINE Vec load(const uint16_t *p) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
}
SOUNDER_INLINE void store(float *p, Vec x) { _mm512_storeu_ps(p, x.v); }
SOUNDER_INLINE __m256i narrow(Vec x) {
  __m512i u = _mm512_castps_si512(x.v);
  __m512i even = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), even);
  __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  __mmask16 nan = _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_blend_epi32(nan, rounded, quiet), 16));
}
SOUNDER_INLINE void store(uint16_t *p, Vec x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), narrow(x));
}

// The first n < kLanes (0 is fine) values; other lanes are 0 and their memory is not touched.
SOUNDER_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
SOUNDER_INLINE Vec load_partial(const float *p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
SOUNDER_INLINE Vec load_partial(const uint16_t *p, int n) {
  return widen(_mm256_maskz_loadu_epi16(first(n), p));
}
SOUNDER_INLINE void store_partial(float *p, Vec x, int n) { _mm512_mask_storeu_ps(p, first(n), x.v); }
SOUNDER_INLINE void store_partial(uint16_t *p, Vec x, int n) {
  _mm256_mask_storeu_epi16(p, first(n), narrow(x));
}
// x in the first n lanes, other in the rest.
SOUNDER_INLINE Vec keep_first(Vec x, Vec other, int n) {
  return {_mm512_mask_blend_ps(first(n), other.v, x.v)};
}

SOUNDER_INLINE Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
SOUNDER_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
// Either NaN: the result is b.
SOUNDER_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }

SOUNDER_INLINE float reduce_add(Vec x) {
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}
SOUNDER_INLINE float reduce_max(Vec x) {
  __m256 half = _mm256_max_ps(_mm512_castps512_ps256(x.v), _mm512_extractf32x8_ps(x.v, 1));
  __m128 quarter = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  quarter = _mm_max_ps(quarter, _mm_movehl_ps(quarter, quarter));
  return _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)));
}

SOUNDER_INLINE Vec round_to_integer(Vec x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// x · 2^n for an integral n
SOUNDER_INLINE Vec scale_by_power(Vec x, Vec n) { return {_mm512_scalef_ps(x.v, n.v)}; }

// v[i] lane j becomes v[j] lane i.
SOUNDER_INLINE void transpose(Vec (&v)[16]) {
  __m512 t[16];
  // Within quarters of a register (128 bits): 2 x 2 values, then 4 x 4.
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(v[i].v, v[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(v[i].v, v[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {
    v[i].v = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    v[i + 1].v = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    v[i + 2].v = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    v[i + 3].v = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  // Now quarter q of v[4 g + c] holds column 4 q + c of rows 4 g .. 4 g + 3: transpose the quarters.
  for (int c = 0; c < 4; ++c) {
    __m512 low01 = _mm512_shuffle_f32x4(v[c].v, v[4 + c].v, 0x44);
    __m512 high01 = _mm512_shuffle_f32x4(v[c].v, v[4 + c].v, 0xee);
    __m512 low23 = _mm512_shuffle_f32x4(v[8 + c].v, v[12 + c].v, 0x44);
    __m512 high23 = _mm512_shuffle_f32x4(v[8 + c].v, v[12 + c].v, 0xee);
    v[c].v = _mm512_shuffle_f32x4(low01, low23, 0x88);
    v[4 + c].v = _mm512_shuffle_f32x4(low01, low23, 0xdd);
    v[8 + c].v = _mm512_shuffle_f32x4(high01, high23, 0x88);
    v[12 + c].v = _mm512_shuffle_f32x4(high01, high23, 0xdd);
  }
}

#elif defined(__AVX2__) && defined(__FMA__)

constexpr int kLanes = 8;
struct Vec {
  __m256 v;
};

SOUNDER_INLINE Vec set1(float x) { return {_mm256_set1_ps(x)}; }
SOUNDER_INLINE Vec zero() { return {_mm256_setzero_ps()}; }

SOUNDER_INLINE Vec load(const float *p) { return {_mm256_loadu_ps(p)}; }
SOUNDER_INLINE Vec widen(__m128i x) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16))};
}
SOUNDER_INLINE Vec load(const uint16_t *p) {
  return widen(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
}
SOUNDER_INLINE void store(float *p, Vec x) { _mm256_storeu_ps(p, x.v); }
SOUNDER_INLINE __m128i narrow(Vec x) {
  __m256i u = _mm256_castps_si256(x.v);
  __m256i even = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), even);
  __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
SOUNDER_INLINE void store(uint16_t *p, Vec x) { _mm_storeu_si128(reinterpret_cast<__m128i *>(p), narrow(x)); }

// The first n < kLanes (0 is fine) values; other lanes are 0 and their memory is not touched.
SOUNDER_INLINE __m256i first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SOUNDER_INLINE Vec load_partial(const float *p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
SOUNDER_INLINE Vec load_partial(const uint16_t *p, int n) {
  alignas(16) uint16_t part[8] = {};
  for (int i = 0; i < n; ++i) part[i] = p[i];
  return widen(_mm_load_si128(reinterpret_cast<const __m128i *>(part)));
}
SOUNDER_INLINE void store_partial(float *p, Vec x, int n) { _mm256_maskstore_ps(p, first(n), x.v); }
SOUNDER_INLINE void store_partial(uint16_t *p, Vec x, int n) {
  alignas(16) uint16_t part[8];
  _mm_store_si128(reinterpret_cast<__m128i *>(part), narrow(x));
  for (int i = 0; i < n; ++i) p[i] = part[i];
}
// x in the first n lanes, other in the rest.
SOUNDER_INLINE Vec keep_first(Vec x, Vec other, int n) {
  return {_mm256_blendv_ps(other.v, x.v, _mm256_castsi256_ps(first(n)))};
}

SOUNDER_INLINE Vec add(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec sub(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec mul(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec div(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
SOUNDER_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
// Either NaN: the result is b.
SOUNDER_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
SOUNDER_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }

SOUNDER_INLINE float reduce_add(Vec x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
SOUNDER_INLINE float reduce_max(Vec x) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

SOUNDER_INLINE Vec round_to_integer(Vec x) {
  return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
// x · 2^n for an integral n with |n| ≤ 252; two factors, so that results below 2^-126 come out right
SOUNDER_INLINE Vec scale_by_power(Vec x, Vec n) {
  __m256i whole = _mm256_cvtps_epi32(n.v);
  __m256i half = _mm256_srai_epi32(whole, 1);
  __m256i bias = _mm256_set1_epi32(127);
  __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
  return {_mm256_mul_ps(_mm256_mul_ps(x.v, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b))};
}

// v[i] lane j becomes v[j] lane i.
SOUNDER_INLINE void transpose(Vec (&v)[8]) {
  __m256 t[8];
  // Within halves of a register: 2 x 2 values, then 4 x 4.
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(v[i].v, v[i + 1].v);
    t[i + 1] = _mm256_unpackhi_ps(v[i].v, v[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    v[i].v = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    v[i + 1].v = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    v[i + 2].v = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    v[i + 3].v = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  // Now half h of v[4 g + c] holds column 4 h + c of rows 4 g .. 4 g + 3: exchange the halves.
  for (int c = 0; c < 4; ++c) {
    __m256 low = _mm256_permute2f128_ps(v[c].v, v[4 + c].v, 0x20);
    v[4 + c].v = _mm256_permute2f128_ps(v[c].v, v[4 + c].v, 0x31);
    v[c].v = low;
  }
}

#else

constexpr int kLanes = 1;
struct Vec {
  float v;
};

SOUNDER_INLINE Vec set1(float x) { return {x}; }
SOUNDER_INLINE Vec zero() { return {0.0f}; }

SOUNDER_INLINE Vec load(const float *p) { return {*p}; }
SOUNDER_INLINE Vec load(const uint16_t *p) { return {float_of_bf16(*p)}; }
SOUNDER_INLINE void store(float *p, Vec x) { *p = x.v; }
SOUNDER_INLINE void store(uint16_t *p, Vec x) { *p = bf16_of_float(x.v); }

// The first n < kLanes values: with one lane, none.
SOUNDER_INLINE Vec load_partial(const float *, int) { return zero(); }
SOUNDER_INLINE Vec load_partial(const uint16_t *, int) { return zero(); }
SOUNDER_INLINE void store_partial(float *, Vec, int) {}
SOUNDER_INLINE void store_partial(uint16_t *, Vec, int) {}
SOUNDER_INLINE Vec keep_first(Vec x, Vec other, int n) { return n > 0 ? x : other; }

SOUNDER_INLINE Vec add(Vec a, Vec b) { return {a.v + b.v}; }
SOUNDER_INLINE Vec sub(Vec a, Vec b) { return {a.v - b.v}; }
SOUNDER_INLINE Vec mul(Vec a, Vec b) { return {a.v * b.v}; }
SOUNDER_INLINE Vec div(Vec a, Vec b) { return {a.v / b.v}; }
SOUNDER_INLINE Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }   // a b + c
SOUNDER_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {c.v - a.v * b.v}; }  // c - a b
// Either NaN: the result is b.
SOUNDER_INLINE Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
SOUNDER_INLINE Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }

SOUNDER_INLINE float reduce_add(Vec x) { return x.v; }
SOUNDER_INLINE float reduce_max(Vec x) { return x.v; }

// Adding 1.5 · 2^23 leaves no fraction bits; for |x| < 2^22.
SOUNDER_INLINE Vec round_to_integer(Vec x) { return {(x.v + 12582912.0f) - 12582912.0f}; }
// x · 2^n for an integral n with |n| ≤ 252; NaN for n = NaN
SOUNDER_INLINE Vec scale_by_power(Vec x, Vec n) {
  if (!(n.v == n.v)) return n;
  int whole = static_cast<int>(n.v);
  int half = whole >> 1;
  float a = float_of(static_cast<uint32_t>(half + 127) << 23);
  float b = float_of(static_cast<uint32_t>(whole - half + 127) << 23);
  return {x.v * a * b};
}

// v[i] lane j becomes v[j] lane i.
SOUNDER_INLINE void transpose(Vec (&)[1]) {}

#endif

// ---- for every width ---------------------------------------------------------------------------------

// Within 2 units in the last place of the correctly rounded result, results below 2^-126 included;
// exp(-inf) = 0, exp(inf) = inf, exp(NaN) = NaN.
SOUNDER_INLINE Vec exp(Vec x) {
  x = min(set1(kExpMost), max(set1(kExpLeast), x));  // NaN is the second operand: it stays
  Vec n = round_to_integer(mul(x, set1(kLog2E)));
  Vec r = fnma(n, set1(kLn2Low), fnma(n, set1(kLn2High), x));
  Vec p = fma(set1(kExp6), r, set1(kExp5));
  p = fma(p, r, set1(kExp4));
  p = fma(p, r, set1(kExp3));
  p = fma(p, r, set1(kExp2));
  Vec y = add(fma(mul(r, r), p, r), set1(1.0f));
  return scale_by_power(y, n);
}

}  // namespace
}  // namespace sounder::simd
