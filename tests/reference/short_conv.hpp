// The short convolution by its definition, one sequence at a time.
#pragma once

#include <heed/core/matrix.hpp>

#include "activation.hpp"

namespace heed::reference {

// u_t = bias + sum_j weight_j x_{t-k+1+j}, rows before the first taken from `history` [(k-1) x C].
template <class Scalar>
Matrix<Scalar> short_conv_sums(const Matrix<Scalar>& x, const Matrix<Scalar>& weight, const Matrix<Scalar>& bias,
                               const Matrix<Scalar>& history) {
  const Index k = weight.rows();
  Matrix<Scalar> u(x.rows(), x.cols());
  for (Index t = 0; t < x.rows(); ++t)
    for (Index c = 0; c < x.cols(); ++c) {
      Scalar sum = bias(0, c);
      for (Index j = 0; j < k; ++j) {
        const Index row = t - k + 1 + j;
        sum += weight(j, c) * (row >= 0 ? x(row, c) : history(row + k - 1, c));
      }
      u(t, c) = sum;
    }
  return u;
}

template <class Scalar>
Matrix<Scalar> short_conv(const Matrix<Scalar>& x, const Matrix<Scalar>& weight, const Matrix<Scalar>& bias,
                          const Matrix<Scalar>& history) {
  Matrix<Scalar> y = short_conv_sums(x, weight, bias, history);
  for (Index i = 0; i < y.size(); ++i) y.data()[i] = silu(y.data()[i]);
  return y;
}

template <class Scalar>
struct ShortConvGradient {
  Matrix<Scalar> x, weight, bias;
};

template <class Scalar>
ShortConvGradient<Scalar> short_conv_backward(const Matrix<Scalar>& x, const Matrix<Scalar>& weight,
                                              const Matrix<Scalar>& bias, const Matrix<Scalar>& d_y,
                                              bool activated = true) {
  const Index k = weight.rows(), C = x.cols();
  const Matrix<Scalar> u = short_conv_sums<Scalar>(x, weight, bias, Matrix<Scalar>::Zero(k - 1, C));
  ShortConvGradient<Scalar> d{Matrix<Scalar>::Zero(x.rows(), C), Matrix<Scalar>::Zero(k, C), Matrix<Scalar>::Zero(1, C)};
  for (Index t = 0; t < x.rows(); ++t)
    for (Index c = 0; c < C; ++c) {
      const Scalar d_u = activated ? d_y(t, c) * silu_derivative(u(t, c)) : d_y(t, c);
      d.bias(0, c) += d_u;
      for (Index j = 0; j < k; ++j) {
        const Index row = t - k + 1 + j;
        if (row < 0) continue;
        d.weight(j, c) += d_u * x(row, c);
        d.x(row, c) += d_u * weight(j, c);
      }
    }
  return d;
}

}  // namespace heed::reference
