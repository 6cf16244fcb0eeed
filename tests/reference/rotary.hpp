// Rotary positions as loops.
#pragma once

#include <cmath>
#include <heed/core/matrix.hpp>
#include <heed/ops/rotary.hpp>
#include <vector>

namespace heed::reference {

/// theta^(-2i/r), i = 0 .. r/2 - 1
template <class Scalar>
std::vector<Scalar> frequencies(Index r, Scalar theta) {
  std::vector<Scalar> f;
  for (Index i = 0; i < r / 2; ++i) f.push_back(std::pow(theta, -2 * static_cast<Scalar>(i) / static_cast<Scalar>(r)));
  return f;
}

/// Turns row t, at positions[t], in heads of width E; pair i by the angle positions[t] f[i].
template <class Scalar>
Matrix<Scalar> rotary(const Matrix<Scalar>& x, const std::vector<Index>& positions, Index E, const std::vector<Scalar>& f,
                      RotaryPairs pairs = RotaryPairs::half_split, Scalar magnitude = 1) {
  Matrix<Scalar> y = x;
  const Index half = static_cast<Index>(f.size());
  for (Index t = 0; t < x.rows(); ++t)
    for (Index head = 0; head < x.cols() / E; ++head)
      for (Index i = 0; i < half; ++i) {
        const Scalar phi = static_cast<Scalar>(positions[static_cast<std::size_t>(t)]) * f[static_cast<std::size_t>(i)];
        const Index a = head * E + (pairs == RotaryPairs::half_split ? i : 2 * i);
        const Index b = pairs == RotaryPairs::half_split ? a + half : a + 1;
        y(t, a) = magnitude * (x(t, a) * std::cos(phi) - x(t, b) * std::sin(phi));
        y(t, b) = magnitude * (x(t, b) * std::cos(phi) + x(t, a) * std::sin(phi));
      }
  return y;
}

template <class Scalar>
Matrix<Scalar> rotary(const Matrix<Scalar>& x, const std::vector<Index>& positions, Index E, double theta) {
  return rotary(x, positions, E, frequencies<Scalar>(E, static_cast<Scalar>(theta)));
}

}  // namespace heed::reference
