// How far a result is from an oracle, and how far it may be. No test framework is needed for it.
#pragma once

#include <algorithm>
#include <cmath>
#include <heed/core/matrix.hpp>
#include <heed/core/random.hpp>
#include <limits>
#include <string_view>
#include <type_traits>

namespace heed::reference {

/// The scalar in which an oracle is exact beside Scalar.
template <class Scalar>
using Wide = std::conditional_t<std::is_same_v<Scalar, float>, double, long double>;

/// A matrix of N(0, deviation^2), the same for the same name.
template <class Scalar>
Matrix<Scalar> random_matrix(Index rows, Index cols, std::string_view name, double deviation = 1) {
  Matrix<Scalar> matrix(rows, cols);
  Random(7, name).normal(matrix, deviation);
  return matrix;
}

template <class Exact>
double largest(const Exact& exact) {
  double largest = 0;
  for (Index row = 0; row < exact.rows(); ++row)
    for (Index col = 0; col < exact.cols(); ++col)
      largest = (std::max)(largest, static_cast<double>(std::abs(exact(row, col))));
  return largest;
}

/// max |found - exact|; infinite if a number is missing.
template <class Found, class Exact>
double error_of(const Found& found, const Exact& exact) {
  using Scalar = typename Exact::Scalar;
  double error = 0;
  for (Index row = 0; row < exact.rows(); ++row)
    for (Index col = 0; col < exact.cols(); ++col) {
      const double difference = static_cast<double>(std::abs(static_cast<Scalar>(found(row, col)) - exact(row, col)));
      if (!(difference <= error)) error = std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
    }
  return error;
}

/// At most twice the error of the naive loops, or what rounding alone may do when these are lucky.
///   operations   the roundings that one element of the result goes through
template <class Scalar, class Naive, class Exact>
double allowed_error(const Naive& naive, const Exact& exact, Index operations) {
  const double epsilon = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
  return 2 * error_of(naive, exact) + epsilon * static_cast<double>(operations) * largest(exact);
}

/// The same bits, NaN included.
template <class A, class B>
bool same_bits(const A& a, const B& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (Index row = 0; row < a.rows(); ++row)
    for (Index col = 0; col < a.cols(); ++col) {
      const typename A::Scalar x = a(row, col), y = b(row, col);
      if (std::isnan(x) ? !std::isnan(y) : (x != y || std::signbit(x) != std::signbit(y))) return false;
    }
  return true;
}

}  // namespace heed::reference
