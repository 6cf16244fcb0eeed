// RMS normalisation as loops.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>

namespace heed::reference {

template <class Scalar>
Matrix<Scalar> rms_norm(const Matrix<Scalar>& x, const Matrix<Scalar>& weight, double epsilon) {
  using std::sqrt;  // and that of dual numbers
  Matrix<Scalar> y(x.rows(), x.cols());
  for (Index t = 0; t < x.rows(); ++t) {
    Scalar squares = 0;
    for (Index i = 0; i < x.cols(); ++i) squares += x(t, i) * x(t, i);
    const Scalar r = Scalar(1) / sqrt(squares / Scalar(static_cast<double>(x.cols())) + static_cast<Scalar>(epsilon));
    for (Index i = 0; i < x.cols(); ++i) y(t, i) = x(t, i) * r * weight(0, i);
  }
  return y;
}

template <class Scalar>
struct RmsNormGradients {
  Matrix<Scalar> x;
  Matrix<Scalar> weight;
};

template <class Scalar>
RmsNormGradients<Scalar> rms_norm_backward(const Matrix<Scalar>& x, const Matrix<Scalar>& weight, double epsilon,
                                           const Matrix<Scalar>& d_y) {
  RmsNormGradients<Scalar> d{Matrix<Scalar>::Zero(x.rows(), x.cols()), Matrix<Scalar>::Zero(1, x.cols())};
  for (Index t = 0; t < x.rows(); ++t) {
    Scalar squares = 0, sum = 0;
    for (Index i = 0; i < x.cols(); ++i) squares += x(t, i) * x(t, i);
    for (Index i = 0; i < x.cols(); ++i) sum += d_y(t, i) * weight(0, i) * x(t, i);
    const Scalar n = static_cast<Scalar>(x.cols());
    const Scalar r = 1 / std::sqrt(squares / n + static_cast<Scalar>(epsilon));
    for (Index i = 0; i < x.cols(); ++i) {
      d.x(t, i) += r * (d_y(t, i) * weight(0, i) - x(t, i) * r * r * sum / n);
      d.weight(0, i) += d_y(t, i) * x(t, i) * r;
    }
  }
  return d;
}

}  // namespace heed::reference
