// y += x, element by element: a branch joins the stream.          x, y [T x D]
#pragma once

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

template <class X, class Y>
void add(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<Y>& y, Workers& workers) {
  HEED_DEBUG_CHECK(x.rows() == y.rows() && x.cols() == y.cols());
  const auto from = view_of(x);
  auto to = mutable_view_of(y);
  detail::for_rows(to.rows(), to.cols(), workers, [&](Index t) {
    detail::transform(
        to.cols(), detail::row_of(to, t), [](auto y_i, auto x_i) { return y_i + x_i; }, detail::row_of(to, t),
        detail::row_of(from, t));
  });
}

}  // namespace heed::inline HEED_ABI
