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

// Every way in which a head of 16 features may turn.
std::vector<Rotary> all_ways() {
  const std::vector<RotaryScaling> scalings = {
      Unscaled{},
      LinearScaling{4},
      NtkScaling{4},
      DynamicNtkScaling{4, 64, 256},
      YarnScaling{.factor = 4, .original_positions = 64},
      Llama3Scaling{.factor = 4, .original_positions = 64},
      LongRopeScaling{{1, 1, 1, 2}, {1, 2, 3, 4}, 4, 64, 256, {}},
  };
  std::vector<Rotary> ways;
  for (const RotaryPairs pairs : {RotaryPairs::half_split, RotaryPairs::interleaved})
    for (const RotaryScaling& scaling : scalings) ways.push_back({theta, 8, pairs, scaling});
  ways.push_back({theta, 0, RotaryPairs::interleaved, Unscaled{}});
  ways.push_back({theta, 0, RotaryPairs::half_split, YarnScaling{.factor = 40, .original_positions = 4096}});
  return ways;
}

TYPED_TEST(RotaryOf, TurnsItsPairsByItsFrequenciesAndLeavesTheRest) {
  using S = TypeParam;
  using W = Wide<S>;
  using Angle = std::conditional_t<std::is_same_v<S, float>, double, S>;
  const std::vector<Index> positions = {0, 7, 3, 131071, 2};
  const auto x = random_matrix<S>(5, 3 * 16, "x");
  for (const Rotary& rotary : all_ways()) {
    const RotaryFrequencies by = inverse_frequencies(rotary, 16);
    const std::vector<W> in_wide(by.inverse.begin(), by.inverse.end());
    const std::vector<Angle> in_angle(by.inverse.begin(), by.inverse.end());
    const Matrix<W> exact =
        reference::rotary<W>(x.template cast<W>(), positions, 16, in_wide, rotary.pairs, static_cast<W>(by.magnitude));
    const Matrix<S> naive = reference::rotary<Angle>(x.template cast<Angle>(), positions, 16, in_angle, rotary.pairs,
                                                     static_cast<Angle>(by.magnitude))
                                .template cast<S>();
    const Matrix<S> y = rotate(x, positions, 16, rotary);
    expect_as_exact_as_naive(y, naive, exact, operations + 1);
    const Index width = rotary.width == 0 ? 16 : rotary.width;
    for (Index head = 0; head < 3; ++head)
      EXPECT_TRUE(same_bits(y.middleCols(16 * head + width, 16 - width), x.middleCols(16 * head + width, 16 - width)));
  }
}

TYPED_TEST(RotaryOf, BackwardIsTheTransposeInEveryWay) {
  using S = TypeParam;
  const std::vector<Index> positions = {5, 0, 1000};
  const auto x = random_matrix<S>(3, 32, "x"), d_y = random_matrix<S>(3, 32, "d_y");
  for (const Rotary& rotary : all_ways()) {
    Matrix<S> y = x, d_x = d_y;
    apply_rotary(rotary, positions, 16, y, this->workers);
    apply_rotary_backward(rotary, positions, 16, d_x, this->workers);
    double forward = 0, backward = 0, magnitude = 0;
    for (Index i = 0; i < x.size(); ++i) {
      forward += static_cast<double>(y.data()[i]) * static_cast<double>(d_y.data()[i]);
      backward += static_cast<double>(x.data()[i]) * static_cast<double>(d_x.data()[i]);
      magnitude += std::abs(static_cast<double>(y.data()[i] * d_y.data()[i]));
    }
    EXPECT_NEAR(forward, backward, 2 * operations * static_cast<double>(std::numeric_limits<S>::epsilon()) * magnitude);
  }
}

TYPED_TEST(RotaryOf, KeepsItsDigitsAtLatePositions) {
  using S = TypeParam;
  using Angle = std::conditional_t<std::is_same_v<S, float>, double, S>;
  // 10^6 is where the fast sine ends
  const std::vector<Index> positions = {999999, 1000000, 1000001, 10000019, 1000000007};
  const auto x = random_matrix<S>(5, 64, "x");
  const Matrix<Wide<S>> exact = reference::rotary<Wide<S>>(x.template cast<Wide<S>>(), positions, 64, theta);
  const Matrix<S> naive = reference::rotary<Angle>(x.template cast<Angle>(), positions, 64, theta).template cast<S>();
  expect_as_exact_as_naive(rotate(x, positions, 64), naive, exact, operations);
}

TYPED_TEST(RotaryOf, GivesPackedRowsWhatTheirPositionsGive) {
  using S = TypeParam;
  const Sequences sequences{5, 0, 1, 7};
  const std::vector<Index> past = {0, 9, 131071, 40};
  const auto x = random_matrix<S>(13, 36, "x");
  Matrix<S> y = x;
  apply_rotary(Rotary{theta}, sequences, past, 12, y, this->workers);
  EXPECT_TRUE(same_bits(rotate(x, positions_of(sequences, past), 12), y));
}

// The table need not hold cosines and sines: any numbers are combined so.
TYPED_TEST(RotaryOf, TurnsByTheRowsOfATable) {
  using S = TypeParam;
  using W = Wide<S>;
  const auto x = random_matrix<S>(4, 20, "x"), cosines = random_matrix<S>(9, 3, "cosines"),
             sines = random_matrix<S>(9, 3, "sines"), d_y = random_matrix<S>(4, 20, "d_y");
  const std::vector<Index> positions = {8, 0, 3, 3};
  for (const RotaryPairs pairs : {RotaryPairs::half_split, RotaryPairs::interleaved}) {
    const RotaryTable<S> table{view_of(cosines), view_of(sines), pairs};
    Matrix<S> y = x, d_x = d_y;
    apply_rotary(table, positions, 10, y, this->workers);
    apply_rotary_backward(table, positions, 10, d_x, this->workers);
    const auto loops = [&](auto of, Index sign) {
      using T = decltype(of);
      const Matrix<T> from = (sign > 0 ? x : d_y).template cast<T>();
      Matrix<T> to = from;
      for (Index t = 0; t < 4; ++t)
        for (const Index head : {0, 10})
          for (Index i = 0; i < 3; ++i) {
            const Index a = pairs == RotaryPairs::half_split ? head + i : head + 2 * i;
            const Index b = pairs == RotaryPairs::half_split ? a + 3 : a + 1;
            const Index p = positions[static_cast<std::size_t>(t)];
            const T c = static_cast<T>(cosines(p, i)), s = static_cast<T>(sign) * static_cast<T>(sines(p, i));
            to(t, a) = from(t, a) * c - from(t, b) * s;
            to(t, b) = from(t, b) * c + from(t, a) * s;
          }
      return to;
    };
    expect_as_exact_as_naive(y, loops(S(), 1), loops(W(), 1), operations);
    expect_as_exact_as_naive(d_x, loops(S(), -1), loops(W(), -1), operations);
  }
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
  const std::vector<Index> past = {3, 0}, positions = positions_of(sequences, past);
  Matrix<S> x = random_matrix<S>(9, 64, "x");
  for (const Rotary& rotary : all_ways()) {
    const std::size_t before = allocations_so_far();
    apply_rotary(rotary, sequences, past, 16, x, this->workers);
    apply_rotary_backward(rotary, sequences, past, 16, x, this->workers);
    apply_rotary(rotary, positions, 16, x, this->workers);
    EXPECT_EQ(allocations_so_far(), before);
  }
}

template <class F>
std::string error_of_call(F&& f) {
  try {
    f();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Rotary, RefusesShapesThatCannotTurn) {
  const Matrix<float> x = Matrix<float>::Zero(2, 12), table = Matrix<float>::Zero(5, 2), wide = Matrix<float>::Zero(5, 4);
  Matrix<float> y = x;
  Workers workers;
  const std::vector<Index> two = {0, 4}, one = {0}, late = {0, 5};
  EXPECT_EQ(error_of_call([&] { rotate(x, two, 5); }), "rotary: x: expected the columns of heads of width 5, found 12");
  EXPECT_EQ(error_of_call([&] { rotate(x, one, 6); }), "rotary: positions: expected one for each of 2 rows, found 1");
  const auto by_table = [&](const Matrix<float>& cosines, const Matrix<float>& sines, const std::vector<Index>& at) {
    return error_of_call([&] { apply_rotary(RotaryTable<float>{view_of(cosines), view_of(sines)}, at, 6, y, workers); });
  };
  EXPECT_EQ(by_table(table, table, two), "no error");
  EXPECT_EQ(by_table(table, wide, two), "rotary: sines: expected [5 x 2], found [5 x 4]");
  EXPECT_EQ(by_table(wide, wide, two), "rotary: cosines: expected at most 3 columns for heads of width 6, found 4");
  EXPECT_EQ(by_table(table, table, late), "rotary: positions: expected 0 to 4, found 5");
}

TEST(Rotary, NamesTheLayerAndTheOptionThatCannotBe) {
  const auto of = [](const Rotary& rotary, Index head_width) {
    return error_of_call([&] { check_rotary(rotary, head_width, "layer 3"); });
  };
  EXPECT_EQ(of({}, 8), "no error");
  EXPECT_EQ(of({.width = 4}, 7), "no error");
  EXPECT_EQ(of({}, 7), "layer 3: head_width: expected an even number (rotary pairs), found 7");
  EXPECT_EQ(of({.width = 3}, 8), "layer 3: rotary: width: expected an even number from 0 to the head width 8, found 3");
  EXPECT_EQ(of({.width = 10}, 8), "layer 3: rotary: width: expected an even number from 0 to the head width 8, found 10");
  EXPECT_EQ(of({.theta = 0}, 8), "layer 3: rotary: theta: expected a finite number above 0, found 0.000000");
  EXPECT_EQ(of({.scaling = LinearScaling{0.5}}, 8),
            "layer 3: rotary: factor: expected a finite number, 1 or more, found 0.500000");
}

}  // namespace
}  // namespace heed
