// What bf16_terms.hpp does row by row, in AVX-512 with its bf16 conversions: the same numbers. Included from there only,
// where the instruction set has them.
#pragma once

#include "../../core/matrix.hpp"

#if defined(HEED_AVX512_BF16)

#include <immintrin.h>

#include <cstdint>

namespace heed::inline HEED_ABI::detail {

/// bf16(x) in the lower halves.
inline __m512i bf16_lower(__m512 x) {
  return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
}

/// x - term; 0 where the term is infinite or NaN.
inline __m512 rest_avx512(__m512 x, __m512i term) {
  const __m512i exponent = _mm512_set1_epi32(0x7f800000);
  const __mmask16 finite = _mm512_cmpneq_epi32_mask(_mm512_and_si512(term, exponent), exponent);
  return _mm512_maskz_sub_ps(finite, x, _mm512_castsi512_ps(term));
}

/// Pairs (even_i, odd_i) of every term, its 16 pairs `apart` words after the term before.
inline void fill_row_avx512(std::uint32_t* pairs, Index apart, int terms, __m512 even, __m512 odd) {
  for (int term = 0; term < terms; ++term, pairs += apart) {
    const __m512i lower = bf16_lower(even), upper = _mm512_slli_epi32(bf16_lower(odd), 16);
    _mm512_storeu_si512(pairs, _mm512_or_si512(lower, upper));
    if (term + 1 == terms) break;
    even = rest_avx512(even, _mm512_slli_epi32(lower, 16));
    odd = rest_avx512(odd, upper);
  }
}

inline void fill_row_along_avx512(std::uint32_t* pairs, Index apart, int terms, const float* x, Index n, float factor) {
  const __mmask16 first = static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1u);
  const __mmask16 second = static_cast<__mmask16>(n >= 32 ? 0xffffu : n <= 16 ? 0u : (1u << (n - 16)) - 1u);
  const __m512 scale = _mm512_set1_ps(factor);
  const __m512 low = _mm512_maskz_mul_ps(first, _mm512_maskz_loadu_ps(first, x), scale);
  const __m512 high = _mm512_maskz_mul_ps(second, _mm512_maskz_loadu_ps(second, x + (n > 16 ? 16 : 0)), scale);
  if (terms == 1) {
    _mm512_storeu_si512(pairs, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
    return;
  }
  const __m512i evens = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odds = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  fill_row_avx512(pairs, apart, terms, _mm512_permutex2var_ps(low, evens, high), _mm512_permutex2var_ps(low, odds, high));
}

/// Four times: rows 1, 2, 4 and 8 apart exchange halves of every 2, 4, 8 and 16 words.
template <class Word>
void transpose_16_avx512(const Word* x, Index stride, Word* to, Index to_stride) {
  __m512i r[16];
  __m512i s[16];
  for (Index i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(x + i * stride);
  for (Index i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (Index i = 0; i < 16; i += 4)
    for (Index j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(s[i + j], s[i + j + 2]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(s[i + j], s[i + j + 2]);
    }
  // r[4 b + c] holds, in its 128-bit lane l, column 4 l + c of rows 4 b to 4 b + 3.
  for (Index c = 0; c < 4; ++c) {
    s[c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);  // lanes 0 and 2 of rows 0-3, 4-7
    s[4 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);
    s[8 + c] = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);  // lanes 1 and 3
    s[12 + c] = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
  }
  for (Index c = 0; c < 4; ++c) {
    const auto store = [&](Index column, __m512i row) { _mm512_storeu_si512(to + column * to_stride, row); };
    store(c, _mm512_shuffle_i32x4(s[c], s[4 + c], 0x88));
    store(8 + c, _mm512_shuffle_i32x4(s[c], s[4 + c], 0xdd));
    store(4 + c, _mm512_shuffle_i32x4(s[8 + c], s[12 + c], 0x88));
    store(12 + c, _mm512_shuffle_i32x4(s[8 + c], s[12 + c], 0xdd));
  }
}

}  // namespace heed::inline HEED_ABI::detail

#endif
