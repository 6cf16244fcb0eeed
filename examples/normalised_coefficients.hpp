// Coefficients of residual values whose squares always add up to scale^2:
//
//   l_own = scale own / r      l_first = scale first / r      r = sqrt(own^2 + first^2)
//
// Starting at scale = own = 1, first = 0 the layer is a standard one to the bit.
// Source: IMU-1 (arXiv 2602.02522).
#pragma once

#include <cmath>
#include <heed/mixers/attention.hpp>
#include <heed/mixers/residual_values.hpp>

namespace app {

struct NormalisedCoefficients {
  static constexpr std::string_view name = "normalised residual values";
  using consumes = heed::signals<>;

  struct Config {  // where learning starts
    double scale = 1;
    double own = 1;
    double first = 0;
    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("scale", config.scale);
      f("own", config.own);
      f("first", config.first);
    }
  };

  template <class Scalar>
  struct Params {
    heed::Matrix<Scalar> scale, own, first;  // [1 x 1] each

    Params() = default;
    Params(const heed::Shape&, const Config& config) {
      scale.setConstant(1, 1, static_cast<Scalar>(config.scale));
      own.setConstant(1, 1, static_cast<Scalar>(config.own));
      first.setConstant(1, 1, static_cast<Scalar>(config.first));
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("scale", heed::Role::coefficient, p.scale...);
      f("own", heed::Role::coefficient, p.own...);
      f("first", heed::Role::coefficient, p.first...);
    }
  };

  template <class Scalar>
  static heed::MixCoefficients<Scalar> get(const heed::CoefficientCall<NormalisedCoefficients, Scalar>& call,
                                           heed::Arena& scratch) {
    heed::MutableView<Scalar> l = scratch.matrix<Scalar>(2, 1);
    const auto [s, own, first] = numbers(call.params);
    l(0, 0) = s * first / std::sqrt(own * own + first * first);
    l(1, 0) = s * own / std::sqrt(own * own + first * first);
    return {heed::rows_of(heed::view_of(l), 0, 1), heed::rows_of(heed::view_of(l), 1, 1)};
  }

  /// Where d_l_first and d_l_own are gathered, before they go on to what they were made of.
  template <class Scalar>
  static heed::MixCoefficientGradients<Scalar> gradients(const heed::CoefficientCall<NormalisedCoefficients, Scalar>&,
                                                         Params<Scalar>&, heed::Arena& scratch) {
    return {scratch.zeros<Scalar>(1, 1), scratch.zeros<Scalar>(1, 1)};
  }
  template <class Scalar>
  static void backward(const heed::CoefficientCall<NormalisedCoefficients, Scalar>& call,
                       const heed::MixCoefficientGradients<Scalar>& d_l, Params<Scalar>& gradients) {
    const auto [s, own, first] = numbers(call.params);
    const Scalar r = std::sqrt(own * own + first * first);
    const Scalar d_first = d_l.first(0, 0), d_own = d_l.own(0, 0);
    // l_own = s own / r,  l_first = s first / r
    gradients.scale(0, 0) += (d_own * own + d_first * first) / r;
    gradients.own(0, 0) += s * first / (r * r * r) * (d_own * first - d_first * own);
    gradients.first(0, 0) += s * own / (r * r * r) * (d_first * own - d_own * first);
  }

 private:
  template <class Scalar>
  struct Numbers {
    Scalar scale, own, first;
  };
  template <class Scalar>
  static Numbers<Scalar> numbers(const Params<Scalar>& params) {
    return {params.scale(0, 0), params.own(0, 0), params.first(0, 0)};
  }
};

using NormalisedResidualAttention = heed::Attention<heed::ComputedScores, heed::ResidualValues<NormalisedCoefficients>>;

}  // namespace app
