// Stores of whole lines that go to memory past the caches: what lies there is not read before it is overwritten.
#pragma once

#include "../lanes.hpp"

namespace heed::inline HEED_ABI::detail {

/// Whether store_past_caches of full packets is there.
template <class Scalar>
inline constexpr bool stores_past_caches = false;

/// `to` is aligned to 64 bytes.
template <class Scalar>
void store_past_caches(Scalar* to, Lanes<Scalar> lanes);

/// Before anybody else is told to read what was stored.
inline void end_stores_past_caches();

}  // namespace heed::inline HEED_ABI::detail

#if defined(EIGEN_VECTORIZE_AVX512)

#include <immintrin.h>

namespace heed::inline HEED_ABI::detail {

template <>
inline constexpr bool stores_past_caches<float> = true;
template <>
inline constexpr bool stores_past_caches<double> = true;

template <>
inline void store_past_caches<float>(float* to, Lanes<float> lanes) {
  _mm512_stream_ps(to, lanes.raw);
}
template <>
inline void store_past_caches<double>(double* to, Lanes<double> lanes) {
  _mm512_stream_pd(to, lanes.raw);
}
inline void end_stores_past_caches() {
  _mm_sfence();
}

}  // namespace heed::inline HEED_ABI::detail

#endif
