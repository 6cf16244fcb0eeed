// What the tests of the recurrent operations share: random matrices, the bound against a naive oracle, central differences,
// and an executor that runs its jobs in another order.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string_view>

#include "heed/core/executor.hpp"
#include "heed/core/matrix.hpp"

namespace reference {

using heed::Index;
using heed::Matrix;

// The next wider scalar, in which the oracle of a computation is formed.
template <class Scalar>
struct wider;
template <>
struct wider<float> {
  using type = double;
};
template <>
struct wider<double> {
  using type = long double;
};
template <class Scalar>
using Wider = typename wider<Scalar>::type;

template <class Scalar>
Matrix<Scalar> uniform(Index rows, Index cols, unsigned seed, double low = -1, double high = 1) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> distribution(low, high);
  Matrix<Scalar> matrix(rows, cols);
  for (Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = Scalar(distribution(generator));
  return matrix;
}

template <class Scalar>
Scalar largest(const Matrix<Scalar>& matrix) {
  return matrix.size() > 0 ? matrix.cwiseAbs().maxCoeff() : Scalar(0);
}

template <class Scalar>
Wider<Scalar> error_of(const Matrix<Scalar>& found, const Matrix<Wider<Scalar>>& oracle) {
  const Matrix<Wider<Scalar>> difference = found.template cast<Wider<Scalar>>() - oracle;
  return largest(difference);
}

// The error of `found` is at most twice that of the naive computation in the same scalar; where that one is lucky, at most
// eps times `roundings`, the operations that feed an element one after another, at the size of the largest element.
template <class Scalar>
void expect_as_good_as_naive(std::string_view what, const Matrix<Scalar>& found, const Matrix<Scalar>& naive,
                             const Matrix<Wider<Scalar>>& oracle, Index roundings) {
  using W = Wider<Scalar>;
  ASSERT_EQ(found.rows(), oracle.rows()) << what;
  ASSERT_EQ(found.cols(), oracle.cols()) << what;
  const W floor = W(std::numeric_limits<Scalar>::epsilon()) * W(roundings) * largest(oracle);
  const W bound = 2 * error_of(naive, oracle) + floor;
  EXPECT_LE(error_of(found, oracle), bound) << what;
}

template <class Scalar>
bool same_bits(const Matrix<Scalar>& a, const Matrix<Scalar>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && (a.array() == b.array()).all();
}

// The gradient of `loss(x)` against D(h) = (loss(x + h) - loss(x - h)) / 2h with h = eps^(1/3). The error of D(h) is
// h^2 f''' / 6, a third of D(2h) - D(h), and eps `roundings` `size` / h, `size` the sum of the magnitudes that the loss
// adds.
template <class Loss>
void expect_gradient(std::string_view what, Matrix<double>& x, const Matrix<double>& gradient, Loss&& loss, double size,
                     Index roundings) {
  constexpr double eps = std::numeric_limits<double>::epsilon();
  const double h = std::cbrt(eps);
  for (Index i = 0; i < x.size(); ++i) {
    const double at = x.data()[i];
    const auto quotient = [&](double step) {
      const double above = at + step, below = at - step;
      x.data()[i] = above;
      const double loss_above = loss();
      x.data()[i] = below;
      const double loss_below = loss();
      x.data()[i] = at;
      return (loss_above - loss_below) / (above - below);
    };
    const double near = quotient(h), far = quotient(2 * h);
    const double bound = std::abs(far - near) + eps * double(roundings) * size / h;
    EXPECT_NEAR(gradient.data()[i], near, bound) << what << " element " << i;
  }
}

// Three workers, the last job first.
class Reversed final : public heed::Executor {
 public:
  int workers() const override { return 3; }
  void run(Index jobs, heed::Job job) override {
    for (Index index = jobs; index-- > 0;) job(index, int(index % 3));
  }
};

}  // namespace reference
