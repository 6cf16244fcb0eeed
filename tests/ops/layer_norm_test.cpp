#include "heed/ops/layer_norm.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../reference/layer_norm.hpp"
#include "../support/allocations.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

constexpr double epsilon = 1e-5;
// the mean, x - mean, its square, the mean of squares, + epsilon, the root, 1 / root, two products, the bias
constexpr Index operations = 10;

struct Shape {
  Index T, D;
};
constexpr Shape shapes[] = {{1, 1}, {1, 64}, {3, 7}, {33, 100}, {700, 33}};

template <class S>
struct Problem {
  Matrix<S> x, weight, bias, d_y;

  Problem(Index T, Index D)
      : x(random_matrix<S>(T, D, "x")),
        weight(random_matrix<S>(1, D, "weight")),
        bias(random_matrix<S>(1, D, "bias")),
        d_y(random_matrix<S>(T, D, "d_y")) {}
  LayerNormInputs<S> inputs() const { return {view_of(x), view_of(weight), view_of(bias), epsilon}; }
};

template <class S>
struct Gradients {
  Matrix<S> x, weight, bias;

  LayerNormGradients<S> views() { return {mutable_view_of(x), mutable_view_of(weight), mutable_view_of(bias)}; }
};

template <class W, class S>
Matrix<W> wide(const Matrix<S>& matrix) {
  return matrix.template cast<W>();
}

template <class Scalar>
struct LayerNorm : testing::Test {
  Serial serial;
  Workers workers{serial};
  Arena scratch;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LayerNorm, Scalars);

TYPED_TEST(LayerNorm, NormalisesEveryRowAndSaysByWhat) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const auto& [T, D] : shapes) {
    const Problem<S> problem(T, D);
    Matrix<S> y(T, D), mean(T, 1), inverse_deviation(T, 1);
    layer_norm(problem.inputs(), mutable_view_of(y),
               LayerNormMoments<S>{mutable_view_of(mean), mutable_view_of(inverse_deviation)}, this->workers);
    const auto naive = reference::layer_norm(problem.x, problem.weight, problem.bias, epsilon);
    const auto exact =
        reference::layer_norm<W>(wide<W>(problem.x), wide<W>(problem.weight), wide<W>(problem.bias), epsilon);
    if (D > 1) expect_as_exact_as_naive(y, naive.y, exact.y, operations);  // one number has no deviation: 0 / sqrt(epsilon)
    expect_as_exact_as_naive(mean, naive.mean, exact.mean, D);
    if (D > 1) expect_as_exact_as_naive(inverse_deviation, naive.inverse_deviation, exact.inverse_deviation, operations);
    Matrix<S> alone = problem.x;
    layer_norm({view_of(alone), view_of(problem.weight), view_of(problem.bias), epsilon}, mutable_view_of(alone),
               this->workers);
    EXPECT_TRUE(same_bits(alone, y)) << "over its input, without moments";
  }
}

TYPED_TEST(LayerNorm, OfOneColumnIsTheBias) {
  using S = TypeParam;
  const Problem<S> problem(3, 1);
  Matrix<S> y(3, 1);
  layer_norm(problem.inputs(), mutable_view_of(y), this->workers);
  EXPECT_TRUE((y.array() == problem.bias(0, 0)).all());
}

// The rows lie at 1000 +- 1: a variance from the difference of two means of squares would have lost six digits.
TYPED_TEST(LayerNorm, LosesNothingFarFromZero) {
  using S = TypeParam;
  using W = Wide<S>;
  Problem<S> problem(9, 40);
  problem.x.array() += S(1000);
  Matrix<S> y(9, 40);
  layer_norm(problem.inputs(), mutable_view_of(y), this->workers);
  expect_as_exact_as_naive(
      y, reference::layer_norm(problem.x, problem.weight, problem.bias, epsilon).y,
      reference::layer_norm<W>(wide<W>(problem.x), wide<W>(problem.weight), wide<W>(problem.bias), epsilon).y, operations);
}

TYPED_TEST(LayerNorm, BackwardAddsTheGradients) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const auto& [T, D] : shapes) {
    if (D == 1) continue;
    const Problem<S> problem(T, D);
    const Gradients<S> start{random_matrix<S>(T, D, "d_x"), random_matrix<S>(1, D, "d_weight"),
                             random_matrix<S>(1, D, "d_bias")};
    Gradients<S> d = start;
    layer_norm_backward(problem.inputs(), view_of(problem.d_y), d.views(), this->scratch, this->workers);
    const auto naive = reference::layer_norm_backward(problem.x, problem.weight, epsilon, problem.d_y);
    const auto exact =
        reference::layer_norm_backward<W>(wide<W>(problem.x), wide<W>(problem.weight), epsilon, wide<W>(problem.d_y));
    const auto expect = [](const Matrix<S>& found, const Matrix<S>& from, const Matrix<S>& naive_sum,
                           const Matrix<W>& exact_sum, Index roundings) {
      expect_as_exact_as_naive(found, Matrix<S>(from + naive_sum), Matrix<W>(wide<W>(from) + exact_sum), roundings);
    };
    // and 6 more: two products and two means, two differences, the addition
    expect(d.x, start.x, naive.x, exact.x, operations + 6);
    expect(d.weight, start.weight, naive.weight, exact.weight, operations + 2);
    expect(d.bias, start.bias, naive.bias, exact.bias, 2);
  }
}

TEST(LayerNormBackward, IsTheGradientOfForward) {
  Serial serial;
  Workers workers(serial);
  Arena scratch;
  Problem<double> problem(3, 7);
  Gradients<double> d{Matrix<double>::Zero(3, 7), Matrix<double>::Zero(1, 7), Matrix<double>::Zero(1, 7)};
  Matrix<double> y(3, 7);
  layer_norm_backward(problem.inputs(), view_of(problem.d_y), d.views(), scratch, workers);
  const auto f = [&] {
    layer_norm(problem.inputs(), mutable_view_of(y), workers);
    return reference::dot(y, problem.d_y);
  };
  expect_gradient(problem.x, d.x, operations, f);
  expect_gradient(problem.weight, d.weight, operations, f);
  expect_gradient(problem.bias, d.bias, operations, f);
}

TYPED_TEST(LayerNorm, HasTheSameBitsForAnyNumberOfWorkersAndAnyAddress) {
  using S = TypeParam;
  const Problem<S> problem(900, 70);
  const auto run = [&](Executor& executor, Index shift) {
    Workers cut(executor);
    Matrix<S> wide_x = Matrix<S>::Zero(900, 75), y = wide_x, d_x = wide_x, d_weight = Matrix<S>::Zero(1, 75),
              d_bias = d_weight;
    wide_x.middleCols(shift, 70) = problem.x;
    const auto own = [&](auto& matrix) { return matrix.middleCols(shift, 70); };
    const LayerNormInputs<S> in{view_of(own(wide_x)), view_of(problem.weight), view_of(problem.bias), epsilon};
    layer_norm(in, mutable_view_of(own(y)), cut);
    layer_norm_backward(
        in, view_of(problem.d_y),
        LayerNormGradients<S>{mutable_view_of(own(d_x)), mutable_view_of(own(d_weight)), mutable_view_of(own(d_bias))},
        this->scratch, cut);
    Matrix<S> all(1802, 70);
    all << own(y), own(d_x), own(d_weight), own(d_bias);
    return all;
  };
  reference::Backwards backwards(3);
  reference::Threads threads(2);
  const Matrix<S> expected = run(this->serial, 0);
  EXPECT_TRUE(same_bits(run(backwards, 3), expected));
  EXPECT_TRUE(same_bits(run(threads, 1), expected));
}

TYPED_TEST(LayerNorm, OfARowOfEqualNumbersIsTheBias) {
  using S = TypeParam;
  Problem<S> problem(2, 9);
  problem.x.row(0).setZero();
  problem.x.row(1).setConstant(S(4));
  Matrix<S> y(2, 9);
  layer_norm(problem.inputs(), mutable_view_of(y), this->workers);
  EXPECT_TRUE(same_bits(Matrix<S>(y.row(0)), problem.bias));
  EXPECT_TRUE(same_bits(Matrix<S>(y.row(1)), problem.bias));
}

TYPED_TEST(LayerNorm, KeepsNotANumberInItsRow) {
  using S = TypeParam;
  Problem<S> problem(2, 9);
  problem.x(0, 4) = std::numeric_limits<S>::quiet_NaN();
  Matrix<S> y(2, 9);
  layer_norm(problem.inputs(), mutable_view_of(y), this->workers);
  EXPECT_TRUE(y.row(0).array().isNaN().all());
  EXPECT_TRUE(y.row(1).array().isFinite().all());
}

TYPED_TEST(LayerNorm, OfNoRowsChangesNothing) {
  using S = TypeParam;
  const Problem<S> problem(0, 9);
  Matrix<S> y(0, 9);
  Gradients<S> d{y, Matrix<S>::Ones(1, 9), Matrix<S>::Ones(1, 9)};
  layer_norm(problem.inputs(), mutable_view_of(y), this->workers);
  layer_norm_backward(problem.inputs(), view_of(problem.d_y), d.views(), this->scratch, this->workers);
  EXPECT_TRUE((d.weight.array() == S(1)).all() && (d.bias.array() == S(1)).all());
}

TYPED_TEST(LayerNorm, TakesNothingFromTheHeap) {
  using S = TypeParam;
  const Problem<S> problem(900, 70);
  Matrix<S> y(900, 70);
  Gradients<S> d{Matrix<S>::Zero(900, 70), Matrix<S>::Zero(1, 70), Matrix<S>::Zero(1, 70)};
  Arena sized(1 << 14);
  const std::size_t before = allocations_so_far();
  layer_norm(problem.inputs(), mutable_view_of(y), this->workers);
  layer_norm_backward(problem.inputs(), view_of(problem.d_y), d.views(), sized, this->workers);
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed
