// Layer normalisation as loops.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>

namespace heed::reference {

template <class Scalar>
struct LayerNorm {
  Matrix<Scalar> y;                  // [T x D]
  Matrix<Scalar> mean;               // [T x 1]
  Matrix<Scalar> inverse_deviation;  // [T x 1]
};

template <class Scalar>
LayerNorm<Scalar> layer_norm(const Matrix<Scalar>& x, const Matrix<Scalar>& weight, const Matrix<Scalar>& bias,
                             double epsilon) {
  LayerNorm<Scalar> out{Matrix<Scalar>(x.rows(), x.cols()), Matrix<Scalar>(x.rows(), 1), Matrix<Scalar>(x.rows(), 1)};
  using std::sqrt;  // and that of dual numbers
  const Scalar n = static_cast<Scalar>(static_cast<double>(x.cols()));
  for (Index t = 0; t < x.rows(); ++t) {
    Scalar sum = Scalar(0), squares = Scalar(0);
    for (Index i = 0; i < x.cols(); ++i) sum += x(t, i);
    const Scalar mean = sum / n;
    for (Index i = 0; i < x.cols(); ++i) squares += (x(t, i) - mean) * (x(t, i) - mean);
    const Scalar r = Scalar(1) / sqrt(squares / n + static_cast<Scalar>(epsilon));
    for (Index i = 0; i < x.cols(); ++i) out.y(t, i) = (x(t, i) - mean) * r * weight(0, i) + bias(0, i);
    out.mean(t, 0) = mean;
    out.inverse_deviation(t, 0) = r;
  }
  return out;
}

template <class Scalar>
struct LayerNormGradients {
  Matrix<Scalar> x;
  Matrix<Scalar> weight;
  Matrix<Scalar> bias;
};

template <class Scalar>
LayerNormGradients<Scalar> layer_norm_backward(const Matrix<Scalar>& x, const Matrix<Scalar>& weight, double epsilon,
                                               const Matrix<Scalar>& d_y) {
  const Matrix<Scalar> zero = Matrix<Scalar>::Zero(1, x.cols());
  const auto normed = layer_norm(x, weight, zero, epsilon);
  LayerNormGradients<Scalar> d{Matrix<Scalar>::Zero(x.rows(), x.cols()), zero, zero};
  const Scalar n = static_cast<Scalar>(x.cols());
  for (Index t = 0; t < x.rows(); ++t) {
    const Scalar mean = normed.mean(t, 0), r = normed.inverse_deviation(t, 0);
    Scalar sum = 0, along = 0;
    for (Index i = 0; i < x.cols(); ++i) sum += d_y(t, i) * weight(0, i);
    for (Index i = 0; i < x.cols(); ++i) along += d_y(t, i) * weight(0, i) * (x(t, i) - mean) * r;
    for (Index i = 0; i < x.cols(); ++i) {
      const Scalar u = (x(t, i) - mean) * r;
      d.x(t, i) += r * (d_y(t, i) * weight(0, i) - sum / n - u * along / n);
      d.weight(0, i) += d_y(t, i) * u;
      d.bias(0, i) += d_y(t, i);
    }
  }
  return d;
}

}  // namespace heed::reference
