#include "heed/ops/bias.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/executors.hpp"
#include "../support/allocations.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

template <class Scalar>
struct Bias : testing::Test {
  Serial serial;
  Workers workers{serial};
  Arena scratch;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Bias, Scalars);

template <class Scalar>
Matrix<Scalar> sum_of_rows(const Matrix<Scalar>& x, Matrix<Scalar> sum) {
  for (Index t = 0; t < x.rows(); ++t)
    for (Index i = 0; i < x.cols(); ++i) sum(0, i) += x(t, i);
  return sum;
}

TYPED_TEST(Bias, IsAddedToEveryRow) {
  using S = TypeParam;
  const auto b = random_matrix<S>(1, 37, "b"), start = random_matrix<S>(900, 37, "y");
  Matrix<S> y = start;
  add_bias(b, y, this->workers);
  for (Index t = 0; t < y.rows(); ++t)
    for (Index i = 0; i < y.cols(); ++i) ASSERT_EQ(y(t, i), start(t, i) + b(0, i)) << t << ", " << i;
}

TYPED_TEST(Bias, BackwardAddsTheSumOfTheRows) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const Index T : {0, 1, 3, 900}) {
    const auto d_y = random_matrix<S>(T, 37, "d_y"), start = random_matrix<S>(1, 37, "d_b");
    Matrix<S> d_b = start;
    add_bias_backward(d_y, d_b, this->scratch, this->workers);
    expect_as_exact_as_naive(d_b, sum_of_rows(d_y, start), sum_of_rows<W>(d_y.template cast<W>(), start.template cast<W>()),
                             T + 1);
  }
}

TYPED_TEST(Bias, HasTheSameBitsForAnyNumberOfWorkersAndAnyAddress) {
  using S = TypeParam;
  const auto b = random_matrix<S>(1, 70, "b"), start = random_matrix<S>(900, 70, "y");
  const auto run = [&](Executor& executor, Index shift) {
    Workers cut(executor);
    Matrix<S> wide = Matrix<S>::Zero(900, 75), d_b = Matrix<S>::Zero(1, 75);
    wide.middleCols(shift, 70) = start;
    add_bias(b, wide.middleCols(shift, 70), cut);
    add_bias_backward(wide.middleCols(shift, 70), d_b.middleCols(shift, 70), this->scratch, cut);
    Matrix<S> all(901, 70);
    all << wide.middleCols(shift, 70), d_b.middleCols(shift, 70);
    return all;
  };
  reference::Backwards backwards(3);
  reference::Threads threads(2);
  const Matrix<S> expected = run(this->serial, 0);
  EXPECT_TRUE(same_bits(run(backwards, 3), expected));
  EXPECT_TRUE(same_bits(run(threads, 1), expected));
}

TYPED_TEST(Bias, TakesNothingFromTheHeap) {
  using S = TypeParam;
  const auto b = random_matrix<S>(1, 70, "b");
  Matrix<S> y = random_matrix<S>(900, 70, "y"), d_b = Matrix<S>::Zero(1, 70);
  Arena sized(1 << 14);
  const std::size_t before = allocations_so_far();
  add_bias(b, y, this->workers);
  add_bias_backward(y, d_b, sized, this->workers);
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed
