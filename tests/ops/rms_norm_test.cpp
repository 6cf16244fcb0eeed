#include "heed/ops/rms_norm.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../reference/rms_norm.hpp"
#include "../support/allocations.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

constexpr double epsilon = 1e-5;
// x^2, the mean, + epsilon, the root, 1 / root, two products
constexpr Index operations = 7;

struct Shape {
  Index T, D;
};
constexpr Shape shapes[] = {{1, 1}, {1, 64}, {3, 7}, {33, 100}, {700, 33}};

template <class Scalar>
struct RmsNorm : testing::Test {
  Serial serial;
  Workers workers{serial};
  Arena scratch;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(RmsNorm, Scalars);

TYPED_TEST(RmsNorm, NormalisesEveryRow) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const auto& [T, D] : shapes) {
    const auto x = random_matrix<S>(T, D, "x"), weight = random_matrix<S>(1, D, "weight");
    Matrix<S> y(T, D);
    rms_norm(x, weight, epsilon, y, this->workers);
    expect_as_exact_as_naive(y, reference::rms_norm(x, weight, epsilon),
                             reference::rms_norm<W>(x.template cast<W>(), weight.template cast<W>(), epsilon), operations);
  }
}

TYPED_TEST(RmsNorm, BackwardAddsTheGradients) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const auto& [T, D] : shapes) {
    const auto x = random_matrix<S>(T, D, "x"), weight = random_matrix<S>(1, D, "weight"),
               d_y = random_matrix<S>(T, D, "d_y");
    const auto start_x = random_matrix<S>(T, D, "d_x"), start_weight = random_matrix<S>(1, D, "d_weight");
    Matrix<S> d_x = start_x, d_weight = start_weight;
    rms_norm_backward(x, weight, epsilon, d_y, d_x, d_weight, this->scratch, this->workers);
    const auto naive = reference::rms_norm_backward(x, weight, epsilon, d_y);
    const auto exact =
        reference::rms_norm_backward<W>(x.template cast<W>(), weight.template cast<W>(), epsilon, d_y.template cast<W>());
    // and 5 more: two products and a mean of d_y w x, the difference, the addition
    expect_as_exact_as_naive(d_x, Matrix<S>(start_x + naive.x), Matrix<W>(start_x.template cast<W>() + exact.x),
                             operations + 5);
    expect_as_exact_as_naive(d_weight, Matrix<S>(start_weight + naive.weight),
                             Matrix<W>(start_weight.template cast<W>() + exact.weight), operations + 3);
  }
}

TEST(RmsNormBackward, IsTheGradientOfForward) {
  Serial serial;
  Workers workers(serial);
  Arena scratch;
  Matrix<double> x = random_matrix<double>(3, 7, "x"), weight = random_matrix<double>(1, 7, "weight"), y(3, 7);
  const auto d_y = random_matrix<double>(3, 7, "d_y");
  Matrix<double> d_x = Matrix<double>::Zero(3, 7), d_weight = Matrix<double>::Zero(1, 7);
  rms_norm_backward(x, weight, epsilon, d_y, d_x, d_weight, scratch, workers);
  const auto f = [&] {
    rms_norm(x, weight, epsilon, y, workers);
    return reference::dot(y, d_y);
  };
  expect_gradient(x, d_x, operations, f);
  expect_gradient(weight, d_weight, operations, f);
}

TYPED_TEST(RmsNorm, HasTheSameBitsForAnyNumberOfWorkersAndAnyAddress) {
  using S = TypeParam;
  const auto x = random_matrix<S>(900, 70, "x"), weight = random_matrix<S>(1, 70, "weight"),
             d_y = random_matrix<S>(900, 70, "d_y");
  const auto run = [&](Executor& executor, Index shift) {
    Workers cut(executor);
    Matrix<S> wide_x = Matrix<S>::Zero(900, 75), y = wide_x, d_x = wide_x, d_weight = Matrix<S>::Zero(1, 75);
    wide_x.middleCols(shift, 70) = x;
    const auto own = [&](auto& matrix) { return matrix.middleCols(shift, 70); };
    rms_norm(own(wide_x), weight, epsilon, own(y), cut);
    rms_norm_backward(own(wide_x), weight, epsilon, d_y, own(d_x), own(d_weight), this->scratch, cut);
    Matrix<S> all(1801, 70);
    all << own(y), own(d_x), own(d_weight);
    return all;
  };
  reference::Backwards backwards(3);
  reference::Threads threads(2);
  const Matrix<S> expected = run(this->serial, 0);
  EXPECT_TRUE(same_bits(run(backwards, 3), expected));
  EXPECT_TRUE(same_bits(run(threads, 1), expected));
}

TYPED_TEST(RmsNorm, OfARowOfZerosIsZero) {
  using S = TypeParam;
  const Matrix<S> x = Matrix<S>::Zero(2, 9), weight = Matrix<S>::Ones(1, 9);
  Matrix<S> y = Matrix<S>::Ones(2, 9);
  rms_norm(x, weight, epsilon, y, this->workers);
  EXPECT_TRUE((y.array() == S(0)).all());
}

TYPED_TEST(RmsNorm, KeepsNotANumberInItsRow) {
  using S = TypeParam;
  Matrix<S> x = Matrix<S>::Ones(2, 9), weight = Matrix<S>::Ones(1, 9), y(2, 9);
  x(0, 4) = std::numeric_limits<S>::quiet_NaN();
  rms_norm(x, weight, epsilon, y, this->workers);
  EXPECT_TRUE(y.row(0).array().isNaN().all());
  EXPECT_TRUE(y.row(1).array().isFinite().all());
}

TYPED_TEST(RmsNorm, OfNoRowsChangesNothing) {
  using S = TypeParam;
  const Matrix<S> x(0, 9), weight = Matrix<S>::Ones(1, 9);
  Matrix<S> y(0, 9), d_x(0, 9), d_weight = Matrix<S>::Ones(1, 9);
  rms_norm(x, weight, epsilon, y, this->workers);
  rms_norm_backward(x, weight, epsilon, x, d_x, d_weight, this->scratch, this->workers);
  EXPECT_TRUE((d_weight.array() == S(1)).all());
}

TYPED_TEST(RmsNorm, TakesNothingFromTheHeap) {
  using S = TypeParam;
  const auto x = random_matrix<S>(900, 70, "x"), weight = random_matrix<S>(1, 70, "weight"),
             d_y = random_matrix<S>(900, 70, "d_y");
  Matrix<S> y(900, 70), d_x = Matrix<S>::Zero(900, 70), d_weight = Matrix<S>::Zero(1, 70);
  Arena sized(1 << 14);
  const std::size_t before = allocations_so_far();
  rms_norm(x, weight, epsilon, y, this->workers);
  rms_norm_backward(x, weight, epsilon, d_y, d_x, d_weight, sized, this->workers);
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed
