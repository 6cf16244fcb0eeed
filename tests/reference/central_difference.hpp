// Gradients checked by central differences in double.
//
//   f' = (f(x + h) - f(x - h)) / 2h,   h = eps^(1/3) max(1, |x|)
//
// What may be wrong with it: the truncation, which the step 2h shows (it is four times larger there, so the difference of
// the two is three times that of h), and the rounding of f, at most eps * operations * sum |y d_y| on either side, over h.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <heed/core/matrix.hpp>
#include <limits>

namespace heed::reference {

struct Sum {
  double value;      // sum y d_y
  double magnitude;  // sum |y d_y|
};

inline Sum dot(const Matrix<double>& y, const Matrix<double>& d_y) {
  long double value = 0, magnitude = 0;
  for (Index row = 0; row < y.rows(); ++row)
    for (Index col = 0; col < y.cols(); ++col) {
      const long double term = static_cast<long double>(y(row, col)) * static_cast<long double>(d_y(row, col));
      value += term;
      magnitude += std::abs(term);
    }
  return {static_cast<double>(value), static_cast<double>(magnitude)};
}

/// d_x is the gradient of f().value, which reads x. operations: the roundings that one element of y goes through.
template <class F>
void expect_gradient(Matrix<double>& x, const Matrix<double>& d_x, Index operations, F&& f) {
  ASSERT_EQ(x.rows(), d_x.rows());
  ASSERT_EQ(x.cols(), d_x.cols());
  const double epsilon = std::numeric_limits<double>::epsilon();
  for (Index row = 0; row < x.rows(); ++row)
    for (Index col = 0; col < x.cols(); ++col) {
      const double at = x(row, col);
      const double h = std::cbrt(epsilon) * (std::max)(1.0, std::abs(at));
      double magnitude = 0;
      const auto slope = [&](double step) {
        const volatile double above = at + step, below = at - step;
        x(row, col) = above;
        const Sum high = f();
        x(row, col) = below;
        const Sum low = f();
        x(row, col) = at;
        magnitude = (std::max)({magnitude, high.magnitude, low.magnitude});
        return (high.value - low.value) / (above - below);
      };
      const double once = slope(h), twice = slope(2 * h);
      const double bound =
          std::abs(once - twice) + epsilon * static_cast<double>(operations) * (magnitude / h + std::abs(once));
      EXPECT_NEAR(d_x(row, col), once, bound) << "at (" << row << ", " << col << ")";
    }
}

}  // namespace heed::reference
