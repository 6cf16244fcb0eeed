// Products as three loops.
#pragma once

#include <heed/core/matrix.hpp>

namespace heed::reference {

/// c + a b, one term after another
template <class Scalar>
Matrix<Scalar> multiply_add(const Matrix<Scalar>& a, const Matrix<Scalar>& b, Matrix<Scalar> c) {
  for (Index i = 0; i < c.rows(); ++i)
    for (Index j = 0; j < c.cols(); ++j)
      for (Index k = 0; k < a.cols(); ++k) c(i, j) += a(i, k) * b(k, j);
  return c;
}

template <class Scalar>
Matrix<Scalar> transposed(const Matrix<Scalar>& a) {
  Matrix<Scalar> t(a.cols(), a.rows());
  for (Index i = 0; i < a.rows(); ++i)
    for (Index j = 0; j < a.cols(); ++j) t(j, i) = a(i, j);
  return t;
}

}  // namespace heed::reference
