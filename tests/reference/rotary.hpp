// Rotary positions as loops.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>

namespace heed::reference {

/// Turns row t, at positions[t], in heads of width E.
template <class Scalar>
Matrix<Scalar> rotary(const Matrix<Scalar>& x, const std::vector<Index>& positions, Index E, double theta) {
  Matrix<Scalar> y = x;
  for (Index t = 0; t < x.rows(); ++t)
    for (Index head = 0; head < x.cols() / E; ++head)
      for (Index i = 0; i < E / 2; ++i) {
        using std::pow;
        const Scalar frequency = pow(static_cast<Scalar>(theta), -2 * static_cast<Scalar>(i) / static_cast<Scalar>(E));
        const Scalar phi = static_cast<Scalar>(positions[static_cast<std::size_t>(t)]) * frequency;
        const Index a = head * E + i, b = a + E / 2;
        y(t, a) = x(t, a) * std::cos(phi) - x(t, b) * std::sin(phi);
        y(t, b) = x(t, b) * std::cos(phi) + x(t, a) * std::sin(phi);
      }
  return y;
}

}  // namespace heed::reference
