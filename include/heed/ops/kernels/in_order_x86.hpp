// Numbers of 16 bits to as many lanes, in order, by the instructions of SSE2, AVX2 and AVX-512.
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "halves_avx512.hpp"

namespace heed::inline HEED_ABI::detail {

/// Whether upper_halves<width> is there.
template <int width>
inline constexpr bool loads_in_order = false;

/// Each of the numbers in the upper half of 32 bits, over zeros: where a bfloat16 is a float.
template <int width>
auto upper_halves(const std::uint16_t* from);

/// Whether halves_in_order<width> is there.
template <int width>
inline constexpr bool converts_in_order = converts_halves<width>;

/// Halves as floats.
template <int width>
auto halves_in_order(const std::uint16_t* from) {
  return widened_halves<width>(from);
}

}  // namespace heed::inline HEED_ABI::detail

#if defined(EIGEN_VECTORIZE_SSE2)

#include <immintrin.h>

namespace heed::inline HEED_ABI::detail {

template <>
inline constexpr bool loads_in_order<4> = true;

template <>
inline auto upper_halves<4>(const std::uint16_t* from) {
  const __m128i numbers = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  return Eigen::internal::Packet4i(_mm_unpacklo_epi16(_mm_setzero_si128(), numbers));
}

}  // namespace heed::inline HEED_ABI::detail

#endif

#if defined(EIGEN_VECTORIZE_AVX2)

namespace heed::inline HEED_ABI::detail {

template <>
inline constexpr bool loads_in_order<8> = true;

template <>
inline auto upper_halves<8>(const std::uint16_t* from) {
  const __m128i numbers = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return Eigen::internal::Packet8i(_mm256_slli_epi32(_mm256_cvtepu16_epi32(numbers), 16));
}

#if defined(__F16C__)
template <>
inline constexpr bool converts_in_order<8> = true;

template <>
inline auto halves_in_order<8>(const std::uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
#endif

}  // namespace heed::inline HEED_ABI::detail

#endif

#if defined(EIGEN_VECTORIZE_AVX512)

namespace heed::inline HEED_ABI::detail {

template <>
inline constexpr bool loads_in_order<16> = true;

template <>
inline auto upper_halves<16>(const std::uint16_t* from) {
  const __m256i numbers = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return Eigen::internal::Packet16i(_mm512_slli_epi32(_mm512_cvtepu16_epi32(numbers), 16));
}

}  // namespace heed::inline HEED_ABI::detail

#endif
