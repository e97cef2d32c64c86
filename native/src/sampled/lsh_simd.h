// SPDX-License-Identifier: Apache-2.0
//
// Masks of lanes and vectors of bytes for lsh_kernels.inc. Only for level files, with the rules of
// cpu/simd.h.
#pragma once

#include "../cpu/simd.h"

namespace sounder::simd {
namespace {

constexpr int kSpareIds = 96;  // of the two sides of what copy_ids writes

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

// The lines that hold from[0 .. count), one after the other and none else, as to[..): lines are read whole,
// so up to kSpareIds values before and behind `to` are written, of which those before it keep their values.
// Three lines are copied in any case, the last one again if there are fewer: a loop's end would not be
// foreseen.
SOUNDER_INLINE void copy_ids(uint16_t *to, const uint16_t *from, int count) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(from);
  const int before = static_cast<int>(address % 64 / 2);
  const char *line = reinterpret_cast<const char *>(address - address % 64);
  const int64_t last = (before + count - 1) / 32 * 64;
  to -= before;
  _mm512_mask_storeu_epi16(to, ~__mmask32{0} << before, _mm512_load_si512(line));
  _mm512_storeu_si512(to + 32, _mm512_load_si512(line + (last < 64 ? last : 64)));
  _mm512_storeu_si512(to + 64, _mm512_load_si512(line + (last < 128 ? last : 128)));
  for (int64_t i = 192; i <= last; i += 64) _mm512_storeu_si512(to + i / 2, _mm512_load_si512(line + i));
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

// The same by half lines, four in any case.
SOUNDER_INLINE void copy_half(uint16_t *to, const char *from) {
  const __m256i x = _mm256_load_si256(reinterpret_cast<const __m256i *>(from));
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), x);
}
SOUNDER_INLINE void copy_ids(uint16_t *to, const uint16_t *from, int count) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(from);
  const int before = static_cast<int>(address % 32 / 2);
  const char *half = reinterpret_cast<const char *>(address - address % 32);
  const int64_t last = (before + count - 1) / 16 * 32;
  const __m256i places = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m256i mine = _mm256_cmpgt_epi16(places, _mm256_set1_epi16(static_cast<short>(before - 1)));
  to -= before;
  __m256i *const first = reinterpret_cast<__m256i *>(to);
  const __m256i ids = _mm256_load_si256(reinterpret_cast<const __m256i *>(half));
  _mm256_storeu_si256(first, _mm256_blendv_epi8(_mm256_loadu_si256(first), ids, mine));
  for (int64_t i = 32; i < 128; i += 32) copy_half(to + i / 2, half + (last < i ? last : i));
  for (int64_t i = 128; i <= last; i += 32) copy_half(to + i / 2, half + i);
}

#else

SOUNDER_INLINE uint32_t over_zero(Vec x) { return x.v > 0.0f; }

constexpr int kBytes = 1;
SOUNDER_INLINE uint64_t bytes_from(const uint8_t *p, int least) { return *p >= least; }
SOUNDER_INLINE void limit_bytes(uint8_t *p, int most) {
  if (*p > most) *p = static_cast<uint8_t>(most);
}
SOUNDER_INLINE void clear_bytes(uint8_t *p) { *p = 0; }
SOUNDER_INLINE void copy_ids(uint16_t *to, const uint16_t *from, int count) {
  for (int i = 0; i < count; ++i) to[i] = from[i];
}

#endif

}  // namespace
}  // namespace sounder::simd
