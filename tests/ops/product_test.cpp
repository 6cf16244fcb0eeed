#include "heed/ops/product.hpp"

#include <gtest/gtest.h>

#include "heed/ops/kernels/stored_rows.hpp"

#include "../reference/bounds.hpp"
#include "../reference/linear.hpp"

namespace heed {
namespace {

using detail::accumulate;
using detail::accumulate_dots;
using detail::PlainRows;
using detail::Strided;
using reference::expect_as_exact_as_naive;
using reference::multiply_add;
using reference::random_matrix;
using reference::same_bits;
using reference::transposed;
using reference::Wide;

template <class Scalar>
struct Product : testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Product, Scalars);

template <class S>
Strided<S> rows_of_matrix(const Matrix<S>& a) {
  return {a.data(), a.outerStride(), 1};
}

constexpr Index row_counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 19};
constexpr Index column_counts[] = {0, 1, 2, 3, 7, 8, 15, 16, 31, 33, 64, 131, 257};
constexpr Index term_counts[] = {0, 1, 2, 7, 33};

TYPED_TEST(Product, AccumulateAddsTheProductForEveryShape) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const Index M : row_counts)
    for (const Index N : column_counts)
      for (const Index K : term_counts) {
        const auto a = random_matrix<S>(M, K, "a"), b = random_matrix<S>(K, N, "b"), start = random_matrix<S>(M, N, "c");
        Matrix<S> c = start;
        accumulate(c.data(), N, rows_of_matrix(a), b.data(), N, M, N, K);
        SCOPED_TRACE(testing::Message() << M << " x " << N << " x " << K);
        expect_as_exact_as_naive(c, multiply_add(a, b, start),
                                 multiply_add<W>(a.template cast<W>(), b.template cast<W>(), start.template cast<W>()), 1);
      }
}

TYPED_TEST(Product, AccumulateDotsAddsTheProductForEveryShape) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const Index M : row_counts)
    for (const Index N : {0, 1, 3, 4, 9, 16, 17, 37})
      for (const Index K : term_counts) {
        const auto a = random_matrix<S>(M, K, "a"), b = random_matrix<S>(N, K, "b"), start = random_matrix<S>(M, N, "c");
        Matrix<S> c = start;
        accumulate_dots(c.data(), N, a.data(), K, PlainRows<S>{b.data(), K}, M, N, K);
        SCOPED_TRACE(testing::Message() << M << " x " << N << " x " << K);
        const Matrix<S> b_t = transposed(b);
        expect_as_exact_as_naive(c, multiply_add(a, b_t, start),
                                 multiply_add<W>(a.template cast<W>(), b_t.template cast<W>(), start.template cast<W>()),
                                 1);
      }
}

TYPED_TEST(Product, AccumulateTakesATransposedAndSpacedOutA) {
  using S = TypeParam;
  const Index M = 13, N = 33, K = 19;
  const auto a = random_matrix<S>(M, K, "a"), b = random_matrix<S>(K, N, "b");
  const Matrix<S> a_t = transposed(a);
  Matrix<S> spaced = Matrix<S>::Zero(2 * M, 3 * K);
  for (Index i = 0; i < M; ++i)
    for (Index k = 0; k < K; ++k) spaced(2 * i, 3 * k) = a(i, k);
  Matrix<S> c = Matrix<S>::Zero(M, N), of_transposed = c, of_spaced = c;
  accumulate(c.data(), N, rows_of_matrix(a), b.data(), N, M, N, K);
  accumulate(of_transposed.data(), N, Strided<S>{a_t.data(), 1, M}, b.data(), N, M, N, K);
  accumulate(of_spaced.data(), N, Strided<S>{spaced.data(), 2 * 3 * K, 3}, b.data(), N, M, N, K);
  EXPECT_TRUE(same_bits(of_transposed, c));
  EXPECT_TRUE(same_bits(of_spaced, c));
}

TYPED_TEST(Product, AccumulateTouchesOnlyItsBlock) {
  using S = TypeParam;
  const auto a = random_matrix<S>(5, 7, "a"), b = random_matrix<S>(7, 33, "b");
  const Matrix<S> start = random_matrix<S>(9, 50, "c");
  Matrix<S> c = start, own = start.block(2, 3, 5, 33);
  accumulate(&c(2, 3), 50, rows_of_matrix(a), b.data(), 33, 5, 33, 7);
  accumulate(own.data(), 33, rows_of_matrix(a), b.data(), 33, 5, 33, 7);
  EXPECT_TRUE(same_bits(Matrix<S>(c.block(2, 3, 5, 33)), own));
  c.block(2, 3, 5, 33) = start.block(2, 3, 5, 33);
  EXPECT_TRUE(same_bits(c, start));
}

TYPED_TEST(Product, AccumulateHasTheSameBitsHoweverItIsCut) {
  using S = TypeParam;
  const Index M = 21, N = 161, K = 50;
  const auto a = random_matrix<S>(M, K, "a"), b = random_matrix<S>(K, N, "b"), start = random_matrix<S>(M, N, "c");
  Matrix<S> whole = start;
  accumulate(whole.data(), N, rows_of_matrix(a), b.data(), N, M, N, K);
  for (const Index rows : {1, 2, 3, 5, 8, 21})
    for (const Index columns : {1, 7, 16, 33, 64, 161})
      for (const Index terms : {1, 6, 50}) {
        Matrix<S> cut = start;
        for (Index i = 0; i < M; i += rows)
          for (Index j = 0; j < N; j += columns)
            for (Index k = 0; k < K; k += terms)
              accumulate(&cut(i, j), N, Strided<S>{&a(i, k), K, 1}, &b(k, j), N, (std::min)(rows, M - i),
                         (std::min)(columns, N - j), (std::min)(terms, K - k));
        ASSERT_TRUE(same_bits(cut, whole)) << rows << " rows, " << columns << " columns, " << terms << " terms at a time";
      }
}

TYPED_TEST(Product, KeepsNotANumberInItsRowAndColumn) {
  using S = TypeParam;
  Matrix<S> a = random_matrix<S>(9, 7, "a"), b = random_matrix<S>(7, 33, "b"), c = Matrix<S>::Zero(9, 33);
  a(4, 2) = std::numeric_limits<S>::quiet_NaN();
  b(3, 20) = std::numeric_limits<S>::quiet_NaN();
  accumulate(c.data(), 33, rows_of_matrix(a), b.data(), 33, 9, 33, 7);
  for (Index i = 0; i < 9; ++i)
    for (Index j = 0; j < 33; ++j) EXPECT_EQ(std::isnan(c(i, j)), i == 4 || j == 20);
}

}  // namespace
}  // namespace heed
