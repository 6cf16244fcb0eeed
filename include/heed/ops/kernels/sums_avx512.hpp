// The sums of sixteen packets of sixteen floats, in one packet: each step halves the packets, and adds what were two.
#pragma once

#include "../lanes.hpp"

#if defined(EIGEN_VECTORIZE_AVX512)

#include <immintrin.h>

namespace heed::inline HEED_ABI::detail {

template <class Scalar, int width>
Lanes<Scalar, width> sums(const Lanes<Scalar, width> (&x)[std::size_t(width)]);

// Four packets of [4 x 4] lanes: their sums within fours, (x0 + x2) + (x1 + x3), come side by side in every four.
EIGEN_ALWAYS_INLINE __m512 sums_within_fours(__m512 a, __m512 b, __m512 c, __m512 d) {
  // [a0 a1 b2 b3] + [a2 a3 b0 b1]
  const auto halved = [](__m512 x, __m512 y) {
    return _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, x, y), _mm512_shuffle_ps(x, y, 0x4e));
  };
  const __m512 ab = halved(a, b), cd = halved(c, d);
  return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x88), _mm512_shuffle_ps(ab, cd, 0xdd));
}

/// Lane i is the sum of x[i]'s lanes; every sum has the same order.
template <>
EIGEN_ALWAYS_INLINE Lanes<float, 16> sums<float, 16>(const Lanes<float, 16> (&x)[16]) {
  const __m512 a = sums_within_fours(x[0].raw, x[1].raw, x[2].raw, x[3].raw);
  const __m512 b = sums_within_fours(x[4].raw, x[5].raw, x[6].raw, x[7].raw);
  const __m512 c = sums_within_fours(x[8].raw, x[9].raw, x[10].raw, x[11].raw);
  const __m512 d = sums_within_fours(x[12].raw, x[13].raw, x[14].raw, x[15].raw);
  // The same with fours in the place of lanes.
  const auto halved = [](__m512 p, __m512 q) {
    return _mm512_add_ps(_mm512_mask_blend_ps(0xff00, p, q), _mm512_shuffle_f32x4(p, q, 0x4e));
  };
  const __m512 ab = halved(a, b), cd = halved(c, d);
  return {_mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd))};
}

}  // namespace heed::inline HEED_ABI::detail

#endif
