// Eigen's packets as a value type: the lanes in which ops compute.
//
// Loops over lanes are written here so that a result never depends on where memory lies: every element goes through the
// same instructions at any address, and sums have one order. Without SIMD a packet is one scalar and the same code runs.
#pragma once

#include <Eigen/Core>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI::detail {

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // GCC says it of any vector type used as a template argument
#endif

template <class Scalar, int width>
struct packet_of {
  using type = typename Eigen::internal::find_best_packet<Scalar, width>::type;
  using Square = Eigen::internal::PacketBlock<type, width>;  // as many packets as each has lanes
  static constexpr bool exists = Eigen::internal::unpacket_traits<type>::size == width;
};
template <class Scalar>
struct packet_of<Scalar, 1> {
  using type = Scalar;
  using Square = Eigen::internal::PacketBlock<type, 1>;
  static constexpr bool exists = true;
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// Asks for the cache line of x, which will be read or written soon. Always inlined, as everything has to be that does
/// nothing else, and not by way of Eigen's prefetch: GCC takes such functions for ones without effect, and drops their
/// calls.
template <class T>
EIGEN_ALWAYS_INLINE void ask_for(const T* x) {
#if defined(__GNUC__)
  __builtin_prefetch(x);
#else
  Eigen::internal::prefetch(x);
#endif
}

/// The same for the lines of a row.
template <class T>
EIGEN_ALWAYS_INLINE void ask_for_row(const T* row, Index width) {
  for (Index i = 0; i < width; i += Index(64 / sizeof(T))) ask_for(row + i);
}

/// The lanes of the widest packet, for this translation unit's instruction set.
template <class Scalar>
inline constexpr int full_width = Eigen::internal::packet_traits<Scalar>::size;

/// Whether a multiply-add rounds once.
#if defined(EIGEN_HAS_SINGLE_INSTRUCTION_MADD)
inline constexpr bool product_is_not_rounded = true;
#else
inline constexpr bool product_is_not_rounded = false;
#endif

/// n rounded up to full lanes.
template <class Scalar>
constexpr Index whole_lanes(Index n) {
  return (n + full_width<Scalar> - 1) / full_width<Scalar> * full_width<Scalar>;
}

/// The next narrower width that the instruction set has; 1 at the end.
template <class Scalar, int width>
inline constexpr int narrower_width = (width > 2 && packet_of<Scalar, (width > 2 ? width / 2 : 1)>::exists) ? width / 2 : 1;

template <class Scalar, int width = full_width<Scalar>>
struct Lanes {
  using Packet = typename packet_of<Scalar, width>::type;
  Packet raw;

  static Lanes load(const Scalar* from) { return {Eigen::internal::ploadu<Packet>(from)}; }
  static Lanes all(Scalar value) { return {Eigen::internal::pset1<Packet>(value)}; }
  void store(Scalar* to) const { Eigen::internal::pstoreu(to, raw); }
  Scalar sum() const { return Eigen::internal::predux(raw); }
  Scalar highest() const { return Eigen::internal::predux_max(raw); }
  Scalar first() const { return Eigen::internal::pfirst(raw); }

  friend Lanes operator+(Lanes a, Lanes b) { return {Eigen::internal::padd(a.raw, b.raw)}; }
  friend Lanes operator-(Lanes a, Lanes b) { return {Eigen::internal::psub(a.raw, b.raw)}; }
  friend Lanes operator*(Lanes a, Lanes b) { return {Eigen::internal::pmul(a.raw, b.raw)}; }
  friend Lanes operator/(Lanes a, Lanes b) { return {Eigen::internal::pdiv(a.raw, b.raw)}; }
  friend Lanes operator*(Scalar a, Lanes b) { return all(a) * b; }
  friend Lanes operator+(Scalar a, Lanes b) { return all(a) + b; }
  friend Lanes operator-(Scalar a, Lanes b) { return all(a) - b; }
  friend Lanes operator/(Scalar a, Lanes b) { return all(a) / b; }

  /// a b + c
  friend Lanes multiply_add(Lanes a, Lanes b, Lanes c) { return {Eigen::internal::pmadd(a.raw, b.raw, c.raw)}; }
  friend Lanes maximum(Lanes a, Lanes b) { return {Eigen::internal::pmax(a.raw, b.raw)}; }
  friend Lanes minimum(Lanes a, Lanes b) { return {Eigen::internal::pmin(a.raw, b.raw)}; }
  friend Lanes square_root(Lanes a) { return {Eigen::internal::psqrt(a.raw)}; }

  /// e^x, and exactly zero where e^x would be too small to be a normal number (e^-inf among them), so that no denormal
  /// numbers arise. NaN stays NaN.
  ///   float   2^n e^r,  n = round(x / ln 2),  e^r a polynomial on |r| <= ln 2 / 2, with e^0 = 1 and relative error 2e-9
  friend Lanes exponential(Lanes x) {
    if constexpr (scales_by_bits) {
      const Packet infinite = Eigen::internal::pcmp_lt(all(Scalar(88.7228317)).raw, x.raw);
      const Lanes infinity = all(std::numeric_limits<Scalar>::infinity());
      return {Eigen::internal::pselect(infinite, infinity.raw, falling_exponential(x).raw)};
    } else {
      return Lanes{Eigen::internal::pexp(x.raw)}.zero_where_below(x);
    }
  }
  /// The same for x <= 0, where nothing is infinite.
  friend Lanes falling_exponential(Lanes x) {
    if constexpr (scales_by_bits) {
      const Lanes rounding = all(Scalar(12582912));  // 1.5 2^23: x + rounding has no digits behind the point
      const Lanes whole = multiply_add(x, all(Scalar(1.44269504)), rounding) - rounding;
      const Lanes r = multiply_add(whole, all(Scalar(2.12194440e-4)), multiply_add(whole, all(Scalar(-0.693359375)), x));
      Lanes e = all(Scalar(1.3843653656e-3));
      for (const double c : {8.37415529976e-3, 4.16680020326e-2, 0.166664312628, 0.499999942091, 1.00000003217, 1.0})
        e = multiply_add(e, r, all(static_cast<Scalar>(c)));
      return times_power(e, whole).zero_where_below(x);
    } else {
      return exponential(x);
    }
  }
  /// e^-x where |x| <= 87, or 709 in double: no infinity. For sums like 1 + e^-x, where one more rounding of it is allowed.
  ///   float   2^n e^-r,  n = -round(x / ln 2),  e^-r a polynomial on |r| <= ln 2 / 2, with e^0 = 1 and error 1.5e-7
  friend Lanes bounded_decay(Lanes x) {
    if constexpr (scales_by_bits) {
      using namespace Eigen::internal;
      using Bits = typename unpacket_traits<Packet>::integer_packet;
      const Lanes rounding = all(Scalar(12582912));  // as above; the last bits of x + rounding are those of a whole number
      const Lanes shifted = multiply_add(x, all(Scalar(-1.44269504)), rounding), whole = shifted - rounding;
      const Lanes r = product_is_not_rounded ? multiply_add(whole, all(Scalar(0.693147181)), x)
                                             : multiply_add(whole, all(Scalar(-2.12194440e-4)),
                                                            multiply_add(whole, all(Scalar(0.693359375)), x));
      Lanes e = all(Scalar(-8.36915816e-3));
      for (const double c : {4.19175800e-2, -0.166665231, 0.499989945, -1.0, 1.0})
        e = multiply_add(e, r, all(static_cast<Scalar>(c)));
      const Bits exponent = plogical_shift_left<23>(Bits(preinterpret<Bits>(shifted.raw)));
      return {preinterpret<Packet>(padd(Bits(preinterpret<Bits>(e.raw)), exponent))};
    } else {
      return exponential(Scalar(0) - x);
    }
  }
  friend Lanes magnitude(Lanes x) { return {Eigen::internal::pabs(x.raw)}; }

  /// tanh(x), to a few units of the last place also near zero, where 1 - e^-2x would cancel. NaN stays NaN.
  ///   |x| < 0.625    x + x^3 R(x^2), R a polynomial in float and a ratio of two in double
  ///   else           sign(x) (1 - e) / (1 + e),  e = e^-2|x|
  ///   source         S. Moshier, Cephes, tanh.c and tanhf.c
  friend Lanes hyperbolic_tangent(Lanes x) {
    const auto horner = [](Lanes at, std::initializer_list<double> coefficients) {
      Lanes sum = all(Scalar(0));
      for (const double c : coefficients) sum = multiply_add(sum, at, all(static_cast<Scalar>(c)));
      return sum;
    };
    const Lanes square = x * x;
    const Lanes ratio =
        sizeof(Scalar) == 4
            ? horner(square, {-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1})
            : horner(square, {-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3}) /
                  horner(square, {1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3});
    const Lanes near = multiply_add(x * square, ratio, x);
    const Lanes e = exponential(Scalar(-2) * magnitude(x));
    const Lanes far = (Scalar(1) - e) / (Scalar(1) + e);
    const Packet negative = Eigen::internal::pcmp_lt(x.raw, Eigen::internal::pset1<Packet>(Scalar(0)));
    const Packet signed_far = Eigen::internal::pselect(negative, (Scalar(0) - far).raw, far.raw);
    const Packet is_near = Eigen::internal::pcmp_lt(magnitude(x).raw, Eigen::internal::pset1<Packet>(Scalar(0.625)));
    return {Eigen::internal::pselect(is_near, near.raw, signed_far)};
  }
  /// sigma(x) = 1 / (1 + e^-x)
  friend Lanes logistic(Lanes x) { return Scalar(1) / (Scalar(1) + exponential(Scalar(0) - x)); }

 private:
  // A float packet's exponents are scaled by adding to its bits.
  static constexpr bool scales_by_bits = sizeof(Scalar) == 4 && width > 1;

  // x 2^n, n whole. The result has to be a normal number. NaN stays NaN, whatever its bits: a whole number made of it has
  // none that would be left after the shift.
  static Lanes times_power(Lanes x, Lanes n) {
    using namespace Eigen::internal;
    using Bits = typename unpacket_traits<Packet>::integer_packet;
    const Bits exponent = plogical_shift_left<23>(Bits(pcast<Packet, Bits>(n.raw)));
    return {preinterpret<Packet>(padd(Bits(preinterpret<Bits>(x.raw)), exponent))};
  }
  // Zero where e^x is too small.
  Lanes zero_where_below(Lanes x) const {
    const Lanes lowest = all(sizeof(Scalar) == 4 ? Scalar(-87) : Scalar(-708));
    if constexpr (width == 1)
      return x.raw < lowest.raw ? all(Scalar(0)) : *this;
    else
      return {Eigen::internal::pandnot(raw, Eigen::internal::pcmp_lt(x.raw, lowest.raw))};
  }
};

// The n < full width values at `from`, followed by zeros.
template <class Scalar>
Lanes<Scalar> load_first(const Scalar* from, Index n) {
  Scalar padded[static_cast<std::size_t>(full_width<Scalar>)] = {};
  for (Index lane = 0; lane < n; ++lane) padded[lane] = from[lane];
  return Lanes<Scalar>::load(padded);
}
template <class Scalar>
void store_first(Scalar* to, Lanes<Scalar> lanes, Index n) {
  Scalar padded[static_cast<std::size_t>(full_width<Scalar>)];
  lanes.store(padded);
  for (Index lane = 0; lane < n; ++lane) to[lane] = padded[lane];
}

/// out[i] = f(in[i]...) for i < n, where f takes and returns Lanes. out may be one of the inputs. Inlined, so that what f
/// captured stays in registers: out of line, it is loaded again after every store.
template <class Scalar, class F, class... In>
EIGEN_ALWAYS_INLINE void transform(Index n, Scalar* out, F&& f, const In*... in) {
  constexpr Index width = full_width<Scalar>;
  Index i = 0;
  for (; i + width <= n; i += width) f(Lanes<Scalar>::load(in + i)...).store(out + i);
  if (i < n) store_first(out + i, f(load_first(in + i, n - i)...), n - i);
}

/// The sum of f(in[i]...) over i < n, where f takes and returns Lanes and is zero at zero. One order: four sums take the
/// packets in turn, so that an addition need not wait for the one before; they are added pair by pair, the lanes last.
template <class Scalar, class F, class... In>
EIGEN_ALWAYS_INLINE Scalar sum_over(Index n, F&& f, const Scalar* first, const In*... in) {
  constexpr Index width = full_width<Scalar>;
  const auto packet = [&](Index i) { return f(Lanes<Scalar>::load(first + i), Lanes<Scalar>::load(in + i)...); };
  Lanes<Scalar> a = Lanes<Scalar>::all(Scalar(0)), b = a, c = a, d = a;
  Index i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    a = a + packet(i);
    b = b + packet(i + width);
    c = c + packet(i + 2 * width);
    d = d + packet(i + 3 * width);
  }
  for (; i + width <= n; i += width) a = a + packet(i);
  if (i < n) b = b + f(load_first(first + i, n - i), load_first(in + i, n - i)...);
  return ((a + b) + (c + d)).sum();
}

/// a . b
template <class Scalar>
Scalar dot(const Scalar* a, const Scalar* b, Index n) {
  return sum_over(
      n, [](auto x, auto y) { return x * y; }, a, b);
}

/// y += factor x
template <class Scalar>
EIGEN_ALWAYS_INLINE void add_scaled(Scalar* y, Scalar factor, const Scalar* x, Index n) {
  const auto f = Lanes<Scalar>::all(factor);
  transform(
      n, y, [&](auto y_i, auto x_i) { return multiply_add(f, x_i, y_i); }, y, x);
}

}  // namespace heed::inline HEED_ABI::detail
