// SPDX-License-Identifier: Apache-2.0
//
// Masks of lanes and vectors of bytes for lsh_kernels.inc. Only for level files, with the rules of
// cpu/simd.h.
#pragma once

#include "../cpu/simd.h"

namespace sounder::simd {
namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

// Bit i is set where lane i is over 0.
SOUNDER_INLINE uint32_t over_zero(Vec x) { return _mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_GT_OQ); }

constexpr int kBytes = 64;
// Bit i is set where byte i is at least `least`.
SOUNDER_INLINE uint64_t bytes_from(const uint8_t *p, int least) {
  return _mm512_cmpge_epu8_mask(_mm512_loadu_si512(p), _mm512_set1_epi8(static_cast<char>(least)));
}
SOUNDER_INLINE void limit_bytes(uint8_t *p, int most) {
  _mm512_storeu_si512(p, _mm512_min_epu8(_mm512_loadu_si512(p), _mm512_set1_epi8(static_cast<char>(most))));
}

SOUNDER_INLINE void clear_bytes(uint8_t *p) { _mm512_storeu_si512(p, _mm512_setzero_si512()); }

// 64 bytes. Seen as copies, a loop over them becomes a string instruction, which takes a hundred cycles.
SOUNDER_INLINE void copy_line(uint16_t *to, const uint16_t *from) {
  __m512i line = _mm512_loadu_si512(from);
  __asm__("" : "+v"(line));
  _mm512_storeu_si512(to, line);
}

#elif defined(__AVX2__) && defined(__FMA__)

// Bit i is set where lane i is over 0.
SOUNDER_INLINE uint32_t over_zero(Vec x) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_GT_OQ)));
}

constexpr int kBytes = 32;
// Bit i is set where byte i is at least `least`.
SOUNDER_INLINE uint64_t bytes_from(const uint8_t *p, int least) {
  const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
  const __m256i greater = _mm256_max_epu8(x, _mm256_set1_epi8(static_cast<char>(least)));
  return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, greater)));
}
SOUNDER_INLINE void limit_bytes(uint8_t *p, int most) {
  __m256i *at = reinterpret_cast<__m256i *>(p);
  _mm256_storeu_si256(at, _mm256_min_epu8(_mm256_loadu_si256(at), _mm256_set1_epi8(static_cast<char>(most))));
}

SOUNDER_INLINE void clear_bytes(uint8_t *p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm256_setzero_si256());
}

SOUNDER_INLINE void copy_line(uint16_t *to, const uint16_t *from) {
  for (int i = 0; i < 32; i += 16) {
    __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from + i));
    __asm__("" : "+x"(half));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(to + i), half);
  }
}

#else

SOUNDER_INLINE uint32_t over_zero(Vec x) { return x.v > 0.0f; }

constexpr int kBytes = 1;
SOUNDER_INLINE uint64_t bytes_from(const uint8_t *p, int least) { return *p >= least; }
SOUNDER_INLINE void limit_bytes(uint8_t *p, int most) {
  if (*p > most) *p = static_cast<uint8_t>(most);
}
SOUNDER_INLINE void clear_bytes(uint8_t *p) { *p = 0; }
SOUNDER_INLINE void copy_line(uint16_t *to, const uint16_t *from) { __builtin_memcpy(to, from, 64); }

#endif

}  // namespace
}  // namespace sounder::simd
