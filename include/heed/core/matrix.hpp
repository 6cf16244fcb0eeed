// Matrices and views. Rows are positions, columns are features, storage is row-major.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <type_traits>

#include "abi.hpp"
#include "expects.hpp"

namespace heed::inline HEED_ABI {

using Index = Eigen::Index;
static_assert(sizeof(Index) == sizeof(std::ptrdiff_t),
              "heed: Eigen::Index is std::ptrdiff_t; leave EIGEN_DEFAULT_DENSE_INDEX_TYPE undefined");

/// Its storage is that of malloc, whatever instruction set it is compiled for. (Eigen aligns its own as the compiler's
/// flags say, so that what one part of a program has allocated another, with other flags, cannot free.)
template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor | Eigen::DontAlign>;

/// A read-only window on row-major storage; rows may be further apart than they are wide.
template <class Scalar>
using View = Eigen::Map<const Matrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// The same, writable.
template <class Scalar>
using MutableView = Eigen::Map<Matrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;

template <class Scalar>
View<Scalar> view_of(const Scalar* data, Index rows, Index cols, Index stride) {
  return View<Scalar>(data, rows, cols, Eigen::OuterStride<>(stride));
}

template <class Scalar>
MutableView<Scalar> mutable_view_of(Scalar* data, Index rows, Index cols, Index stride) {
  return MutableView<Scalar>(data, rows, cols, Eigen::OuterStride<>(stride));
}

/// A view of any Eigen object that is row-major with touching columns. Anything else would be copied, so it does not
/// compile.
template <class Derived>
View<typename Derived::Scalar> view_of(const Eigen::MatrixBase<Derived>& matrix) {
  static_assert(
      bool(Derived::IsRowMajor) && bool(Eigen::internal::traits<Derived>::Flags & Eigen::DirectAccessBit),
      "heed: pass a row-major matrix (heed::Matrix) or a block of one; evaluate an expression into a heed::Matrix first");
  HEED_DEBUG_CHECK(matrix.derived().innerStride() == 1);
  return view_of(matrix.derived().data(), matrix.rows(), matrix.cols(), matrix.derived().outerStride());
}

/// The writable form; like an Eigen output argument it takes what it writes to by const reference, so that a block works.
template <class Derived>
MutableView<typename Derived::Scalar> mutable_view_of(const Eigen::MatrixBase<Derived>& matrix) {
  static_assert(bool(Derived::IsRowMajor) && bool(Eigen::internal::traits<Derived>::Flags & Eigen::DirectAccessBit),
                "heed: write to a row-major matrix (heed::Matrix) or a block of one");
  Derived& target = const_cast<Derived&>(matrix.derived());
  return mutable_view_of(target.data(), matrix.rows(), matrix.cols(), target.outerStride());
}

/// Rows [begin, begin + count) of a view.
template <class Scalar>
View<Scalar> rows_of(const View<Scalar>& view, Index begin, Index count) {
  return view_of(view.data() + begin * view.outerStride(), count, view.cols(), view.outerStride());
}
template <class Scalar>
MutableView<Scalar> rows_of(const MutableView<Scalar>& view, Index begin, Index count) {
  return mutable_view_of(const_cast<Scalar*>(view.data()) + begin * view.outerStride(), count, view.cols(),
                         view.outerStride());
}

/// Columns [begin, begin + count) of a view.
template <class Scalar>
View<Scalar> cols_of(const View<Scalar>& view, Index begin, Index count) {
  return view_of(view.data() + begin, view.rows(), count, view.outerStride());
}
template <class Scalar>
MutableView<Scalar> cols_of(const MutableView<Scalar>& view, Index begin, Index count) {
  return mutable_view_of(const_cast<Scalar*>(view.data()) + begin, view.rows(), count, view.outerStride());
}

/// The numbers of rows that touch, as rows of another width.
template <class Scalar>
View<Scalar> regrouped(const View<Scalar>& rows, Index width) {
  return view_of(rows.data(), width == 0 ? 0 : rows.size() / width, width, width);
}
template <class Scalar>
MutableView<Scalar> regrouped(const MutableView<Scalar>& rows, Index width) {
  return mutable_view_of(const_cast<Scalar*>(rows.data()), width == 0 ? 0 : rows.size() / width, width, width);
}

}  // namespace heed::inline HEED_ABI
