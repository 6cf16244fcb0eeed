// How numbers are stored where memory counts more than digits: as they are computed with, or in 16 bits.
//
//   arithmetic   float or double          as it is
//   bfloat16     1 + 8 + 7 bits           the range of float;  |stored - x| <= 2^-8 |x|
//   half         1 + 5 + 10 bits          up to 65504;         |stored - x| <= 2^-11 |x| from 2^-14 on
//
// Rounding is to the nearest, ties to even; NaN stays NaN, and what is too large becomes infinite. A double is rounded to
// float first, which may move a tie. Arithmetic is never done in 16 bits: rows are widened, exactly, before they are used.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

#include "matrix.hpp"

namespace heed::inline HEED_ABI {

enum class Storage { arithmetic, bfloat16, half };

/// The bytes of one stored number.
template <class Scalar>
constexpr Index bytes_of(Storage storage) {
  return storage == Storage::arithmetic ? Index(sizeof(Scalar)) : 2;
}

constexpr std::string_view name_of(Storage storage) {
  if (storage == Storage::bfloat16) return "bfloat16";
  return storage == Storage::half ? "half" : "arithmetic";
}

/// to [n] = from [n], exactly. `storage` is one of the 16-bit ones.
template <class Scalar>
void widen(Storage storage, const std::uint16_t* from, Index n, Scalar* to) {
  if (storage == Storage::bfloat16)  // the upper half of a float
    for (Index i = 0; i < n; ++i) to[i] = static_cast<Scalar>(std::bit_cast<float>(std::uint32_t(from[i]) << 16));
  else
    for (Index i = 0; i < n; ++i)
      to[i] = static_cast<Scalar>(static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(from[i])));
}

/// to [n] = from [n], rounded. `storage` is one of the 16-bit ones.
template <class Scalar>
void narrow(Storage storage, const Scalar* from, Index n, std::uint16_t* to) {
  if (storage == Storage::bfloat16)
    for (Index i = 0; i < n; ++i)
      to[i] = Eigen::numext::bit_cast<std::uint16_t>(Eigen::bfloat16(static_cast<float>(from[i])));
  else
    for (Index i = 0; i < n; ++i) to[i] = Eigen::numext::bit_cast<std::uint16_t>(Eigen::half(static_cast<float>(from[i])));
}

}  // namespace heed::inline HEED_ABI
