// Gradients by central differences, with the step and the bound that go with them.
//
//   D(h) = (f(p + h) - f(p - h)) / 2h = f'(p) + h^2 f'''(p) / 6 + ...        step    h = eps^(1/3) max(1, |p|)
//   truncation   D(2h) - D(h) = h^2 f'''(p) / 2 + ..., three times the error of D(h)
//   rounding     f is known to n eps m: n the longest sum in it, m the sum of the magnitudes of its last terms
//   bound        |D(2h) - D(h)| + 4 n eps m / h
// Source: Press et al., Numerical Recipes, section 5.7.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI::testing {

/// A loss, and the sum of the magnitudes of the terms it is the sum of.
struct Loss {
  double value;
  double magnitude;
};

/// dot(y, d_y)
inline Loss dot_loss(const View<double>& y, const View<double>& d_y) {
  Loss loss{};
  for (Index i = 0; i < y.rows(); ++i)
    for (Index j = 0; j < y.cols(); ++j) {
      loss.value += y(i, j) * d_y(i, j);
      loss.magnitude += std::abs(y(i, j) * d_y(i, j));
    }
  return loss;
}

struct Difference {
  double value;
  double bound;  // how far the true derivative may be from value
};

/// d f / d p, where f() returns the Loss at the present p. n: the length of the longest sum inside f.
template <class F>
Difference central_difference(double& p, Index n, F&& f) {
  constexpr double eps = std::numeric_limits<double>::epsilon();
  const double kept = p;
  const double h = std::cbrt(eps) * (std::max)(1.0, std::abs(kept));
  double magnitude = 0;
  const auto slope = [&](double step) {
    p = kept + step;
    const double up = p;
    const Loss above = f();
    p = kept - step;
    const double down = p;
    const Loss below = f();
    p = kept;
    magnitude = (std::max)({magnitude, above.magnitude, below.magnitude});
    return (above.value - below.value) / (up - down);
  };
  const double near = slope(h);
  const double far = slope(2 * h);
  return {near, std::abs(far - near) + 4 * static_cast<double>(n) * eps * magnitude / h};
}

}  // namespace heed::inline HEED_ABI::testing
