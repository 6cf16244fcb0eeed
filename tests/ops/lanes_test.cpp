#include "heed/ops/lanes.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "../reference/bounds.hpp"

namespace heed {
namespace {

using namespace detail;
using reference::Wide;

template <class Scalar>
struct LanesOf : testing::Test {
  static constexpr Index width = full_width<Scalar>;
  static constexpr double eps = static_cast<double>(std::numeric_limits<Scalar>::epsilon());
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LanesOf, Scalars);

// n numbers, then one that must not be touched
template <class S>
std::vector<S> numbers(Index n, std::string_view name) {
  const auto drawn = reference::random_matrix<S>(1, n + 1, name);
  return std::vector<S>(drawn.data(), drawn.data() + n + 1);
}

template <class S, int width>
void expect_arithmetic() {
  const auto a = numbers<S>(width, "a"), b = numbers<S>(width, "b"), c = numbers<S>(width, "c");
  using L = Lanes<S, width>;
  const L x = L::load(a.data()), y = L::load(b.data()), z = L::load(c.data());
  const auto expect_lanes = [&](L found, auto&& of) {
    S lanes[std::size_t(width)];
    found.store(lanes);
    for (std::size_t i = 0; i < std::size_t(width); ++i) EXPECT_EQ(lanes[i], of(a[i], b[i])) << width;
  };
  expect_lanes(x + y, [](S p, S q) { return p + q; });
  expect_lanes(x - y, [](S p, S q) { return p - q; });
  expect_lanes(x * y, [](S p, S q) { return p * q; });
  expect_lanes(x / y, [](S p, S q) { return p / q; });
  expect_lanes(maximum(x, y), [](S p, S q) { return (std::max)(p, q); });
  expect_lanes(S(3) * x, [](S p, S) { return 3 * p; });
  expect_lanes(S(3) + x, [](S p, S) { return 3 + p; });
  expect_lanes(S(3) - x, [](S p, S) { return 3 - p; });
  expect_lanes(L::all(S(5)), [](S, S) { return S(5); });

  S lanes[std::size_t(width)], sum = 0, size = 0;
  multiply_add(x, y, z).store(lanes);
  const S eps = std::numeric_limits<S>::epsilon();
  for (std::size_t i = 0; i < std::size_t(width); ++i)
    EXPECT_NEAR(lanes[i], a[i] * b[i] + c[i], 2 * eps * (std::abs(a[i] * b[i]) + std::abs(c[i])));
  for (std::size_t i = 0; i < std::size_t(width); ++i) sum += a[i], size += std::abs(a[i]);
  EXPECT_NEAR(x.sum(), sum, S(width) * eps * size);
  square_root(x * x).store(lanes);
  for (std::size_t i = 0; i < std::size_t(width); ++i) EXPECT_NEAR(lanes[i], std::abs(a[i]), 4 * eps * std::abs(a[i]));

  if constexpr (width > 1) expect_arithmetic<S, narrower_width<S, width>>();
}

TYPED_TEST(LanesOf, ComputeLaneByLaneInEveryWidth) {
  expect_arithmetic<TypeParam, full_width<TypeParam>>();
}

template <class S, class F>
S of(F&& f, S x) {
  S y;
  transform(1, &y, f, &x);
  return y;
}

// And where packets reduce x = n ln 2 + r by one rounded ln 2, its error n times.
TYPED_TEST(LanesOf, ExponentialIsExactToTwoEps) {
  using S = TypeParam;
  const long double ln2 = 0.693147180559945309417232121458L;
  const double ln2_error = static_cast<double>(std::abs(static_cast<long double>(static_cast<S>(ln2)) - ln2));
  const S limit = sizeof(S) == 4 ? S(86) : S(707);
  for (S x = -limit; x < limit; x += S(0.137)) {
    const double exact = static_cast<double>(std::exp(Wide<S>(x)));
    const double n = std::abs(static_cast<double>(x)) / static_cast<double>(ln2);
    ASSERT_NEAR(static_cast<double>(of<S>([](auto v) { return exponential(v); }, x)), exact,
                (2 * this->eps + n * ln2_error) * exact)
        << x;
  }
}

TYPED_TEST(LanesOf, ExponentialIsZeroWhereItWouldBeDenormalAndKeepsNotANumber) {
  using S = TypeParam;
  const auto e = [](auto v) { return exponential(v); };
  EXPECT_EQ(of<S>(e, -std::numeric_limits<S>::infinity()), S(0));
  EXPECT_EQ(of<S>(e, std::numeric_limits<S>::lowest()), S(0));
  EXPECT_EQ(of<S>(e, S(-709)), S(0));
  EXPECT_EQ(of<S>(e, S(0)), S(1));
  EXPECT_EQ(of<S>(e, -S(0)), S(1));
  EXPECT_TRUE(std::isnan(of<S>(e, std::numeric_limits<S>::quiet_NaN())));
  for (const char* bits : {"1", "0x7f", "0x1ff", "0x12345", "0x3fffff"}) {  // not a number has many forms
    EXPECT_TRUE(std::isnan(of<S>(e, static_cast<S>(std::nanf(bits))))) << bits;
    EXPECT_TRUE(std::isnan(of<S>([](auto v) { return falling_exponential(v); }, static_cast<S>(-std::nanf(bits))))) << bits;
  }
  for (S x = S(-80); x > S(-110); x -= S(0.01)) {
    const S y = of<S>(e, x);
    EXPECT_TRUE(y == 0 || y >= (std::numeric_limits<S>::min)()) << x;
  }
}

TYPED_TEST(LanesOf, LogisticStaysBetweenZeroAndOneAndKeepsNotANumber) {
  using S = TypeParam;
  const auto sigma = [](auto v) { return logistic(v); };
  const double roundings = 2 + 2;  // the exponential, the sum, the quotient
  for (S x = -30; x < 30; x += S(0.37)) {
    const double exact = static_cast<double>(1 / (1 + std::exp(-Wide<S>(x))));
    ASSERT_NEAR(static_cast<double>(of<S>(sigma, x)), exact, roundings * this->eps * exact) << x;
  }
  EXPECT_EQ(of<S>(sigma, std::numeric_limits<S>::infinity()), S(1));
  EXPECT_NEAR(of<S>(sigma, std::numeric_limits<S>::lowest()), S(0), (std::numeric_limits<S>::min)());
  EXPECT_TRUE(std::isnan(of<S>(sigma, std::numeric_limits<S>::quiet_NaN())));
}

TYPED_TEST(LanesOf, LoadFirstPadsWithZerosAndStoreFirstStopsInTime) {
  using S = TypeParam;
  for (Index n = 0; n < this->width; ++n) {
    const auto from = numbers<S>(this->width, "from");
    std::vector<S> all(static_cast<std::size_t>(this->width)), first(static_cast<std::size_t>(this->width), S(-7));
    load_first(from.data(), n).store(all.data());
    store_first(first.data(), Lanes<S>::load(from.data()), n);
    for (Index i = 0; i < this->width; ++i) {
      const auto at = static_cast<std::size_t>(i);
      EXPECT_EQ(all[at], i < n ? from[at] : S(0));
      EXPECT_EQ(first[at], i < n ? from[at] : S(-7));
    }
  }
}

TYPED_TEST(LanesOf, TransformReachesEveryElementAndNoOther) {
  using S = TypeParam;
  for (Index n = 0; n <= 3 * this->width + 1; ++n) {
    const auto a = numbers<S>(n, "a"), b = numbers<S>(n, "b");
    std::vector<S> out(static_cast<std::size_t>(n) + 1, S(-7)), over = a;
    transform(
        n, out.data(), [](auto x, auto y) { return x - y; }, a.data(), b.data());
    transform(
        n, over.data(), [](auto x, auto y) { return x - y; }, over.data(), b.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      EXPECT_EQ(out[i], a[i] - b[i]);
      EXPECT_EQ(over[i], a[i] - b[i]);
    }
    EXPECT_EQ(out.back(), S(-7));
    EXPECT_EQ(over.back(), a.back());
  }
}

TYPED_TEST(LanesOf, SumsAddEveryElementOnce) {
  using S = TypeParam;
  for (Index n = 0; n <= 5 * this->width + 1; ++n) {
    std::vector<S> ones(static_cast<std::size_t>(n) + 1, S(1)), twos(static_cast<std::size_t>(n) + 1, S(2));
    EXPECT_EQ(sum_over(
                  n, [](auto x) { return x; }, ones.data()),
              static_cast<S>(n));
    EXPECT_EQ(dot(ones.data(), twos.data(), n), static_cast<S>(2 * n));
    add_scaled(ones.data(), S(3), twos.data(), n);
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) EXPECT_EQ(ones[i], S(7));
    EXPECT_EQ(ones.back(), S(1));
  }
}

TYPED_TEST(LanesOf, ResultsDoNotDependOnTheAddress) {
  using S = TypeParam;
  const Index n = 3 * this->width + 3;
  const auto a = numbers<S>(n, "a");
  std::vector<S> moved(static_cast<std::size_t>(n) + 20), out(moved.size()), expected(static_cast<std::size_t>(n));
  const auto f = [](auto x) { return exponential(x) * x; };
  transform(n, expected.data(), f, a.data());
  for (std::size_t shift = 0; shift < 20; ++shift) {
    std::copy_n(a.data(), n, moved.data() + shift);
    EXPECT_EQ(dot(moved.data() + shift, moved.data() + shift, n), dot(a.data(), a.data(), n));
    transform(n, out.data() + shift, f, moved.data() + shift);
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(out[shift + i], expected[i]);
  }
}

TYPED_TEST(LanesOf, TheHyperbolicTangentIsRightToAFewLastPlaces) {
  using L = Lanes<TypeParam>;
  const auto tanh_of = [](TypeParam x) {
    TypeParam lanes[std::size_t(full_width<TypeParam>)];
    hyperbolic_tangent(L::all(x)).store(lanes);
    return lanes[0];
  };
  for (double x = 1e-6; x < 30; x *= 1.01)
    for (const double sign : {-1.0, 1.0}) {
      const auto at = static_cast<TypeParam>(sign * x);
      const double exact = static_cast<double>(std::tanh(static_cast<Wide<TypeParam>>(at)));
      EXPECT_LE(std::abs(static_cast<double>(tanh_of(at)) - exact), 4 * TestFixture::eps * std::abs(exact)) << x;
    }
  constexpr TypeParam infinity = std::numeric_limits<TypeParam>::infinity();
  EXPECT_EQ(tanh_of(0), TypeParam(0));
  EXPECT_EQ(tanh_of(infinity), TypeParam(1));
  EXPECT_EQ(tanh_of(-infinity), TypeParam(-1));
  EXPECT_EQ(tanh_of(TypeParam(1e30)), TypeParam(1));
  EXPECT_TRUE(std::isnan(tanh_of(std::numeric_limits<TypeParam>::quiet_NaN())));
}

}  // namespace
}  // namespace heed
