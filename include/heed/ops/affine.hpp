// A linear map of rows with an addend that may be absent, forward and backward.
//
//   y += x w + b         x [T x in]   w [in x out]   b [1 x out], or without rows: absent   y [T x out]
#pragma once

#include "../core/pass.hpp"
#include "bias.hpp"
#include "linear.hpp"

namespace heed::inline HEED_ABI {

/// y += x w + b
template <class X, class W, class Scalar, class Y>
void affine(const Eigen::MatrixBase<X>& x, const W& w, const Matrix<Scalar>& b, const Eigen::MatrixBase<Y>& y,
            Workers& workers) {
  linear(x, w, y, workers);
  if (b.rows() > 0) add_bias(b, y, workers);
}

/// Adds the gradient of dot(y, d_y) to d_x, d_w and, unless it is absent, to d_b.
template <class X, class Scalar, class DY, class DX>
void affine_backward(const Eigen::MatrixBase<X>& x, const Matrix<Scalar>& w, const Eigen::MatrixBase<DY>& d_y,
                     const Eigen::MatrixBase<DX>& d_x, Matrix<Scalar>& d_w, Matrix<Scalar>& d_b, const Pass& pass) {
  // y += x w + b   =>   d_b += sum_t d_y_t,   d_x += d_y w^T,   d_w += x^T d_y
  if (d_b.rows() > 0) add_bias_backward(d_y, d_b, pass.scratch, pass.workers);
  linear_backward(x, w, d_y, d_x, d_w, pass.workers);
}

}  // namespace heed::inline HEED_ABI
