// Attention over some keys and attention over others, merged into attention over all of them.
//
//   L = log(e^L_a + e^L_b)      y = t_a y_a + t_b y_b,   t_a = e^(L_a - L), t_b = e^(L_b - L)      per row and head
//
// Merging is associative and commutative up to rounding, so that any number of parts merge one after another; a part with
// L = -inf, which saw nothing, changes nothing, not a bit. A learned sink s is the part (0, s).
// Source: Ye et al. 2025 (FlashInfer, arXiv 2501.01005), section 2.2.
#pragma once

#include <cmath>
#include <limits>

#include "attended.hpp"
#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

/// The width of a head's values. ShapeError unless y is [T x H*E_v] and log_sum_exp [T x H].
template <class Scalar>
Index expects_attended(std::string_view what, const View<Scalar>& y, const View<Scalar>& log_sum_exp) {
  const Index heads = log_sum_exp.cols();
  HEED_EXPECTS(ShapeError, y.rows() == log_sum_exp.rows() && (heads == 0 ? y.cols() == 0 : y.cols() % heads == 0), what,
               ": expected y of the rows and heads of log_sum_exp [", log_sum_exp.rows(), " x ", heads, "], found [",
               y.rows(), " x ", y.cols(), "]");
  return heads == 0 ? 0 : y.cols() / heads;
}

template <class Scalar>
void merge_views(MutableView<Scalar> y, MutableView<Scalar> log_sum_exp, View<Scalar> y_part, View<Scalar> log_sum_exp_part,
                 Workers& workers) {
  const Index width = expects_attended<Scalar>("merge", view_of(y), view_of(log_sum_exp));
  expects_shape("merge: y of the part", y_part, y.rows(), y.cols());
  expects_shape("merge: log_sum_exp of the part", log_sum_exp_part, log_sum_exp.rows(), log_sum_exp.cols());
  constexpr Scalar nothing = -std::numeric_limits<Scalar>::infinity();
  for_rows(y.rows(), y.cols(), workers, [&](Index i) {
    for (Index h = 0; h < log_sum_exp.cols(); ++h) {
      Scalar& l_a = log_sum_exp(i, h);
      const Scalar l_b = log_sum_exp_part(i, h);
      Scalar* a = row_of(y, i) + h * width;
      const Scalar* b = row_of(y_part, i) + h * width;
      if (l_b == nothing) continue;
      if (l_a == nothing) {
        std::copy_n(b, width, a);
        l_a = l_b;
        continue;
      }
      const Scalar m = (std::max)(l_a, l_b), w_a = std::exp(l_a - m), w_b = std::exp(l_b - m), sum = w_a + w_b;
      const auto t_a = Lanes<Scalar>::all(w_a / sum), t_b = Lanes<Scalar>::all(w_b / sum);
      transform(
          width, a, [&](auto x, auto z) { return multiply_add(t_b, z, t_a * x); }, a, b);
      l_a = m + std::log(sum);
    }
  });
}

}  // namespace detail

/// Merges the part into y [T x H*E_v] and log_sum_exp [T x H], row by row and head by head.
///   ShapeError unless both have the same shapes: before anything changes
template <class Y, class L, class YPart, class LPart>
void merge_into(const Eigen::MatrixBase<Y>& y, const Eigen::MatrixBase<L>& log_sum_exp,
                const Eigen::MatrixBase<YPart>& y_part, const Eigen::MatrixBase<LPart>& log_sum_exp_part,
                Workers& workers) {
  detail::merge_views<typename Y::Scalar>(mutable_view_of(y), mutable_view_of(log_sum_exp), view_of(y_part),
                                          view_of(log_sum_exp_part), workers);
}

template <class Scalar>
void merge_into(Attended<Scalar>& whole, const Attended<Scalar>& part, Workers& workers) {
  merge_into(whole.y, whole.log_sum_exp, part.y, part.log_sum_exp, workers);
}

/// The same on the calling thread.
template <class Scalar>
void merge_into(Attended<Scalar>& whole, const Attended<Scalar>& part) {
  Workers workers;
  merge_into(whole, part, workers);
}

/// whole = merge of parts, `part` one of them  =>  adds to the part's gradients; d_whole.log_sum_exp may be empty: zero.
///   ShapeError unless all have the same shapes: before anything changes
template <class Scalar>
void merge_backward_into(const Attended<Scalar>& part, const Attended<Scalar>& whole, const Attended<Scalar>& d_whole,
                         Attended<Scalar>& d_part, Workers& workers) {
  using namespace detail;
  const Index width = expects_attended<Scalar>("merge_backward", view_of(whole.y), view_of(whole.log_sum_exp));
  const Index rows = whole.y.rows(), heads = whole.log_sum_exp.cols();
  expects_shape("merge_backward: y of the part", part.y, rows, whole.y.cols());
  expects_shape("merge_backward: log_sum_exp of the part", part.log_sum_exp, rows, heads);
  expects_shape("merge_backward: d_y", d_whole.y, rows, whole.y.cols());
  if (d_whole.log_sum_exp.size() > 0) expects_shape("merge_backward: d_log_sum_exp", d_whole.log_sum_exp, rows, heads);
  expects_shape("merge_backward: d_y of the part", d_part.y, rows, whole.y.cols());
  expects_shape("merge_backward: d_log_sum_exp of the part", d_part.log_sum_exp, rows, heads);
  for_rows(rows, whole.y.cols(), workers, [&](Index i) {
    for (Index h = 0; h < heads; ++h) {
      if (part.log_sum_exp(i, h) == -std::numeric_limits<Scalar>::infinity()) continue;
      const Index at = h * width;
      const Scalar* y = whole.y.data() + i * whole.y.outerStride() + at;
      const Scalar* y_part = part.y.data() + i * part.y.outerStride() + at;
      const Scalar* d_y = d_whole.y.data() + i * d_whole.y.outerStride() + at;
      const Scalar t = std::exp(part.log_sum_exp(i, h) - whole.log_sum_exp(i, h));
      // y = t_a y_a + t_b y_b   =>   d_y_a += t_a d_y,  d_t_a = d_y . y_a
      add_scaled(d_part.y.data() + i * d_part.y.outerStride() + at, t, d_y, width);
      // t_a = e^(L_a - L), L = log(e^L_a + e^L_b)   =>   d_L_a += t_a (d_y . (y_a - y) + d_L)
      const Scalar d_l = d_whole.log_sum_exp.size() > 0 ? d_whole.log_sum_exp(i, h) : Scalar(0);
      const Scalar along = sum_over(
          width, [](auto g, auto a, auto all) { return g * (a - all); }, d_y, y_part, y);
      d_part.log_sum_exp(i, h) += t * (along + d_l);
    }
  });
}

/// The same on the calling thread.
template <class Scalar>
void merge_backward_into(const Attended<Scalar>& part, const Attended<Scalar>& whole, const Attended<Scalar>& d_whole,
                         Attended<Scalar>& d_part) {
  Workers workers;
  merge_backward_into(part, whole, d_whole, d_part, workers);
}

}  // namespace heed::inline HEED_ABI
