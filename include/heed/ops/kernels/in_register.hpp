// A packet that is loaded once and multiplied several times: GCC would load it anew for every product, from the first
// cache, which brings one packet a cycle and no more.
#pragma once

#include "../lanes.hpp"

namespace heed::inline HEED_ABI::detail {

/// x, and no compiler knows that it came from memory. Where registers are few nothing is held.
template <class Scalar, int width>
EIGEN_ALWAYS_INLINE Lanes<Scalar, width> in_register(Lanes<Scalar, width> x) {
#if defined(__GNUC__) && defined(EIGEN_VECTORIZE_AVX512)
  if constexpr (sizeof(x) == 64) asm("" : "+v"(x.raw));
#endif
  return x;
}

}  // namespace heed::inline HEED_ABI::detail
