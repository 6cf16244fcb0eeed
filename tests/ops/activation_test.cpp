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
struct Activations : testing::Test {
  Serial serial;
  Workers workers{serial};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Activations, Scalars);

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

TYPED_TEST(Activations, SiluIsExactToRounding) {
  using S = TypeParam;
  const double roundings = exponential_roundings + 3;  // 1 + e, 1 / (1 + e), the product
  for (const S x : arguments<S>()) {
    const auto exact = static_cast<double>(reference::silu(Wide<S>(x)));
    EXPECT_NEAR(static_cast<double>(of<S>([](auto v) { return detail::silu(v); }, x)), exact,
                roundings * eps<S> * std::abs(exact))
        << x;
  }
}

TYPED_TEST(Activations, SoftplusIsExactToRounding) {
  using S = TypeParam;
  const double roundings = exponential_roundings + logarithm_roundings + 4;  // 1 + e, the product, the quotient, the sum
  for (const S x : arguments<S>()) {
    const auto exact = static_cast<double>(reference::softplus(Wide<S>(x)));
    EXPECT_NEAR(static_cast<double>(of<S>([](auto v) { return detail::softplus(v); }, x)), exact,
                roundings * eps<S> * exact)
        << x;
  }
}

TYPED_TEST(Activations, SoftplusIsFiniteForAnyFiniteNumberAndKeepsNotANumber) {
  using S = TypeParam;
  const auto softplus = [](auto v) { return detail::softplus(v); };
  const S huge = (std::numeric_limits<S>::max)();
  EXPECT_EQ(of<S>(softplus, huge), huge);
  EXPECT_EQ(of<S>(softplus, -huge), S(0));
  EXPECT_TRUE(std::isnan(of<S>(softplus, std::numeric_limits<S>::quiet_NaN())));
}

TYPED_TEST(Activations, SiluIsFiniteForAnyFiniteNumberAndKeepsNotANumber) {
  using S = TypeParam;
  const auto silu = [](auto v) { return detail::silu(v); };
  const S huge = (std::numeric_limits<S>::max)();
  EXPECT_EQ(of<S>(silu, huge), huge);
  EXPECT_TRUE(std::isfinite(of<S>(silu, -huge)));
  EXPECT_NEAR(static_cast<double>(of<S>(silu, S(-1000))), 0.0, static_cast<double>((std::numeric_limits<S>::min)()) * 1000);
  EXPECT_TRUE(std::isnan(of<S>(silu, std::numeric_limits<S>::quiet_NaN())));
}

TYPED_TEST(Activations, DerivativesAreExactToRounding) {
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

// Of the distribution: erfc in the C library, and packets, which are good to 5.
constexpr double distribution_roundings = 6;

// |found - exact| <= eps roundings, where roundings is the sum of what every term may be off by; and what an exponential
// that became zero took with it.
template <class S>
void expect_near(S x, S found, Wide<S> exact, double roundings) {
  const double lost = (std::abs(static_cast<double>(x)) + 1) * 4 * static_cast<double>((std::numeric_limits<S>::min)());
  EXPECT_NEAR(static_cast<double>(found), static_cast<double>(exact), eps<S> * roundings + lost) << x;
}

TYPED_TEST(Activations, GeluIsAsExactAsItsArgument) {
  using S = TypeParam;
  for (const S x : arguments<S>()) {
    const double a = std::abs(static_cast<double>(x));
    const auto distribution = static_cast<double>(reference::normal_distribution(Wide<S>(x)));
    const auto density = static_cast<double>(reference::normal_density(Wide<S>(x)));
    // A rounding of the argument scales the tail by x^2, and the density too.
    const double of_distribution = (distribution_roundings + a * a) * distribution;
    expect_near(x, of<S>([](auto v) { return Gelu::of(v); }, x), reference::gelu(Wide<S>(x)),
                a * (of_distribution + distribution));
    expect_near(x, of<S>([](auto v) { return Gelu::derivative(v); }, x), reference::gelu_derivative(Wide<S>(x)),
                of_distribution + distribution + (exponential_roundings + 4 + a * a) * a * density);
  }
}

TEST(Activations, TheNormalDistributionInPacketsIsExactToRoundingAndToItsExponent) {
  for (float x = -13.1F; x < 14; x += 0.00137F) {
    const double exact = reference::normal_distribution(double(x)),
                 tail = reference::normal_distribution(-std::abs(double(x)));
    const double found = double(of<float>([](auto v) { return detail::NormalNumbers<float>(v).distribution; }, x));
    ASSERT_NEAR(found, exact, eps<float> * ((5 + double(x) * double(x) / 4) * tail + exact / 2)) << x;
  }
}

TYPED_TEST(Activations, GeluAndItsDerivativeAreAtMostTwiceAsFarOffAsTheNaiveFormsEverywhere) {
  using S = TypeParam;
  const int lowest = sizeof(S) == 4 ? -13 : -37, pieces = 4, numbers = 400;
  for (int piece = lowest * pieces; piece < 14 * pieces; ++piece) {
    Wide<S> found[2] = {}, naive[2] = {};
    for (int i = 0; i < numbers; ++i) {
      const S x = (static_cast<S>(piece) + static_cast<S>(i) / numbers) / pieces;
      const auto keep = [&](Wide<S>& largest, S value, Wide<S> exact) {
        largest = (std::max)(largest, std::abs(Wide<S>(value) - exact));
      };
      const Wide<S> y = reference::gelu(Wide<S>(x)), derivative = reference::gelu_derivative(Wide<S>(x));
      keep(found[0], of<S>([](auto v) { return Gelu::of(v); }, x), y);
      keep(naive[0], reference::gelu(x), y);
      keep(found[1], of<S>([](auto v) { return Gelu::derivative(v); }, x), derivative);
      keep(naive[1], reference::gelu_derivative(x), derivative);
    }
    for (int f : {0, 1}) EXPECT_LE(found[f], 2 * naive[f]) << "from " << double(piece) / pieces << ", function " << f;
  }
}

TYPED_TEST(Activations, GeluTanhIsAsExactAsItsArgument) {
  using S = TypeParam;
  for (const S x : arguments<S>()) {
    const double a = std::abs(static_cast<double>(x));
    const Wide<S> v = reference::gelu_tanh_argument(Wide<S>(x));
    const auto sigma = static_cast<double>(reference::sigmoid(v)), opposite = static_cast<double>(reference::sigmoid(-v));
    const auto slope = static_cast<double>(reference::gelu_tanh_slope(Wide<S>(x)));
    // v goes through 6 roundings, which scale what is exponential in it by |v|.
    const double of_sigma = exponential_roundings + 2 + 6 * std::abs(static_cast<double>(v));
    expect_near(x, of<S>([](auto y) { return GeluTanh::of(y); }, x), reference::gelu_tanh(Wide<S>(x)),
                a * sigma * (of_sigma + 1));
    expect_near(x, of<S>([](auto y) { return GeluTanh::derivative(y); }, x), reference::gelu_tanh_derivative(Wide<S>(x)),
                sigma * (of_sigma + 1) + a * sigma * opposite * slope * (2 * of_sigma + 8));
  }
}

TYPED_TEST(Activations, ReluIsExact) {
  using S = TypeParam;
  for (const S x : arguments<S>()) {
    EXPECT_EQ(of<S>([](auto v) { return Relu::of(v); }, x), x > 0 ? x : 0);
    EXPECT_EQ(of<S>([](auto v) { return Relu::derivative(v); }, x), x > 0 ? 1 : 0);
  }
}

template <class F, class S>
void expect_finite_and_keeps_nan() {
  const S huge = (std::numeric_limits<S>::max)(), nan = std::numeric_limits<S>::quiet_NaN();
  const auto f = [](auto v) { return F::of(v); };
  const auto derivative = [](auto v) { return F::derivative(v); };
  EXPECT_EQ(of<S>(f, huge), huge) << F::name;
  EXPECT_TRUE(std::isfinite(of<S>(f, -huge))) << F::name;
  EXPECT_EQ(of<S>(derivative, huge), S(1)) << F::name;
  EXPECT_EQ(of<S>(derivative, -huge), S(0)) << F::name;
  EXPECT_TRUE(std::isnan(of<S>(f, nan))) << F::name;
}

TYPED_TEST(Activations, OfAFeedForwardAreFiniteForAnyFiniteNumberAndKeepNotANumber) {
  using S = TypeParam;
  expect_finite_and_keeps_nan<Silu, S>();
  expect_finite_and_keeps_nan<Relu, S>();
  expect_finite_and_keeps_nan<Gelu, S>();
  expect_finite_and_keeps_nan<GeluTanh, S>();
}

template <class F>
struct AnyActivation : testing::Test {};
using AllActivations = testing::Types<Identity, Silu, Relu, Gelu, GeluTanh>;
TYPED_TEST_SUITE(AnyActivation, AllActivations);

// Away from 0, where relu has no derivative.
Matrix<double> away_from_zero(Index rows, Index cols, std::string_view name) {
  return random_matrix<double>(rows, cols, name).unaryExpr([](double x) { return x + (x > 0 ? 0.1 : -0.1); });
}

TYPED_TEST(AnyActivation, HasTheGradientOfForwardAloneAndAsAGateAndAdds) {
  Serial serial;
  Workers workers(serial);
  Matrix<double> x = away_from_zero(3, 7, "x"), up = random_matrix<double>(3, 7, "up"), y(3, 7);
  const auto d_y = random_matrix<double>(3, 7, "d_y");
  Matrix<double> d_x = Matrix<double>::Ones(3, 7), d_up = d_x;
  const Index operations = 12;
  activate_backward<TypeParam>(x, d_y, d_x, workers);
  expect_gradient(x, Matrix<double>(d_x.array() - 1), operations, [&] {
    activate<TypeParam>(x, y, workers);
    return reference::dot(y, d_y);
  });
  d_x.setOnes();
  glu_backward<TypeParam>(x, up, d_y, d_x, d_up, workers);
  const auto gated = [&] {
    glu<TypeParam>(x, up, y, workers);
    return reference::dot(y, d_y);
  };
  expect_gradient(x, Matrix<double>(d_x.array() - 1), operations, gated);
  expect_gradient(up, Matrix<double>(d_up.array() - 1), operations, gated);
}

TYPED_TEST(AnyActivation, OfAMatrixIsThatOfItsElements) {
  Serial serial;
  Workers workers(serial);
  for (Index F : {1, 7, 33, 300}) {
    const auto x = random_matrix<float>(70, F, "x", 4), up = random_matrix<float>(70, F, "up");
    Matrix<float> y(70, F), gated(70, F);
    activate<TypeParam>(x, y, workers);
    glu<TypeParam>(x, up, gated, workers);
    for (Index t = 0; t < 70; ++t)
      for (Index i = 0; i < F; ++i) {
        const float expected = of<float>([](auto v) { return TypeParam::of(v); }, x(t, i));
        ASSERT_EQ(y(t, i), expected);
        ASSERT_EQ(gated(t, i), expected * up(t, i));
      }
  }
}

TYPED_TEST(AnyActivation, HasTheSameBitsForAnyNumberOfWorkers) {
  const auto x = random_matrix<float>(900, 70, "x"), up = random_matrix<float>(900, 70, "up"),
             d_y = random_matrix<float>(900, 70, "d_y");
  const auto run = [&](Executor& executor) {
    Workers cut(executor);
    Matrix<float> y(900, 70), d_x = Matrix<float>::Zero(900, 70), gated = y, d_gate = d_x, d_up = d_x;
    activate<TypeParam>(x, y, cut);
    activate_backward<TypeParam>(x, d_y, d_x, cut);
    glu<TypeParam>(x, up, gated, cut);
    glu_backward<TypeParam>(x, up, d_y, d_gate, d_up, cut);
    Matrix<float> all(4500, 70);
    all << y, d_x, gated, d_gate, d_up;
    return all;
  };
  Serial serial;
  reference::Backwards backwards(3);
  EXPECT_TRUE(same_bits(run(backwards), run(serial)));
}

TYPED_TEST(AnyActivation, MayWriteOverItsInput) {
  Serial serial;
  Workers workers(serial);
  const auto x = random_matrix<double>(9, 11, "x"), up = random_matrix<double>(9, 11, "up");
  Matrix<double> y(9, 11), over = x, none(0, 11);
  activate<TypeParam>(x, y, workers);
  activate<TypeParam>(over, over, workers);
  activate<TypeParam>(none, none, workers);
  EXPECT_TRUE(same_bits(over, y));
  over = x;
  glu<TypeParam>(x, up, y, workers);
  glu<TypeParam>(over, up, over, workers);
  glu<TypeParam>(none, none, none, workers);
  EXPECT_TRUE(same_bits(over, y));
}

TYPED_TEST(AnyActivation, TakesNothingFromTheHeap) {
  Serial serial;
  Workers workers(serial);
  const auto x = random_matrix<float>(9, 11, "x"), up = random_matrix<float>(9, 11, "up");
  Matrix<float> y(9, 11), d_x = Matrix<float>::Zero(9, 11), d_up = d_x;
  const std::size_t before = allocations_so_far();
  activate<TypeParam>(x, y, workers);
  activate_backward<TypeParam>(x, up, d_x, workers);
  glu<TypeParam>(x, up, y, workers);
  glu_backward<TypeParam>(x, up, y, d_x, d_up, workers);
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed
