// Sine and cosine of a packet of doubles, together: what rotary positions take of every angle.
#pragma once

#include "lanes.hpp"

namespace heed::inline HEED_ABI::detail {

/// Beyond it the reduction to a quarter turn would lose digits, and `sine_and_cosine` must not be used.
inline constexpr double largest_angle = 1e6;

struct SineCosine {
  Lanes<double> sine;
  Lanes<double> cosine;
};

/// Both to 2 eps, for |x| <= largest_angle. The polynomials and the three parts of pi/2 are those of fdlibm.
inline SineCosine sine_and_cosine(Lanes<double> x) {
  using namespace Eigen::internal;
  using Packet = Lanes<double>::Packet;
  const auto all = [](double value) { return Lanes<double>::all(value); };
  const auto nearest = [](Lanes<double> v) { return Lanes<double>{print(v.raw)}; };
  // x = n pi/2 + r; the parts have 33 bits each, so n times a part is exact
  const Lanes<double> n = nearest(x * all(6.36619772367581382433e-01));
  const Lanes<double> r = ((x - n * all(1.57079632673412561417e+00)) - n * all(6.07710050630396597660e-11)) -
                          n * all(2.02226624879595063154e-21);
  const Lanes<double> z = r * r;
  const auto horner = [&](auto... coefficients) {
    Lanes<double> sum = all(0);
    ((sum = multiply_add(sum, z, all(coefficients))), ...);
    return sum;
  };
  const Lanes<double> sine =
      multiply_add(r * z,
                   horner(1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
                          -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01),
                   r);
  const Lanes<double> cosine =
      multiply_add(z * z,
                   horner(-1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
                          2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02),
                   multiply_add(z, all(-0.5), all(1)));
  // the quadrant n mod 4 says which of the two, and with which sign
  const Lanes<double> quadrant = n - all(4) * nearest(multiply_add(n, all(0.25), all(-0.375)));
  const auto is = [&](double q) { return pcmp_eq(quadrant.raw, all(q).raw); };
  const auto choose = [](Packet mask, Lanes<double> yes, Lanes<double> no) {
    return Lanes<double>{pselect(mask, yes.raw, no.raw)};
  };
  const Packet odd = por(is(1), is(3));
  const Lanes<double> sine_of_x = choose(odd, cosine, sine), cosine_of_x = choose(odd, sine, cosine);
  return {choose(por(is(2), is(3)), all(0) - sine_of_x, sine_of_x),
          choose(por(is(1), is(2)), all(0) - cosine_of_x, cosine_of_x)};
}

}  // namespace heed::inline HEED_ABI::detail
