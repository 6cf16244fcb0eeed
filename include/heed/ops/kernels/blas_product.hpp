// Products by the BLAS that the program told Eigen to use, with EIGEN_USE_BLAS.
//
//   C [M x N] += A [M x K] B [K x N]        rows or columns of A and of B are contiguous, rows of C are
#pragma once

#include "../product.hpp"

namespace heed::inline HEED_ABI::detail {

#if defined(EIGEN_USE_BLAS)

/// f(x), an Eigen map of x [rows x cols] in the order in which it lies.
template <class Scalar, class F>
void with_map(Strided<Scalar> x, Index rows, Index cols, F&& f) {
  using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  using ColMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;
  if (x.col == 1)
    f(Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>>(x.data, rows, cols, Eigen::OuterStride<>(x.row)));
  else
    f(Eigen::Map<const ColMajor, 0, Eigen::OuterStride<>>(x.data, rows, cols, Eigen::OuterStride<>(x.col)));
}

template <class Scalar>
void multiply_by_blas(Scalar* c, Index c_row, Strided<Scalar> a, Strided<Scalar> b, Index M, Index N, Index K) {
  MutableView<Scalar> sum = mutable_view_of(c, M, N, c_row);
  with_map(a, M, K,
           [&](const auto& left) { with_map(b, K, N, [&](const auto& right) { sum.noalias() += left * right; }); });
}

#endif

}  // namespace heed::inline HEED_ABI::detail
