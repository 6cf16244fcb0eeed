#include "heed/ops/adam_step.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

template <class Scalar>
struct Adam : testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Adam, Scalars);

template <class Scalar>
struct State {
  Matrix<Scalar> w, m, v;

  // The formulas of the paper, one number after another.
  void step(const AdamStep& options, const Matrix<Scalar>& gradient) {
    const auto s = [](double value) { return static_cast<Scalar>(value); };
    const double t = static_cast<double>(options.step);
    for (Index i = 0; i < w.size(); ++i) {
      const Scalar g = s(options.gradient_scale) * gradient.data()[i];
      Scalar &w_i = w.data()[i], &m_i = m.data()[i], &v_i = v.data()[i];
      m_i = s(options.beta1) * m_i + s(1 - options.beta1) * g;
      v_i = s(options.beta2) * v_i + s(1 - options.beta2) * g * g;
      const Scalar m_hat = m_i / s(1 - std::pow(options.beta1, t)), v_hat = v_i / s(1 - std::pow(options.beta2, t));
      w_i -= s(options.learning_rate) * (m_hat / (std::sqrt(v_hat) + s(options.epsilon)) + s(options.weight_decay) * w_i);
    }
  }
};

TYPED_TEST(Adam, StepsAsThePaperSays) {
  using S = TypeParam;
  using W = Wide<S>;
  const Matrix<S> start = random_matrix<S>(5, 33, "w"), zero = Matrix<S>::Zero(5, 33);
  State<S> found{start, zero, zero}, naive = found;
  State<W> exact{start.template cast<W>(), zero.template cast<W>(), zero.template cast<W>()};
  AdamStep options{.learning_rate = 0.01, .weight_decay = 0.1, .gradient_scale = 0.7};
  for (options.step = 1; options.step <= 5; ++options.step) {
    const auto gradient = random_matrix<S>(5, 33, "g" + std::to_string(options.step));
    adam_step(options, gradient, found.w, found.m, found.v);
    naive.step(options, gradient);
    exact.step(options, gradient.template cast<W>());
    const Index steps = options.step;  // roundings add up over the steps
    expect_as_exact_as_naive(found.m, naive.m, exact.m, 5 * steps);
    expect_as_exact_as_naive(found.v, naive.v, exact.v, 6 * steps);
    expect_as_exact_as_naive(found.w, naive.w, exact.w, 12 * steps);
  }
}

TYPED_TEST(Adam, StepsByTheLearningRateAtFirst) {
  using S = TypeParam;
  Matrix<S> gradient{{S(3), S(-1e-3)}}, w{{S(1), S(1)}}, m = Matrix<S>::Zero(1, 2), v = m;
  adam_step({.learning_rate = 0.25, .epsilon = 0}, gradient, w, m, v);
  // m / (1 - beta1) = g and v / (1 - beta2) = g^2 to some roundings, whatever the size of g
  const double bound = 12 * static_cast<double>(std::numeric_limits<S>::epsilon());
  EXPECT_NEAR(static_cast<double>(w(0, 0)), 0.75, bound);
  EXPECT_NEAR(static_cast<double>(w(0, 1)), 1.25, bound);
}

TYPED_TEST(Adam, DecaysWeightsApartFromTheGradient) {
  using S = TypeParam;
  Matrix<S> gradient = Matrix<S>::Zero(1, 9), w = Matrix<S>::Constant(1, 9, S(2)), m = gradient, v = gradient;
  adam_step({.learning_rate = 0.5, .weight_decay = 0.25}, gradient, w, m, v);
  EXPECT_TRUE((w.array() == S(2 - 0.5 * 0.25 * 2)).all());
}

TYPED_TEST(Adam, TreatsABlockAsAMatrixOfItsOwn) {
  using S = TypeParam;
  const auto gradient = random_matrix<S>(4, 20, "g");
  Matrix<S> w = random_matrix<S>(4, 20, "w"), m = Matrix<S>::Zero(4, 20), v = m;
  Matrix<S> w_own = w.middleCols(3, 13), m_own = Matrix<S>::Zero(4, 13), v_own = m_own;
  const Matrix<S> gradient_own = gradient.middleCols(3, 13), left = w.leftCols(3);
  adam_step({}, gradient.middleCols(3, 13), w.middleCols(3, 13), m.middleCols(3, 13), v.middleCols(3, 13));
  adam_step({}, gradient_own, w_own, m_own, v_own);
  EXPECT_TRUE(same_bits(Matrix<S>(w.middleCols(3, 13)), w_own));
  EXPECT_TRUE(same_bits(Matrix<S>(w.leftCols(3)), left));
}

TYPED_TEST(Adam, SumOfSquaresIsExactInDouble) {
  using S = TypeParam;
  for (const Index cols : {1, 7, 8, 33}) {
    const auto x = random_matrix<S>(13, cols, "x");
    long double exact = 0;
    for (Index i = 0; i < x.size(); ++i)
      exact += static_cast<long double>(x.data()[i]) * static_cast<long double>(x.data()[i]);
    const double roundings = static_cast<double>(x.size() + 1);
    EXPECT_NEAR(sum_of_squares(x), static_cast<double>(exact),
                std::numeric_limits<double>::epsilon() * roundings * static_cast<double>(exact));
  }
  EXPECT_EQ(sum_of_squares(Matrix<S>(0, 3)), 0.0);
}

TYPED_TEST(Adam, SumOfSquaresDoesNotDependOnTheAddress) {
  using S = TypeParam;
  const auto x = random_matrix<S>(13, 37, "x");
  Matrix<S> wide = Matrix<S>::Zero(13, 50);
  for (Index shift = 0; shift < 13; ++shift) {
    wide.middleCols(shift, 37) = x;
    EXPECT_EQ(sum_of_squares(wide.middleCols(shift, 37)), sum_of_squares(x));
  }
}

}  // namespace
}  // namespace heed
