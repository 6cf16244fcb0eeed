// One step of Adam with decoupled weight decay (AdamW) on one tensor.
//
//   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2                          g = gradient_scale gradient
//   w -= learning_rate (m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon) + weight_decay w)
//
// Source: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2.
#pragma once

#include <cmath>

#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

struct AdamStep {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0;
  Index step = 1;             // the first step is 1
  double gradient_scale = 1;  // what clipping leaves of the gradient
};

namespace detail {

template <class Scalar>
void adam_step(const AdamStep& options, View<Scalar> gradient, MutableView<Scalar> weight, MutableView<Scalar> m,
               MutableView<Scalar> v) {
  const auto all = [](double value) { return Lanes<Scalar>::all(static_cast<Scalar>(value)); };
  const double steps = static_cast<double>(options.step);
  const double bias1 = 1 - std::pow(options.beta1, steps), bias2 = 1 - std::pow(options.beta2, steps);
  const auto scale = all(options.gradient_scale);
  const auto beta1 = all(options.beta1), rest1 = all(1 - options.beta1);
  const auto beta2 = all(options.beta2), rest2 = all(1 - options.beta2);
  const auto rate = all(options.learning_rate / bias1), root2 = all(1 / std::sqrt(bias2)), epsilon = all(options.epsilon);
  const auto kept = all(1 - options.learning_rate * options.weight_decay);
  const Index n = weight.cols();
  for (Index row = 0; row < weight.rows(); ++row) {
    const Scalar* g = row_of(gradient, row);
    Scalar *m_row = row_of(m, row), *v_row = row_of(v, row), *w_row = row_of(weight, row);
    transform(
        n, m_row, [&](auto m_i, auto g_i) { return beta1 * m_i + rest1 * (scale * g_i); }, m_row, g);
    transform(
        n, v_row, [&](auto v_i, auto g_i) { return beta2 * v_i + rest2 * (scale * g_i) * (scale * g_i); }, v_row, g);
    transform(
        n, w_row, [&](auto w, auto m_i, auto v_i) { return kept * w - rate * m_i / (square_root(v_i) * root2 + epsilon); },
        w_row, m_row, v_row);
  }
}

// Eight sums in double, column i goes to sum i mod 8: one order on every machine.
template <class Scalar>
double sum_of_squares(View<Scalar> matrix) {
  constexpr Index width = 8;
  double sums[width] = {};
  for (Index row = 0; row < matrix.rows(); ++row) {
    const Scalar* x = row_of(matrix, row);
    Index i = 0;
    for (; i + width <= matrix.cols(); i += width)
      for (Index lane = 0; lane < width; ++lane) {
        const double x_i = static_cast<double>(x[i + lane]);
        sums[lane] += x_i * x_i;
      }
    for (Index lane = 0; i + lane < matrix.cols(); ++lane) {
      const double x_i = static_cast<double>(x[i + lane]);
      sums[lane] += x_i * x_i;
    }
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

}  // namespace detail

/// Changes weight and its moments m and v, all of the gradient's shape. Moments start at zero.
template <class G, class W, class M, class V>
void adam_step(const AdamStep& options, const Eigen::MatrixBase<G>& gradient, const Eigen::MatrixBase<W>& weight,
               const Eigen::MatrixBase<M>& m, const Eigen::MatrixBase<V>& v) {
  HEED_DEBUG_CHECK(gradient.rows() == weight.rows() && gradient.cols() == weight.cols());
  HEED_DEBUG_CHECK(m.rows() == weight.rows() && m.cols() == weight.cols() && v.rows() == weight.rows() &&
                   v.cols() == weight.cols());
  detail::adam_step(options, view_of(gradient), mutable_view_of(weight), mutable_view_of(m), mutable_view_of(v));
}

/// The sum of the squares of all elements, in double: what clipping by the global norm adds up.
template <class Derived>
double sum_of_squares(const Eigen::MatrixBase<Derived>& matrix) {
  return detail::sum_of_squares(view_of(matrix));
}

}  // namespace heed::inline HEED_ABI
