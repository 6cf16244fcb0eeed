// y = x w / sqrt(mean(x^2) + epsilon)
//
//   x, y [T x D]   w [1 x D]
// Source: Zhang and Sennrich 2019 (arXiv 1910.07467), eq. 4.
#pragma once

#include "../core/pass.hpp"
#include "../core/visit.hpp"
#include "../mixers/shape.hpp"
#include "../ops/rms_norm.hpp"

namespace heed::inline HEED_ABI {

struct RmsNorm {
  struct Config {
    double epsilon = 1e-5;
  };

  template <class Scalar>
  struct Params {
    Matrix<Scalar> weight;  // [1 x D]

    Params() = default;
    Params(const Shape& shape, const Config&) : weight(1, shape.width) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("weight", Role::norm, p.weight...);
    }
  };

  template <class Scalar>
  static void apply(const Config& config, const Params<Scalar>& params, const Pass& pass, const View<Scalar>& x,
                    MutableView<Scalar> y) {
    rms_norm(x, params.weight, config.epsilon, y, pass.workers);
  }

  template <class Scalar>
  static void backward(const Config& config, const Params<Scalar>& params, const Pass& pass, const View<Scalar>& x,
                       const View<Scalar>& d_y, MutableView<Scalar> d_x, Params<Scalar>& gradients) {
    rms_norm_backward(x, params.weight, config.epsilon, d_y, d_x, gradients.weight, pass.scratch, pass.workers);
  }
};

}  // namespace heed::inline HEED_ABI
