#include "heed/ops/cross_entropy.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/cross_entropy.hpp"
#include "../reference/executors.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

// An exponential to 2 eps, its sum, the quotient, the scale, the difference.
constexpr Index operations = 6;

struct Shape {
  Index T, V;
};
constexpr Shape shapes[] = {{1, 1}, {1, 7}, {5, 33}, {130, 256}};

template <class Scalar>
struct CrossEntropy : testing::Test {
  Serial serial;
  Workers workers{serial};
  Arena scratch;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(CrossEntropy, Scalars);

// Every fifth row has none.
std::vector<int> targets_of(Index T, Index V) {
  std::vector<int> targets;
  for (Index t = 0; t < T; ++t) targets.push_back(t % 5 == 4 ? -1 : static_cast<int>(t * 7 % V));
  return targets;
}

TYPED_TEST(CrossEntropy, IsTheMeanOverTheRowsWithATarget) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const auto& [T, V] : shapes)
    for (const double spread : {1.0, 30.0}) {
      const auto logits = random_matrix<S>(T, V, "logits", spread);
      const auto targets = targets_of(T, V);
      const Matrix<double> found{{cross_entropy(logits, targets, this->scratch, this->workers)}};
      const Matrix<S> naive{{reference::cross_entropy(logits, targets).loss}};
      const Matrix<W> exact{{reference::cross_entropy<W>(logits.template cast<W>(), targets).loss}};
      const double epsilon = static_cast<double>(std::numeric_limits<S>::epsilon());
      // The logarithm turns the relative errors of its sum into absolute ones.
      EXPECT_LE(reference::error_of(found, exact),
                2 * reference::error_of(naive, exact) + epsilon * operations * (1 + reference::largest(exact)));
    }
}

TYPED_TEST(CrossEntropy, BackwardAddsTheGradient) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const auto& [T, V] : shapes) {
    const auto logits = random_matrix<S>(T, V, "logits", 3), start = random_matrix<S>(T, V, "d_logits", 0.01);
    const auto targets = targets_of(T, V);
    Matrix<S> d_logits = start;
    cross_entropy_backward(logits, targets, d_logits, this->workers);
    const Matrix<S> naive = start + reference::cross_entropy(logits, targets).d_logits;
    const Matrix<W> exact =
        start.template cast<W>() + reference::cross_entropy<W>(logits.template cast<W>(), targets).d_logits;
    expect_as_exact_as_naive(d_logits, naive, exact, operations);
  }
}

TEST(CrossEntropyBackward, IsTheGradientOfForward) {
  Serial serial;
  Workers workers(serial);
  Arena scratch;
  Matrix<double> logits = random_matrix<double>(6, 7, "logits");
  const auto targets = targets_of(6, 7);
  Matrix<double> d_logits = Matrix<double>::Zero(6, 7);
  cross_entropy_backward(logits, targets, d_logits, workers);
  reference::expect_gradient(logits, d_logits, operations, [&] {
    const double loss = cross_entropy(logits, targets, scratch, workers);
    return reference::Sum{loss, 1 + loss};  // the roundings under the logarithm are absolute
  });
}

TYPED_TEST(CrossEntropy, LeavesTheGradientOfRowsWithoutATargetAlone) {
  using S = TypeParam;
  const auto logits = random_matrix<S>(3, 7, "logits");
  Matrix<S> d_logits = Matrix<S>::Zero(3, 7);
  cross_entropy_backward(logits, std::vector<int>{-1, 3, -100}, d_logits, this->workers);
  EXPECT_TRUE((d_logits.row(0).array() == S(0)).all());
  EXPECT_TRUE((d_logits.row(1).array() != S(0)).all());
  EXPECT_TRUE((d_logits.row(2).array() == S(0)).all());
}

TYPED_TEST(CrossEntropy, WithoutTargetsOrRowsIsZero) {
  using S = TypeParam;
  const auto logits = random_matrix<S>(3, 7, "logits");
  const Matrix<S> none(0, 7);
  Matrix<S> d_logits = Matrix<S>::Zero(3, 7), d_none(0, 7);
  EXPECT_EQ(cross_entropy(logits, std::vector<int>{-1, -1, -1}, this->scratch, this->workers), 0.0);
  EXPECT_EQ(cross_entropy(none, std::vector<int>{}, this->scratch, this->workers), 0.0);
  cross_entropy_backward(logits, std::vector<int>{-1, -1, -1}, d_logits, this->workers);
  cross_entropy_backward(none, std::vector<int>{}, d_none, this->workers);
  EXPECT_TRUE((d_logits.array() == S(0)).all());
}

TYPED_TEST(CrossEntropy, OfEqualLogitsIsTheLogarithmOfTheirNumber) {
  using S = TypeParam;
  const Matrix<S> logits = Matrix<S>::Constant(2, 256, S(1e4));
  const double epsilon = static_cast<double>(std::numeric_limits<S>::epsilon());
  EXPECT_NEAR(cross_entropy(logits, std::vector<int>{0, 255}, this->scratch, this->workers), std::log(256.0),
              operations * epsilon);
}

TYPED_TEST(CrossEntropy, StaysFiniteForLogitsFarApartAndKeepsNotANumber) {
  using S = TypeParam;
  Matrix<S> logits = Matrix<S>::Zero(1, 40), d_logits = Matrix<S>::Zero(1, 40);
  logits(0, 3) = S(1e4);
  logits(0, 39) = -std::numeric_limits<S>::infinity();
  EXPECT_EQ(cross_entropy(logits, std::vector<int>{3}, this->scratch, this->workers), 0.0);
  EXPECT_EQ(cross_entropy(logits, std::vector<int>{0}, this->scratch, this->workers), 1e4);
  cross_entropy_backward(logits, std::vector<int>{0}, d_logits, this->workers);
  EXPECT_TRUE(d_logits.array().isFinite().all());
  for (Index i : {0, 5, 38}) {
    logits(0, i) = std::numeric_limits<S>::quiet_NaN();
    EXPECT_TRUE(std::isnan(cross_entropy(logits, std::vector<int>{3}, this->scratch, this->workers)));
    logits(0, i) = 0;
  }
}

TYPED_TEST(CrossEntropy, HasTheSameBitsForAnyNumberOfWorkersAndAnyAddress) {
  using S = TypeParam;
  const auto logits = random_matrix<S>(300, 257, "logits");
  const auto targets = targets_of(300, 257);
  const auto run = [&](Executor& executor, Index shift) {
    Workers cut(executor);
    Matrix<S> wide = Matrix<S>::Zero(300, 260), d_wide = wide;
    wide.middleCols(shift, 257) = logits;
    cross_entropy_backward(wide.middleCols(shift, 257), targets, d_wide.middleCols(shift, 257), cut);
    const double loss = cross_entropy(wide.middleCols(shift, 257), targets, this->scratch, cut);
    return std::pair<double, Matrix<S>>(loss, d_wide.middleCols(shift, 257));
  };
  reference::Backwards backwards(3);
  const auto expected = run(this->serial, 0), found = run(backwards, 3);
  EXPECT_EQ(found.first, expected.first);
  EXPECT_TRUE(same_bits(found.second, expected.second));
}

}  // namespace
}  // namespace heed
