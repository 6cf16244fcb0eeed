// Halves to floats by the processor's own instruction, sixteen at once.
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "../../core/abi.hpp"

namespace heed::inline HEED_ABI::detail {

/// Whether widened_halves<width> is there.
template <int width>
inline constexpr bool converts_halves = false;

template <int width>
auto widened_halves(const std::uint16_t* from);

}  // namespace heed::inline HEED_ABI::detail

#if defined(EIGEN_VECTORIZE_AVX512)

#include <immintrin.h>

namespace heed::inline HEED_ABI::detail {

template <>
inline constexpr bool converts_halves<16> = true;

template <>
inline auto widened_halves<16>(const std::uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

}  // namespace heed::inline HEED_ABI::detail

#endif
