#include "heed/ops/linear.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/executors.hpp"
#include "../reference/linear.hpp"
#include "../support/allocations.hpp"

namespace heed {
namespace {

using reference::Backwards;
using reference::error_of;
using reference::expect_as_exact_as_naive;
using reference::multiply_add;
using reference::random_matrix;
using reference::same_bits;
using reference::Threads;
using reference::transposed;
using reference::Wide;

struct Shape {
  Index T, in, out;
};
// One row, few rows, packed rows, more than one block of each dimension, small ones and large ones, and nothing divisible
// by a packet.
constexpr Shape shapes[] = {{1, 1, 1},    {1, 7, 33},      {3, 33, 7},    {15, 65, 130}, {16, 64, 64},    {17, 300, 150},
                            {33, 7, 129}, {140, 270, 133}, {130, 3, 600}, {2, 21, 4100}, {260, 20, 1050}, {600, 20, 40}};

template <class Scalar>
struct Linear : testing::Test {
  Serial serial;
  Workers workers{serial};
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Linear, Scalars);

// found = start + a b within the naive error
template <class Scalar>
void expect_product(const Matrix<Scalar>& found, const Matrix<Scalar>& start, const Matrix<Scalar>& a,
                    const Matrix<Scalar>& b) {
  using W = Wide<Scalar>;
  const Matrix<W> exact = multiply_add<W>(a.template cast<W>(), b.template cast<W>(), start.template cast<W>());
  expect_as_exact_as_naive(found, multiply_add(a, b, start), exact, 1);
}

TYPED_TEST(Linear, AddsTheProduct) {
  using S = TypeParam;
  for (const auto& [T, in, out] : shapes) {
    const auto x = random_matrix<S>(T, in, "x"), w = random_matrix<S>(in, out, "w"), start = random_matrix<S>(T, out, "y");
    Matrix<S> y = start;
    linear(x, w, y, this->workers);
    SCOPED_TRACE(testing::Message() << T << " x " << in << " x " << out);
    expect_product<S>(y, start, x, w);
  }
}

TYPED_TEST(Linear, BackwardAddsTheGradientOfTheProduct) {
  using S = TypeParam;
  for (const auto& [T, in, out] : shapes) {
    const auto x = random_matrix<S>(T, in, "x"), w = random_matrix<S>(in, out, "w"), d_y = random_matrix<S>(T, out, "d_y");
    const auto start_x = random_matrix<S>(T, in, "d_x"), start_w = random_matrix<S>(in, out, "d_w");
    Matrix<S> d_x = start_x, d_w = start_w;
    linear_backward(x, w, d_y, d_x, d_w, this->workers);
    SCOPED_TRACE(testing::Message() << T << " x " << in << " x " << out);
    expect_product<S>(d_x, start_x, d_y, transposed(w));
    expect_product<S>(d_w, start_w, transposed(x), d_y);
  }
}

TYPED_TEST(Linear, TransposedAddsTheProductWithTheTransposedWeight) {
  using S = TypeParam;
  for (const auto& [T, in, out] : shapes) {
    const auto x = random_matrix<S>(T, in, "x"), w = random_matrix<S>(out, in, "w"), start = random_matrix<S>(T, out, "y");
    Matrix<S> y = start;
    linear_transposed(x, w, y, this->workers);
    SCOPED_TRACE(testing::Message() << T << " x " << in << " x " << out);
    expect_product<S>(y, start, x, transposed(w));
  }
}

TYPED_TEST(Linear, TransposedBackwardAddsTheGradientOfTheProduct) {
  using S = TypeParam;
  for (const auto& [T, in, out] : shapes) {
    const auto x = random_matrix<S>(T, in, "x"), w = random_matrix<S>(out, in, "w"), d_y = random_matrix<S>(T, out, "d_y");
    const auto start_x = random_matrix<S>(T, in, "d_x"), start_w = random_matrix<S>(out, in, "d_w");
    Matrix<S> d_x = start_x, d_w = start_w;
    linear_transposed_backward(x, w, d_y, d_x, d_w, this->workers);
    SCOPED_TRACE(testing::Message() << T << " x " << in << " x " << out);
    expect_product<S>(d_x, start_x, d_y, w);
    expect_product<S>(d_w, start_w, transposed(d_y), x);
  }
}

TYPED_TEST(Linear, GivesARowAloneTheBitsItHasInABatch) {
  using S = TypeParam;
  const auto x = random_matrix<S>(150, 270, "x"), w = random_matrix<S>(270, 141, "w");
  Matrix<S> batch = Matrix<S>::Zero(150, 141), alone = batch;
  linear(x, w, batch, this->workers);
  for (Index rows : {1, 2, 7, 20})
    for (Index row = 0; row + rows <= 150; row += 13) {
      alone.setZero();
      linear(x.middleRows(row, rows), w, alone.middleRows(row, rows), this->workers);
      EXPECT_TRUE(same_bits(alone.middleRows(row, rows), batch.middleRows(row, rows))) << rows << " rows from " << row;
    }
}

TYPED_TEST(Linear, ReadsAndWritesBlocksOfWiderMatricesAtAnyAddress) {
  using S = TypeParam;
  for (Index T : {3, 40}) {
    const auto x = random_matrix<S>(T, 90, "x"), w = random_matrix<S>(40, 80, "w"), d_y = random_matrix<S>(T, 60, "d_y");
    Matrix<S> y = Matrix<S>::Zero(T, 60), d_x = Matrix<S>::Zero(T, 90), d_w = Matrix<S>::Zero(40, 80);
    linear(x.middleCols(3, 40), w.middleCols(1, 51), y.middleCols(5, 51), this->workers);
    linear_backward(x.middleCols(3, 40), w.middleCols(1, 51), d_y.middleCols(5, 51), d_x.middleCols(3, 40),
                    d_w.middleCols(1, 51), this->workers);

    const Matrix<S> x_own = x.middleCols(3, 40), w_own = w.middleCols(1, 51), d_y_own = d_y.middleCols(5, 51);
    Matrix<S> y_own = Matrix<S>::Zero(T, 51), d_x_own = Matrix<S>::Zero(T, 40), d_w_own = Matrix<S>::Zero(40, 51);
    linear(x_own, w_own, y_own, this->workers);
    linear_backward(x_own, w_own, d_y_own, d_x_own, d_w_own, this->workers);
    EXPECT_TRUE(same_bits(Matrix<S>(y.middleCols(5, 51)), y_own));
    EXPECT_TRUE(same_bits(Matrix<S>(d_x.middleCols(3, 40)), d_x_own));
    EXPECT_TRUE(same_bits(Matrix<S>(d_w.middleCols(1, 51)), d_w_own));
    EXPECT_TRUE((y.leftCols(5).array() == S(0)).all() && (y.rightCols(4).array() == S(0)).all());
    EXPECT_TRUE((d_w.leftCols(1).array() == S(0)).all() && (d_w.rightCols(28).array() == S(0)).all());
  }
}

TYPED_TEST(Linear, HasTheSameBitsForAnyNumberOfWorkers) {
  using S = TypeParam;
  for (Index T : {5, 200}) {
    const auto x = random_matrix<S>(T, 300, "x"), w = random_matrix<S>(300, 600, "w"),
               d_y = random_matrix<S>(T, 600, "d_y");
    const auto run = [&](Executor& executor) {
      Workers cut(executor);
      Matrix<S> y = Matrix<S>::Zero(T, 600), d_x = Matrix<S>::Zero(T, 300), d_w = Matrix<S>::Zero(300, 600);
      linear(x, w, y, cut);
      linear_backward(x, w, d_y, d_x, d_w, cut);
      linear_transposed(d_y, w, d_x, cut);
      Matrix<S> all(T + T + 300, 600);
      all << y, d_x, Matrix<S>::Zero(T, 300), d_w;
      return all;
    };
    Backwards backwards(3);
    Threads threads(2);
    const Matrix<S> expected = run(this->serial);
    EXPECT_TRUE(same_bits(run(backwards), expected));
    EXPECT_TRUE(same_bits(run(threads), expected));
  }
}

// With every |w' - w| <= u |w| a result moves by at most u sum_k |x_k| |w_k|.
TYPED_TEST(Linear, OfWeightsIn16BitsIsToTheBitThatOfTheRoundedOnesAndWithinWhatRoundingThemExplains) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const auto& [storage, u] : {std::pair(Storage::bfloat16, 0x1p-8), std::pair(Storage::half, 0x1p-11)})
    for (const auto& [T, in, out] : shapes) {
      SCOPED_TRACE(testing::Message() << name_of(storage) << " " << T << " x " << in << " x " << out);
      const auto x = random_matrix<S>(T, in, "x"), w = random_matrix<S>(in, out, "w"),
                 start = random_matrix<S>(T, out, "y");
      Weight<S> stored = w, stored_t = transposed(w);
      stored.store(storage), stored_t.store(storage);
      Weight<S> rounded = stored, rounded_t = stored_t;
      rounded.store(Storage::arithmetic), rounded_t.store(Storage::arithmetic);

      Matrix<S> y = start, y_rounded = start, y_t = start, y_t_rounded = start;
      linear(x, stored, y, this->workers);
      linear(x, rounded, y_rounded, this->workers);
      EXPECT_TRUE(same_bits(y, y_rounded));
      linear_transposed(x, stored_t, y_t, this->workers);
      linear_transposed(x, rounded_t, y_t_rounded, this->workers);
      EXPECT_TRUE(same_bits(y_t, y_t_rounded));
      expect_product<S>(y, start, x, static_cast<const Matrix<S>&>(rounded));

      const Matrix<W> exact = multiply_add<W>(x.template cast<W>(), w.template cast<W>(), start.template cast<W>());
      const Matrix<W> moved = multiply_add<W>(x.cwiseAbs().template cast<W>(), w.cwiseAbs().template cast<W>(),
                                              Matrix<W>(Matrix<W>::Zero(T, out)));
      const double in_scalar = error_of(multiply_add(x, w, start), exact), place = u * (1 + 0x1p-16);  // a double's tie
      for (Index t = 0; t < T; ++t)
        for (Index j = 0; j < out; ++j)
          ASSERT_LE(std::abs(static_cast<double>(W(y(t, j)) - exact(t, j))),
                    place * static_cast<double>(moved(t, j)) + 2 * in_scalar + 0x1p-50);
    }
}

// Every width of a packet, with and without what is left of it; columns of every number of blocks, and so many numbers that
// rows are asked for; every number of rows that is multiplied in place.
TYPED_TEST(Linear, TransposedOfFewRowsAndWeightsIn16BitsIsToTheBitThatOfTheRoundedOnes) {
  using S = TypeParam;
  constexpr Index width = detail::full_width<S>;
  std::vector<std::pair<Index, Index>> sizes;  // out, in
  for (const Index in : {Index(1), width - 1, width, width + 1, 2 * width + 3})
    for (Index out = 1; out <= 9; ++out) sizes.emplace_back(out, in);
  sizes.insert(sizes.end(), {{16, 33}, {23, 70}, {135, 1021}});
  for (const Storage storage : {Storage::bfloat16, Storage::half})
    for (const auto& [out, in] : sizes) {
      Weight<S> stored = random_matrix<S>(out, in, "w");
      stored.store(storage);
      Weight<S> rounded = stored;
      rounded.store(Storage::arithmetic);
      for (Index T = 1; T <= 15; ++T) {
        const auto x = random_matrix<S>(T, in, "x"), start = random_matrix<S>(T, out, "y");
        Matrix<S> y = start, y_rounded = start;
        linear_transposed(x, stored, y, this->workers);
        linear_transposed(x, rounded, y_rounded, this->workers);
        ASSERT_TRUE(same_bits(y, y_rounded)) << name_of(storage) << " " << T << " x " << in << " x " << out;
      }
      if (in > 100) continue;
      Matrix<S> y = Matrix<S>::Zero(3, out);
      const auto x = random_matrix<S>(3, in, "x");
      linear_transposed(x, stored, y, this->workers);
      expect_product<S>(y, Matrix<S>::Zero(3, out), x, transposed(static_cast<const Matrix<S>&>(rounded)));
    }
}

// Row i of the identity asks for column i of w: sums of one number and zeros show each number as it was widened.
TYPED_TEST(Linear, TransposedWidensEveryNumberOf16BitsExactly) {
  using S = TypeParam;
  constexpr Index in = 64, out = 1024;
  const Matrix<S> identity = Matrix<S>::Identity(in, in);
  for (const Storage storage : {Storage::bfloat16, Storage::half}) {
    std::vector<std::uint16_t> bits(std::size_t(in * out));
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
    Matrix<S> w(out, in);
    widen(storage, bits.data(), in * out, w.data());
    w = w.unaryExpr([](S x) { return std::isfinite(x) ? x : S(1); });
    Weight<S> stored = w;
    stored.store(storage);
    for (Index i = 0; i < in; i += 8) {
      Matrix<S> y = Matrix<S>::Zero(8, out);
      linear_transposed(identity.middleRows(i, 8), stored, y, this->workers);
      EXPECT_TRUE((y.array() == transposed(w).middleRows(i, 8).array()).all()) << name_of(storage);
    }
  }
}

TYPED_TEST(Linear, OfWeightsIn16BitsHasTheSameBitsForAnyNumberOfWorkersAndTakesNothingFromTheHeap) {
  using S = TypeParam;
  Backwards backwards(3);
  Workers cut(backwards);
  for (Index T : {1, 5, 40}) {
    const auto x = random_matrix<S>(T, 300, "x");
    Weight<S> w = random_matrix<S>(300, 600, "w");
    w.store(Storage::bfloat16);
    const auto run = [&](Workers& who, Matrix<S>& y, Matrix<S>& x_again) {
      const std::size_t before = allocations_so_far();
      linear(x, w, y, who);
      linear_transposed(y, w, x_again, who);
      return allocations_so_far() - before;
    };
    Matrix<S> y = Matrix<S>::Zero(T, 600), y_cut = y, x_again = Matrix<S>::Zero(T, 300), x_again_cut = x_again;
    EXPECT_EQ(run(this->workers, y, x_again), 0u);
    run(cut, y_cut, x_again_cut);
    EXPECT_TRUE(same_bits(y_cut, y));
    EXPECT_TRUE(same_bits(x_again_cut, x_again));
    EXPECT_EQ(this->workers.blocks(), 1u);
  }
}

TYPED_TEST(Linear, DoesNothingForNoRowsAndAddsNothingForNoTerms) {
  using S = TypeParam;
  const Matrix<S> w = random_matrix<S>(5, 6, "w"), none(0, 5), no_terms(4, 0), no_weights(0, 6);
  Matrix<S> y(0, 6), d_x(0, 5), d_w = Matrix<S>::Ones(5, 6), kept = Matrix<S>::Ones(4, 6);
  linear(none, w, y, this->workers);
  linear_backward(none, w, y, d_x, d_w, this->workers);
  linear(no_terms, no_weights, kept, this->workers);
  EXPECT_TRUE((d_w.array() == S(1)).all());
  EXPECT_TRUE((kept.array() == S(1)).all());
}

TYPED_TEST(Linear, FitsTheDefaultScratchOfAWorker) {
  using S = TypeParam;
  const auto x = random_matrix<S>(300, 600, "x"), w = random_matrix<S>(600, 300, "w"),
             d_y = random_matrix<S>(300, 300, "y");
  Matrix<S> y = Matrix<S>::Zero(300, 300), d_x = Matrix<S>::Zero(300, 600), d_w = Matrix<S>::Zero(600, 300);
  linear(x, w, y, this->workers);
  linear_backward(x, w, d_y, d_x, d_w, this->workers);
  EXPECT_EQ(this->workers.blocks(), 1u);
}

TYPED_TEST(Linear, TakesNothingFromTheHeap) {
  using S = TypeParam;
  for (Index T : {1, 4, 40}) {
    const auto x = random_matrix<S>(T, 300, "x"), w = random_matrix<S>(300, 200, "w"),
               d_y = random_matrix<S>(T, 200, "d_y");
    Matrix<S> y = Matrix<S>::Zero(T, 200), d_x = Matrix<S>::Zero(T, 300), d_w = Matrix<S>::Zero(300, 200);
    const std::size_t before = allocations_so_far();
    linear(x, w, y, this->workers);
    linear_transposed(d_y, w, d_x, this->workers);
    linear_backward(x, w, d_y, d_x, d_w, this->workers);
    EXPECT_EQ(allocations_so_far(), before) << T << " rows";
  }
}

}  // namespace
}  // namespace heed
