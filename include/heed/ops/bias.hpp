// An addend that all rows share, forward and backward.
//
//   y_t += b for every row t         y [T x n]   b [1 x n]
#pragma once

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

/// y += 1 b
///   b [1 x n]   y [T x n]
template <class B, class Y>
void add_bias(const Eigen::MatrixBase<B>& b, const Eigen::MatrixBase<Y>& y, Workers& workers) {
  HEED_DEBUG_CHECK(b.rows() == 1 && b.cols() == y.cols());
  using Scalar = typename Y::Scalar;
  const Scalar* addend = view_of(b).data();
  MutableView<Scalar> rows = mutable_view_of(y);
  detail::for_rows(rows.rows(), rows.cols(), workers,
                   [&](Index t) { detail::add_scaled(detail::row_of(rows, t), Scalar(1), addend, rows.cols()); });
}

/// Adds the gradient of dot(y, d_y) to d_b. Takes [blocks x n] from scratch and gives it back.
///   d_y [T x n]   d_b [1 x n]
template <class DY, class DB>
void add_bias_backward(const Eigen::MatrixBase<DY>& d_y, const Eigen::MatrixBase<DB>& d_b, Arena& scratch,
                       Workers& workers) {
  HEED_DEBUG_CHECK(d_b.rows() == 1 && d_b.cols() == d_y.cols());
  using Scalar = typename DY::Scalar;
  const View<Scalar> d_rows = view_of(d_y);
  const Index n = d_rows.cols();
  const detail::RowBlocks blocks(d_rows.rows(), n);
  const Arena::Scope scope(scratch);
  MutableView<Scalar> sums = scratch.zeros<Scalar>(blocks.size(), n);  // one row a block
  // y_t += b   =>   d_b += sum_t d_y_t
  workers.run(blocks.size(), [&](Index block, Arena&) {
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t)
      detail::add_scaled(detail::row_of(sums, block), Scalar(1), detail::row_of(d_rows, t), n);
  });
  Scalar* sum = mutable_view_of(d_b).data();
  for (Index block = 0; block < blocks.size(); ++block) detail::add_scaled(sum, Scalar(1), detail::row_of(sums, block), n);
}

}  // namespace heed::inline HEED_ABI
