#include "heed/ops/rotary.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/executors.hpp"
#include "../reference/rotary.hpp"
#include "../support/allocations.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

constexpr double theta = 10000;
// a sine to 2 eps, two products, their sum
constexpr Index operations = 5;

template <class Scalar>
struct RotaryOf : testing::Test {
  Serial serial;
  Workers workers{serial};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(RotaryOf, Scalars);

std::vector<Index> positions_of(const Sequences& sequences, const std::vector<Index>& past) {
  std::vector<Index> positions;
  for (Index b = 0; b < sequences.size(); ++b)
    for (Index i = 0; i < sequences.rows(b); ++i) positions.push_back(past[static_cast<std::size_t>(b)] + i);
  return positions;
}

TEST(SineAndCosine, AreGoodToFourRoundingsUpToAMillion) {
  const double eps = std::numeric_limits<double>::epsilon();
  Random random(7);
  for (int i = 0; i < 20000; ++i) {
    const double size = random.uniform(-6, 6);
    const double x = (i % 2 == 0 ? 1 : -1) * std::pow(10.0, size);
    double sine, cosine;
    detail::transform(
        1, &sine, [](auto v) { return detail::sine_and_cosine(v).sine; }, &x);
    detail::transform(
        1, &cosine, [](auto v) { return detail::sine_and_cosine(v).cosine; }, &x);
    // the two roundings of the reduction, one of the polynomial, one of the library: half an eps each
    ASSERT_NEAR(sine, std::sin(x), 2 * eps * std::abs(std::sin(x))) << x;
    ASSERT_NEAR(cosine, std::cos(x), 2 * eps * std::abs(std::cos(x))) << x;
  }
}

TYPED_TEST(RotaryOf, TurnsEveryRowByItsPosition) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const Index E : {2, 6, 8, 34, 64})
    for (const Index heads : {1, 3}) {
      const Sequences sequences{5, 0, 1, 7};
      const std::vector<Index> past = {0, 9, 131071, 40};
      const auto positions = positions_of(sequences, past);
      const auto x = random_matrix<S>(13, heads * E, "x");
      Matrix<S> y = x;
      apply_rotary(Rotary{theta}, sequences, past, E, y, this->workers);
      // Oracle and naive loops take the angle in double or wider: an angle in float is not a computation worth twice the
      // error of.
      using Angle = std::conditional_t<std::is_same_v<S, float>, double, S>;
      const Matrix<W> exact = reference::rotary<W>(x.template cast<W>(), positions, E, theta);
      const Matrix<S> naive = reference::rotary<Angle>(x.template cast<Angle>(), positions, E, theta).template cast<S>();
      expect_as_exact_as_naive(y, naive, exact, operations);
    }
}

TYPED_TEST(RotaryOf, BackwardTurnsBack) {
  using S = TypeParam;
  const Sequences sequences{5, 3};
  const std::vector<Index> past = {0, 1000};
  const auto x = random_matrix<S>(8, 36, "x");
  Matrix<S> y = x;
  apply_rotary(Rotary{theta}, sequences, past, 12, y, this->workers);
  apply_rotary_backward(Rotary{theta}, sequences, past, 12, y, this->workers);
  expect_as_exact_as_naive(y, x, x, 2 * operations);
}

TYPED_TEST(RotaryOf, BackwardIsTheTranspose) {
  using S = TypeParam;
  const Sequences sequences{7};
  const std::vector<Index> past = {3};
  const auto x = random_matrix<S>(7, 24, "x"), d_y = random_matrix<S>(7, 24, "d_y");
  Matrix<S> y = x, d_x = d_y;
  apply_rotary(Rotary{theta}, sequences, past, 8, y, this->workers);
  apply_rotary_backward(Rotary{theta}, sequences, past, 8, d_x, this->workers);
  double forward = 0, backward = 0, magnitude = 0;
  for (Index t = 0; t < 7; ++t)
    for (Index i = 0; i < 24; ++i) {
      forward += static_cast<double>(y(t, i)) * static_cast<double>(d_y(t, i));
      backward += static_cast<double>(x(t, i)) * static_cast<double>(d_x(t, i));
      magnitude += std::abs(static_cast<double>(y(t, i) * d_y(t, i)));
    }
  EXPECT_NEAR(forward, backward, 2 * operations * static_cast<double>(std::numeric_limits<S>::epsilon()) * magnitude);
}

TYPED_TEST(RotaryOf, DoesNotDependOnChunksOrWorkers) {
  using S = TypeParam;
  const auto x = random_matrix<S>(600, 36, "x");
  Matrix<S> whole = x, chunked = x, cut = x;
  apply_rotary(Rotary{theta}, Sequences{600}, std::vector<Index>{5}, 12, whole, this->workers);
  for (Index begin = 0; begin < 600; begin += 150)
    apply_rotary(Rotary{theta}, Sequences{150}, std::vector<Index>{5 + begin}, 12, chunked.middleRows(begin, 150),
                 this->workers);
  reference::Backwards backwards(3);
  Workers three(backwards);
  apply_rotary(Rotary{theta}, Sequences{600}, std::vector<Index>{5}, 12, cut, three);
  EXPECT_TRUE(same_bits(chunked, whole));
  EXPECT_TRUE(same_bits(cut, whole));
}

TYPED_TEST(RotaryOf, LeavesPositionZeroAndNoHeadsAlone) {
  using S = TypeParam;
  const auto x = random_matrix<S>(1, 8, "x");
  Matrix<S> y = x, no_heads(1, 0), no_rows(0, 8);
  apply_rotary(Rotary{theta}, Sequences{1}, std::vector<Index>{0}, 8, y, this->workers);
  apply_rotary(Rotary{theta}, Sequences{1}, std::vector<Index>{4}, 8, no_heads, this->workers);
  apply_rotary(Rotary{theta}, Sequences{0, 0}, std::vector<Index>{4, 4}, 8, no_rows, this->workers);
  EXPECT_TRUE(same_bits(y, x));
}

TYPED_TEST(RotaryOf, TakesNothingFromTheHeap) {
  using S = TypeParam;
  const Sequences sequences{1, 8};
  const std::vector<Index> past = {3, 0};
  Matrix<S> x = random_matrix<S>(9, 256, "x");
  const std::size_t before = allocations_so_far();
  apply_rotary(Rotary{theta}, sequences, past, 64, x, this->workers);
  apply_rotary_backward(Rotary{theta}, sequences, past, 64, x, this->workers);
  EXPECT_EQ(allocations_so_far(), before);
}

}  // namespace
}  // namespace heed
