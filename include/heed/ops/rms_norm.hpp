// RMS normalisation of rows, forward and backward.
//
//   y = x r w,   r = (mean(x^2) + epsilon)^(-1/2) for every row         x, y [T x D]   w [1 x D]
//
// Source: Zhang and Sennrich 2019 (arXiv 1910.07467), eq. 4.
#pragma once

#include <cmath>

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI::detail {

/// r of one row.
template <class Scalar>
Scalar inverse_rms(const Scalar* x, Index D, double epsilon) {
  const Scalar squares = sum_over(
      D, [](auto x_i) { return x_i * x_i; }, x);
  return Scalar(1) / std::sqrt(squares / static_cast<Scalar>(D) + static_cast<Scalar>(epsilon));
}

template <class Scalar>
void rms_norm(View<Scalar> x, View<Scalar> weight, double epsilon, MutableView<Scalar> y, Workers& workers) {
  const Index D = x.cols();
  for_rows(x.rows(), D, workers, [&](Index t) {
    const auto r = Lanes<Scalar>::all(inverse_rms(row_of(x, t), D, epsilon));
    transform(
        D, row_of(y, t), [&](auto x_i, auto w_i) { return x_i * r * w_i; }, row_of(x, t), weight.data());
  });
}

template <class Scalar>
void rms_norm_backward(View<Scalar> x, View<Scalar> weight, double epsilon, View<Scalar> d_y, MutableView<Scalar> d_x,
                       MutableView<Scalar> d_weight, Arena& scratch, Workers& workers) {
  const Index D = x.cols();
  const RowBlocks blocks(x.rows(), D);
  const Arena::Scope scope(scratch);
  MutableView<Scalar> d_weights = scratch.zeros<Scalar>(blocks.size(), D);  // one row a block
  workers.run(blocks.size(), [&](Index block, Arena&) {
    for (Index t = blocks.begin(block); t < blocks.end(block); ++t) {
      const Scalar r = inverse_rms(row_of(x, t), D, epsilon);
      const auto r_ = Lanes<Scalar>::all(r);
      // y = x r w   =>   d_w += d_y x r
      transform(
          D, row_of(d_weights, block), [&](auto d_w, auto d_y_i, auto x_i) { return d_w + d_y_i * x_i * r_; },
          row_of(d_weights, block), row_of(d_y, t), row_of(x, t));
      // r = (mean(x^2) + epsilon)^(-1/2)   =>   d_x += r (d_y w - x r^2 mean(d_y w x))
      const Scalar sum = sum_over(
          D, [](auto d_y_i, auto w_i, auto x_i) { return d_y_i * w_i * x_i; }, row_of(d_y, t), weight.data(), row_of(x, t));
      const auto c = Lanes<Scalar>::all(r * r * sum / static_cast<Scalar>(D));
      transform(
          D, row_of(d_x, t),
          [&](auto d_x_i, auto d_y_i, auto w_i, auto x_i) { return d_x_i + r_ * (d_y_i * w_i - x_i * c); }, row_of(d_x, t),
          row_of(d_y, t), weight.data(), row_of(x, t));
    }
  });
  for (Index block = 0; block < blocks.size(); ++block) add_scaled(d_weight.data(), Scalar(1), row_of(d_weights, block), D);
}

}  // namespace heed::inline HEED_ABI::detail

namespace heed::inline HEED_ABI {

/// y = x r weight, r = (mean(x^2) + epsilon)^(-1/2) of the row. y may be x.
///   x [T x D]   weight [1 x D]   y [T x D]
template <class X, class W, class Y>
void rms_norm(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<W>& weight, double epsilon,
              const Eigen::MatrixBase<Y>& y, Workers& workers) {
  HEED_DEBUG_CHECK(y.rows() == x.rows() && y.cols() == x.cols() && weight.rows() == 1 && weight.cols() == x.cols());
  detail::rms_norm(view_of(x), view_of(weight), epsilon, mutable_view_of(y), workers);
}

/// Adds the gradient of dot(y, d_y) to d_x and d_weight. Takes [blocks x D] from scratch and gives it back.
template <class X, class W, class DY, class DX, class DW>
void rms_norm_backward(const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<W>& weight, double epsilon,
                       const Eigen::MatrixBase<DY>& d_y, const Eigen::MatrixBase<DX>& d_x,
                       const Eigen::MatrixBase<DW>& d_weight, Arena& scratch, Workers& workers) {
  HEED_DEBUG_CHECK(d_y.rows() == x.rows() && d_y.cols() == x.cols() && d_x.rows() == x.rows() && d_x.cols() == x.cols());
  HEED_DEBUG_CHECK(weight.rows() == 1 && weight.cols() == x.cols() && d_weight.rows() == 1 && d_weight.cols() == x.cols());
  detail::rms_norm_backward(view_of(x), view_of(weight), epsilon, view_of(d_y), mutable_view_of(d_x),
                            mutable_view_of(d_weight), scratch, workers);
}

}  // namespace heed::inline HEED_ABI
