#include "heed/ops/activation.hpp"

#include <gtest/gtest.h>

#include "../reference/activation.hpp"
#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../support/allocations.hpp"

namespace heed {
namespace {

using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

template <class Scalar>
struct Activation : testing::Test {
  Serial serial;
  Workers workers{serial};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Activation, Scalars);

// f of lanes, of one number
template <class S, class F>
S of(F&& f, S x) {
  S y;
  detail::transform(1, &y, f, &x);
  return y;
}

// Numbers of every size and sign whose exponential is a normal number.
template <class S>
std::vector<S> arguments() {
  std::vector<S> all = {0};
  const S limit = sizeof(S) == 4 ? S(80) : S(700);
  for (S x = S(1e-9); x < limit; x *= S(1.37)) all.insert(all.end(), {x, -x});
  return all;
}

template <class S>
constexpr double eps = static_cast<double>(std::numeric_limits<S>::epsilon());

// The exponential and the logarithm of packets are good to 2 eps each.
constexpr double exponential_roundings = 2, logarithm_roundings = 2;

TYPED_TEST(Activation, SiluIsExactToRounding) {
  using S = TypeParam;
  const double roundings = exponential_roundings + 3;  // 1 + e, 1 / (1 + e), the product
  for (const S x : arguments<S>()) {
    const auto exact = static_cast<double>(reference::silu(Wide<S>(x)));
    EXPECT_NEAR(static_cast<double>(of<S>([](auto v) { return detail::silu(v); }, x)), exact,
                roundings * eps<S> * std::abs(exact))
        << x;
  }
}

TYPED_TEST(Activation, SoftplusIsExactToRounding) {
  using S = TypeParam;
  const double roundings = exponential_roundings + logarithm_roundings + 4;  // 1 + e, the product, the quotient, the sum
  for (const S x : arguments<S>()) {
    const auto exact = static_cast<double>(reference::softplus(Wide<S>(x)));
    EXPECT_NEAR(static_cast<double>(of<S>([](auto v) { return detail::softplus(v); }, x)), exact,
                roundings * eps<S> * exact)
        << x;
  }
}

TYPED_TEST(Activation, SoftplusIsFiniteForAnyFiniteNumberAndKeepsNotANumber) {
  using S = TypeParam;
  const auto softplus = [](auto v) { return detail::softplus(v); };
  const S huge = (std::numeric_limits<S>::max)();
  EXPECT_EQ(of<S>(softplus, huge), huge);
  EXPECT_EQ(of<S>(softplus, -huge), S(0));
  EXPECT_TRUE(std::isnan(of<S>(softplus, std::numeric_limits<S>::quiet_NaN())));
}

TYPED_TEST(Activation, SiluIsFiniteForAnyFiniteNumberAndKeepsNotANumber) {
  using S = TypeParam;
  const auto silu = [](auto v) { return detail::silu(v); };
  const S huge = (std::numeric_limits<S>::max)();
  EXPECT_EQ(of<S>(silu, huge), huge);
  EXPECT_TRUE(std::isfinite(of<S>(silu, -huge)));
  EXPECT_NEAR(static_cast<double>(of<S>(silu, S(-1000))), 0.0, static_cast<double>((std::numeric_limits<S>::min)()) * 1000);
  EXPECT_TRUE(std::isnan(of<S>(silu, std::numeric_limits<S>::quiet_NaN())));
}

TYPED_TEST(Activation, DerivativesAreExactToRounding) {
  using S = TypeParam;
  for (const S x : arguments<S>()) {
    const auto silu = static_cast<double>(reference::silu_derivative(Wide<S>(x)));
    // sigma (1 + x (1 - sigma)): sigma is good to `sigma` roundings, which 1 - sigma and the sum scale by at most |x| sigma
    const double sigma = exponential_roundings + 2;
    const double scale = static_cast<double>(reference::sigmoid(Wide<S>(x))) * (1 + std::abs(static_cast<double>(x)));
    EXPECT_NEAR(static_cast<double>(of<S>([](auto v) { return detail::silu_derivative(v); }, x)), silu,
                (2 * sigma + 4) * eps<S> * scale)
        << x;
    const auto softplus = static_cast<double>(reference::sigmoid(Wide<S>(x)));
    EXPECT_NEAR(static_cast<double>(of<S>([](auto v) { return detail::softplus_derivative(v); }, x)), softplus,
                sigma * eps<S> * softplus)
        << x;
  }
}

TYPED_TEST(Activation, SwigluGatesTheProduct) {
  using S = TypeParam;
  for (Index F : {1, 7, 33, 300}) {
    const auto gate = random_matrix<S>(70, F, "gate", 4), up = random_matrix<S>(70, F, "up");
    Matrix<S> y(70, F);
    swiglu(gate, up, y, this->workers);
    for (Index t = 0; t < 70; ++t)
      for (Index i = 0; i < F; ++i) {
        const auto exact = static_cast<double>(reference::silu(Wide<S>(gate(t, i))) * Wide<S>(up(t, i)));
        ASSERT_NEAR(static_cast<double>(y(t, i)), exact, (exponential_roundings + 4) * eps<S> * std::abs(exact));
      }
  }
}

TEST(SwigluBackward, IsTheGradientOfForwardAndAdds) {
  Serial serial;
  Workers workers(serial);
  Matrix<double> gate = random_matrix<double>(3, 7, "gate"), up = random_matrix<double>(3, 7, "up"), y(3, 7);
  const auto d_y = random_matrix<double>(3, 7, "d_y");
  Matrix<double> d_gate = Matrix<double>::Ones(3, 7), d_up = d_gate;
  swiglu_backward(gate, up, d_y, d_gate, d_up, workers);
  const auto f = [&] {
    swiglu(gate, up, y, workers);
    return reference::dot(y, d_y);
  };
  const Index operations = 6;
  expect_gradient(gate, Matrix<double>(d_gate.array() - 1), operations, f);
  expect_gradient(up, Matrix<double>(d_up.array() - 1), operations, f);
}

TYPED_TEST(Activation, SwigluHasTheSameBitsForAnyNumberOfWorkers) {
  using S = TypeParam;
  const auto gate = random_matrix<S>(900, 70, "gate"), up = random_matrix<S>(900, 70, "up"),
             d_y = random_matrix<S>(900, 70, "d_y");
  const auto run = [&](Executor& executor) {
    Workers cut(executor);
    Matrix<S> y(900, 70), d_gate = Matrix<S>::Zero(900, 70), d_up = d_gate;
    swiglu(gate, up, y, cut);
    swiglu_backward(gate, up, d_y, d_gate, d_up, cut);
    Matrix<S> all(2700, 70);
    all << y, d_gate, d_up;
    return all;
  };
  reference::Backwards backwards(3);
  EXPECT_TRUE(same_bits(run(backwards), run(this->serial)));
}

TYPED_TEST(Activation, SwigluMayWriteOverItsGate) {
  using S = TypeParam;
  const auto gate = random_matrix<S>(9, 11, "gate"), up = random_matrix<S>(9, 11, "up");
  Matrix<S> y(9, 11), over = gate, none(0, 11);
  swiglu(gate, up, y, this->workers);
  swiglu(over, up, over, this->workers);
  swiglu(none, none, none, this->workers);
  EXPECT_TRUE(same_bits(over, y));
}

TYPED_TEST(Activation, SwigluTakesNothingFromTheHeap) {
  using S = TypeParam;
  const auto gate = random_matrix<S>(9, 11, "gate"), up = random_matrix<S>(9, 11, "up");
  Matrix<S> y(9, 11), d_gate = Matrix<S>::Zero(9, 11), d_up = d_gate;
  const std::size_t before = allocations_so_far();
  swiglu(gate, up, y, this->workers);
  swiglu_backward(gate, up, y, d_gate, d_up, this->workers);
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed
