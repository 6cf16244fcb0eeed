// Activations, lane by lane: alone, and as the gate of a product.
//
//   silu(x) = x sigma(x)              relu(x) = max(x, 0)              softplus(x) = log(1 + e^x)
//   gelu(x) = x Phi(x), Phi(x) = erfc(-x / sqrt 2) / 2, the distribution of the normal numbers
//   gelu_tanh(x) = x (1 + tanh u) / 2 = x sigma(2 u),   u = sqrt(2 / pi) (x + 0.044715 x^3)
//
//   activate: y = f(x)                glu: y = f(gate) up              x, y, gate, up [T x F]
//
// Sources: Elfwing et al. 2017 (arXiv 1702.03118); Hendrycks and Gimpel 2016 (arXiv 1606.08415), section 2, both forms;
// Shazeer 2020 (arXiv 2002.05202), eqs. 5 and 6.
#pragma once

#include <cmath>
#include <concepts>
#include <initializer_list>
#include <string_view>

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI::detail {

/// f of every lane, for functions that packets lack.
template <class Scalar, class F>
Lanes<Scalar> by_lane(Lanes<Scalar> x, F&& f) {
  Scalar lanes[static_cast<std::size_t>(full_width<Scalar>)];
  x.store(lanes);
  for (Scalar& lane : lanes) lane = f(lane);
  return Lanes<Scalar>::load(lanes);
}

/// value, but otherwise where x is zero or less: where x is NaN, it is value.
template <class Scalar>
Lanes<Scalar> where_positive(Lanes<Scalar> x, Lanes<Scalar> value, Lanes<Scalar> otherwise) {
  const auto zero = Lanes<Scalar>::all(Scalar(0));
  return {Eigen::internal::pselect(Eigen::internal::pcmp_le(x.raw, zero.raw), otherwise.raw, value.raw)};
}

/// x sigma(x). Below `least` it is what it is there, zero but for 1.4e-36 in float.
template <class Scalar>
Lanes<Scalar> silu(Lanes<Scalar> x) {
  constexpr Scalar most = sizeof(Scalar) == 4 ? Scalar(87) : Scalar(709);
  const Lanes<Scalar> least = Lanes<Scalar>::all(-most), from_least = maximum(x, least);  // NaN stays NaN
  return from_least / (Scalar(1) + bounded_decay(minimum(from_least, Lanes<Scalar>::all(most))));
}
// silu(x) = x sigma(x)   =>   silu'(x) = sigma(x) (1 + x (1 - sigma(x)))
template <class Scalar>
Lanes<Scalar> silu_derivative(Lanes<Scalar> x) {
  const Lanes<Scalar> sigma = logistic(x);
  return sigma * (Scalar(1) + x * (Scalar(1) - sigma));
}

/// log(1 + x) for 0 <= x <= 1, exact to rounding near zero too.
///   log(1 + x) = 2 atanh(s) = 2 s + s z P(z),   s = x / (2 + x) <= 1/3,  z = s^2
/// The coefficients are those of P / 2, fitted on z <= 1/9: to 5e-9 in float, to 2e-18 in double.
template <class Scalar>
Lanes<Scalar> log_one_plus(Lanes<Scalar> x) {
  const auto constant = [](double value) { return Lanes<Scalar>::all(static_cast<Scalar>(value)); };
  const Lanes<Scalar> s = x / (Scalar(2) + x), z = s * s;
  const auto horner = [&](std::initializer_list<double> coefficients) {
    Lanes<Scalar> sum = constant(0);
    for (const double c : coefficients) sum = multiply_add(sum, z, constant(2 * c));
    return sum;
  };
  const Lanes<Scalar> p =
      sizeof(Scalar) == 4 ? horner({0.14005994889764609, 0.14000902299949029, 0.20010763643255433, 0.33333208142340779})
                          : horner({0.085048750933469137, 0.041724874873087541, 0.060524720584746004, 0.066505607380605975,
                                    0.076932741928109392, 0.090908722396916271, 0.11111111976819209, 0.14285714274059062,
                                    0.20000000000077558, 0.33333333333333155});
  return multiply_add(s * z, p, s + s);
}

/// log(1 + e^x), finite for any finite x: max(x, 0) + log(1 + e^-|x|)
template <class Scalar>
Lanes<Scalar> softplus(Lanes<Scalar> x) {
  const Lanes<Scalar> zero = Lanes<Scalar>::all(Scalar(0));
  return maximum(x, zero) + log_one_plus(exponential(zero - maximum(x, zero - x)));
}
// softplus(x) = log(1 + e^x)   =>   softplus'(x) = sigma(x)
template <class Scalar>
Lanes<Scalar> softplus_derivative(Lanes<Scalar> x) {
  return logistic(x);
}

/// Phi(x) and Phi'(x) = e^(-x^2 / 2) / sqrt(2 pi). No digits are lost far below zero, where 1 + erf would be a difference.
///   float, |x| < 1   Phi(x) = 1/2 + x Q(x^2)
///   else             Phi(-|x|) = e^(-x^2 / 2) t P(2 t - 1),   t = 1 / (1 + 0.3 |x|),   Phi(|x|) = 1 - Phi(-|x|)
///   double           Phi(x) = erfc(-x / sqrt 2) / 2, number by number
/// Q is fitted to 3e-10. P is, where the exponential is not zero, to 3.5e-9 of itself; so the tail is rounded in the
/// exponent, by x^2 eps / 4 of itself, and by 5 eps of itself in the exponential, P, t and their product.
template <class Scalar>
struct NormalNumbers {
  Lanes<Scalar> distribution, density;

  explicit NormalNumbers(Lanes<Scalar> x) {
    constexpr double half_root = 0.70710678118654752440;  // 1 / sqrt 2
    constexpr double scale = 0.39894228040143267794;      // 1 / sqrt(2 pi)
    const auto all = [](double value) { return Lanes<Scalar>::all(static_cast<Scalar>(value)); };
    const Lanes<Scalar> square = x * x, e = falling_exponential(Scalar(-0.5) * square);
    density = static_cast<Scalar>(scale) * e;
    if constexpr (sizeof(Scalar) == 4) {
      const auto horner = [&](Lanes<Scalar> at, std::initializer_list<double> coefficients) {
        Lanes<Scalar> sum = all(0);
        for (const double c : coefficients) sum = multiply_add(sum, at, all(c));
        return sum;
      };
      const Lanes<Scalar> one = all(1), t = one / multiply_add(all(0.3), magnitude(x), one);
      const Lanes<Scalar> tail =
          e * (t * horner(t + t - one,
                          {-4.02145379278e-5, 7.65315261583e-5, 2.80669744931e-4, -5.69625693008e-4, -2.42354097834e-3,
                           1.81602582814e-3, 2.77603441734e-2, 8.65497099972e-2, 0.164579485145, 0.221970613084}));
      const Lanes<Scalar> near = multiply_add(x,
                                              horner(square, {-7.66468117475e-6, 1.13512660028e-4, -1.18635306427e-3,
                                                              9.97333172588e-3, -6.64903609734e-2, 0.398942280139}),
                                              all(0.5));
      const auto is_near = Eigen::internal::pcmp_lt(square.raw, one.raw);
      distribution = {Eigen::internal::pselect(is_near, near.raw, where_positive(x, one - tail, tail).raw)};
    } else {
      distribution = by_lane(x, [](Scalar lane) { return std::erfc(lane * static_cast<Scalar>(-half_root)) / 2; });
    }
  }
};

/// 2 u and its derivative, of the tanh form of gelu.
template <class Scalar>
struct GeluTanhArgument {
  Lanes<Scalar> value, slope;

  explicit GeluTanhArgument(Lanes<Scalar> x) {
    constexpr double two_roots = 1.59576912160573071176;  // 2 sqrt(2 / pi)
    constexpr double cubic = 0.044715;
    // Beyond 40, sigma(2 u) is 0 or 1 in double too; the cube of a large number would be infinite.
    const auto most = Lanes<Scalar>::all(Scalar(40)), least = Lanes<Scalar>::all(Scalar(-40));
    const Lanes<Scalar> near{Eigen::internal::pmax(least.raw, Eigen::internal::pmin(most.raw, x.raw))};
    const Lanes<Scalar> square = static_cast<Scalar>(cubic) * (near * near);
    value = static_cast<Scalar>(two_roots) * (near * (Scalar(1) + square));
    slope = static_cast<Scalar>(two_roots) * (Scalar(1) + Scalar(3) * square);
  }
};

}  // namespace heed::inline HEED_ABI::detail

namespace heed::inline HEED_ABI {

/// An activation f: a name, f of lanes, and its derivative.
template <class F>
concept Activation = requires(detail::Lanes<float> x) {
  std::string_view(F::name);
  { F::of(x) } -> std::same_as<detail::Lanes<float>>;
  { F::derivative(x) } -> std::same_as<detail::Lanes<float>>;
};

/// f(x) = x: none.
struct Identity {
  static constexpr std::string_view name = "identity";

  template <class Scalar>
  static detail::Lanes<Scalar> of(detail::Lanes<Scalar> x) {
    return x;
  }
  template <class Scalar>
  static detail::Lanes<Scalar> derivative(detail::Lanes<Scalar>) {
    return detail::Lanes<Scalar>::all(Scalar(1));
  }
};

struct Silu {
  static constexpr std::string_view name = "silu";

  template <class Scalar>
  static detail::Lanes<Scalar> of(detail::Lanes<Scalar> x) {
    return detail::silu(x);
  }
  template <class Scalar>
  static detail::Lanes<Scalar> derivative(detail::Lanes<Scalar> x) {
    return detail::silu_derivative(x);
  }
};

struct Relu {
  static constexpr std::string_view name = "relu";

  template <class Scalar>
  static detail::Lanes<Scalar> of(detail::Lanes<Scalar> x) {
    return detail::where_positive(x, x, detail::Lanes<Scalar>::all(Scalar(0)));
  }
  /// 0 at 0.
  template <class Scalar>
  static detail::Lanes<Scalar> derivative(detail::Lanes<Scalar> x) {
    return detail::where_positive(x, detail::Lanes<Scalar>::all(Scalar(1)), detail::Lanes<Scalar>::all(Scalar(0)));
  }
};

struct Gelu {
  static constexpr std::string_view name = "gelu";

  template <class Scalar>
  static detail::Lanes<Scalar> of(detail::Lanes<Scalar> x) {
    return x * detail::NormalNumbers<Scalar>(x).distribution;
  }
  // gelu(x) = x Phi(x)   =>   gelu'(x) = Phi(x) + x Phi'(x)
  template <class Scalar>
  static detail::Lanes<Scalar> derivative(detail::Lanes<Scalar> x) {
    const detail::NormalNumbers<Scalar> normal(x);
    return multiply_add(x, normal.density, normal.distribution);
  }
};

struct GeluTanh {
  static constexpr std::string_view name = "gelu_tanh";

  template <class Scalar>
  static detail::Lanes<Scalar> of(detail::Lanes<Scalar> x) {
    return x * logistic(detail::GeluTanhArgument<Scalar>(x).value);
  }
  // gelu_tanh(x) = x sigma(v), v = 2 u   =>   gelu_tanh'(x) = sigma(v) + x sigma(v) sigma(-v) v'
  template <class Scalar>
  static detail::Lanes<Scalar> derivative(detail::Lanes<Scalar> x) {
    const detail::GeluTanhArgument<Scalar> v(x);
    const auto sigma = logistic(v.value), opposite = logistic(Scalar(0) - v.value);
    return sigma + x * (sigma * opposite * v.slope);
  }
};

/// y = f(x), element by element. y may be x.
///   x, y [T x F]
template <Activation F, class X, class Y>
void activate(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<Y>& y, Workers& workers) {
  HEED_DEBUG_CHECK(x.rows() == y.rows() && x.cols() == y.cols());
  const auto from = view_of(x);
  auto to = mutable_view_of(y);
  detail::for_rows(y.rows(), y.cols(), workers, [&](Index t) {
    detail::transform(
        to.cols(), detail::row_of(to, t), [](auto x_i) { return F::of(x_i); }, detail::row_of(from, t));
  });
}

/// Adds the gradient of dot(y, d_y) to d_x, which is neither x nor d_y.
template <Activation F, class X, class DY, class DX>
void activate_backward(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<DY>& d_y, const Eigen::MatrixBase<DX>& d_x,
                       Workers& workers) {
  HEED_DEBUG_CHECK(d_y.rows() == x.rows() && d_y.cols() == x.cols() && d_x.rows() == x.rows() && d_x.cols() == x.cols());
  const auto from = view_of(x), d_from = view_of(d_y);
  auto d_to = mutable_view_of(d_x);
  detail::for_rows(d_x.rows(), d_x.cols(), workers, [&](Index t) {
    // y = f(x)   =>   d_x += d_y f'(x)
    detail::transform(
        d_to.cols(), detail::row_of(d_to, t), [](auto d, auto d_y_i, auto x_i) { return d + d_y_i * F::derivative(x_i); },
        detail::row_of(d_to, t), detail::row_of(d_from, t), detail::row_of(from, t));
  });
}

/// y = f(gate) up, element by element: with Silu, SwiGLU. y may be gate or up.
///   gate, up, y [T x F]
template <Activation F, class G, class U, class Y>
void glu(const Eigen::MatrixBase<G>& gate, const Eigen::MatrixBase<U>& up, const Eigen::MatrixBase<Y>& y,
         Workers& workers) {
  HEED_DEBUG_CHECK(gate.rows() == y.rows() && gate.cols() == y.cols() && up.rows() == y.rows() && up.cols() == y.cols());
  const auto g = view_of(gate), u = view_of(up);
  auto to = mutable_view_of(y);
  detail::for_rows(y.rows(), y.cols(), workers, [&](Index t) {
    detail::transform(
        to.cols(), detail::row_of(to, t), [](auto g_i, auto u_i) { return F::of(g_i) * u_i; }, detail::row_of(g, t),
        detail::row_of(u, t));
  });
}

/// Adds the gradient of dot(y, d_y) to d_gate and d_up, which are not gate, up or d_y.
template <Activation F, class G, class U, class DY, class DG, class DU>
void glu_backward(const Eigen::MatrixBase<G>& gate, const Eigen::MatrixBase<U>& up, const Eigen::MatrixBase<DY>& d_y,
                  const Eigen::MatrixBase<DG>& d_gate, const Eigen::MatrixBase<DU>& d_up, Workers& workers) {
  HEED_DEBUG_CHECK(d_gate.rows() == d_y.rows() && d_gate.cols() == d_y.cols() && d_up.rows() == d_y.rows() &&
                   d_up.cols() == d_y.cols());
  const auto g = view_of(gate), u = view_of(up), d = view_of(d_y);
  auto d_g = mutable_view_of(d_gate), d_u = mutable_view_of(d_up);
  detail::for_rows(d_y.rows(), d_y.cols(), workers, [&](Index t) {
    // y = f(gate) up   =>   d_gate += d_y up f'(gate),   d_up += d_y f(gate)
    detail::transform(
        d.cols(), detail::row_of(d_g, t),
        [](auto d_g_i, auto d_i, auto g_i, auto u_i) { return d_g_i + d_i * u_i * F::derivative(g_i); },
        detail::row_of(d_g, t), detail::row_of(d, t), detail::row_of(g, t), detail::row_of(u, t));
    detail::transform(
        d.cols(), detail::row_of(d_u, t), [](auto d_u_i, auto d_i, auto g_i) { return d_u_i + d_i * F::of(g_i); },
        detail::row_of(d_u, t), detail::row_of(d, t), detail::row_of(g, t));
  });
}

}  // namespace heed::inline HEED_ABI
