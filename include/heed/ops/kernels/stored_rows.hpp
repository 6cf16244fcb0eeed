// Rows of K and V as they are stored, read straight into lanes: what is stored in 16 bits is widened in registers, and
// never passes through memory.
//
//   PlainRows     the arithmetic scalar, as it lies
//   BfloatRows    one load brings 2 W numbers: those at even places in one packet, those at odd places in another
//   HalfRows      the same; or, where the processor converts, W numbers in order
//
// Lanes of another order than memory cost nothing: what is multiplied with the rows is arranged alike, once, and what is
// summed along them is put in order at the end. Where sums have to have the order of those over floats, load_in_order
// brings one packet of W numbers as they lie.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "../lanes.hpp"
#include "halves_avx512.hpp"
#include "in_order_x86.hpp"

namespace heed::inline HEED_ABI::detail {

/// Whether rows of 16 bits are widened in lanes; elsewhere they pass through a buffer.
template <class Scalar>
inline constexpr bool widens_in_lanes =
    sizeof(Scalar) == sizeof(float) && full_width<Scalar> > 1 && std::endian::native == std::endian::little;

/// Whether they are in order, too: load_in_order is there.
template <class Scalar>
inline constexpr bool widens_in_order = widens_in_lanes<Scalar>&& loads_in_order<full_width<Scalar>>;

template <class Scalar, std::size_t packets>
using Loaded = std::array<Lanes<Scalar>, packets>;

template <class Scalar_>
struct PlainRows {
  using Scalar = Scalar_;
  using Element = Scalar;
  static constexpr std::size_t packets = 1;  // that one load brings
  const Element* data;
  Index stride;

  static Loaded<Scalar, packets> load(const Element* from) { return {Lanes<Scalar>::load(from)}; }
  static Lanes<Scalar> load_in_order(const Element* from) { return Lanes<Scalar>::load(from); }
};

// 2 W numbers of 16 bits, as W of 32.
template <class Scalar>
auto load_pairs(const std::uint16_t* from) {
  using Bits = typename Eigen::internal::unpacket_traits<typename Lanes<Scalar>::Packet>::integer_packet;
  return Eigen::internal::ploadu<Bits>(reinterpret_cast<const int*>(from));
}

template <class Scalar_>
struct BfloatRows {
  using Scalar = Scalar_;
  using Element = std::uint16_t;
  static constexpr std::size_t packets = 2;
  const Element* data;
  Index stride;

  // The bits of a bfloat16 are the upper half of a float's.
  static Loaded<Scalar, packets> load(const Element* from) {
    using namespace Eigen::internal;
    using Packet = typename Lanes<Scalar>::Packet;
    const auto pairs = load_pairs<Scalar>(from);
    using Bits = std::remove_const_t<decltype(pairs)>;
    return {Lanes<Scalar>{preinterpret<Packet>(Bits(plogical_shift_left<16>(pairs)))},
            Lanes<Scalar>{preinterpret<Packet>(Bits(pand(pairs, pset1<Bits>(std::bit_cast<int>(0xffff0000u)))))}};
  }
  static Lanes<Scalar> load_in_order(const Element* from) {
    using Packet = typename Lanes<Scalar>::Packet;
    return {Eigen::internal::preinterpret<Packet>(upper_halves<full_width<Scalar>>(from))};
  }
};

template <class Scalar_>
struct HalfRows {
  using Scalar = Scalar_;
  using Element = std::uint16_t;
  static constexpr std::size_t packets = converts_halves<full_width<Scalar>> ? 1 : 2;
  const Element* data;
  Index stride;

  static Loaded<Scalar, packets> load(const Element* from) {
    if constexpr (packets == 1) {
      return {Lanes<Scalar>{widened_halves<full_width<Scalar>>(from)}};
    } else {
      using namespace Eigen::internal;
      const auto pairs = load_pairs<Scalar>(from);
      using Bits = std::remove_const_t<decltype(pairs)>;
      return {from_upper(Bits(plogical_shift_left<16>(pairs))), from_upper(pairs)};
    }
  }
  static Lanes<Scalar> load_in_order(const Element* from) {
    if constexpr (converts_in_order<full_width<Scalar>>)
      return {halves_in_order<full_width<Scalar>>(from)};
    else
      return from_upper(upper_halves<full_width<Scalar>>(from));
  }

 private:
  // The halves in the upper halves of `pairs`.
  template <class Bits>
  static Lanes<Scalar> from_upper(Bits pairs) {
    using namespace Eigen::internal;
    const auto masked = [pairs](std::uint32_t mask) { return Bits(pand(pairs, pset1<Bits>(std::bit_cast<int>(mask)))); };
    return from_bits(Bits(plogical_shift_right<3>(masked(0x7fff0000u))), masked(0x80000000u));
  }
  // `bits`: exponent and mantissa where a float has them. The exponent is 112 too small, and
  //   x < 2^-14     has no leading one: 2^-15 (1 + f) stands for 2^-14 f
  //   x >= 2^16     is infinite or NaN: the exponent is that of a float's
  template <class Bits>
  static Lanes<Scalar> from_bits(Bits bits, Bits sign) {
    using namespace Eigen::internal;
    using Packet = typename Lanes<Scalar>::Packet;
    const auto all = [](Scalar x) { return pset1<Packet>(x); };
    const Packet x = preinterpret<Packet>(Bits(padd(bits, pset1<Bits>(112 << 23))));
    const Packet small = psub(padd(x, x), all(0x1p-14f));
    const Packet finite = pselect(pcmp_lt(x, all(0x1p-14f)), small, x);
    const Packet endless = pand(pcmp_le(all(0x1p16f), x), all(std::numeric_limits<float>::infinity()));
    return {por(por(finite, endless), preinterpret<Packet>(sign))};
  }
};

/// Numbers in one load.
template <class Rows>
inline constexpr Index load_width = Index(Rows::packets) * full_width<typename Rows::Scalar>;

/// n rounded up to whole loads, whatever the rows are stored in.
template <class Scalar>
constexpr Index whole_loads(Index n) {
  constexpr Index width = (widens_in_lanes<Scalar> ? 2 : 1) * full_width<Scalar>;
  return (n + width - 1) / width * width;
}

/// Number i of a row is in lane place_of<Rows>(i), counted through all packets of the row.
template <class Rows>
constexpr Index place_of(Index i) {
  if (Rows::packets == 1) return i;
  const Index within = i % load_width<Rows>;
  return i - within + within % 2 * full_width<typename Rows::Scalar> + within / 2;
}

/// The n numbers at `from` that do not fill a load, followed by zeros.
template <class Rows>
auto load_last(const typename Rows::Element* from, Index n) {
  typename Rows::Element padded[std::size_t(load_width<Rows>)] = {};
  for (Index i = 0; i < n; ++i) padded[i] = from[i];
  return Rows::load(padded);
}

}  // namespace heed::inline HEED_ABI::detail
