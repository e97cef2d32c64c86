// SPDX-License-Identifier: Apache-2.0
//
// What gather.inc needs beyond attention/attention_simd.h: a table's values between its points, and
// projections on signs. Only for level files, with the rules of cpu/simd.h.
#pragma once

#include "../attention/attention_simd.h"

namespace sounder::simd {
namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

// table at place in [0, points], linearly between its points 0 .. points.
SOUNDER_INLINE Vec between_points(const float *table, Vec place, int points) {
  const __m512i point = _mm512_min_epi32(_mm512_cvttps_epi32(place.v), _mm512_set1_epi32(points - 1));
  const Vec low{_mm512_i32gather_ps(point, table, 4)}, high{_mm512_i32gather_ps(point, table + 1, 4)};
  return fma(sub(place, Vec{_mm512_cvtepi32_ps(point)}), sub(high, low), low);
}

#else

// On CPUs that have no AVX-512, gathering is no quicker than loads.
SOUNDER_INLINE Vec between_points(const float *table, Vec place, int points) {
  float x[kLanes];
  store(x, place);
  for (float &value : x) {
    int point = static_cast<int>(value);
    if (point > points - 1) point = points - 1;
    value = table[point] + (value - static_cast<float>(point)) * (table[point + 1] - table[point]);
  }
  return load(x);
}

#endif

// Whether rows of T are projected by project_four.
template <typename T>
constexpr bool kHasSignProducts = false;

#if defined(__AVX512BF16__)

template <>
constexpr bool kHasSignProducts<uint16_t> = true;

// sums[0 .. 3] = signs · four rows of d values, a multiple of kPair. Signs are exact in bf16, and so are
// products with them.
SOUNDER_INLINE void project_four(const uint16_t *const *rows, int64_t place, const uint16_t *signs, int d,
                                 float *sums) {
  Vec sum[4] = {zero(), zero(), zero(), zero()};
  for (int c = 0; c < d; c += kPair)
    for (int i = 0; i < 4; ++i)
      sum[i].v = _mm512_dpbf16_ps(sum[i].v, (__m512bh)_mm512_loadu_si512(rows[i] + place + c),
                                  (__m512bh)_mm512_loadu_si512(signs + c));
  store_sums(sums, sum[0], sum[1], sum[2], sum[3]);
}

#endif

}  // namespace
}  // namespace sounder::simd
