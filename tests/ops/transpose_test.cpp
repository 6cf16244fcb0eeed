#include "heed/ops/transpose.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"

namespace heed {
namespace {

template <class Scalar>
struct Transpose : testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Transpose, Scalars);

TYPED_TEST(Transpose, CopiesEveryElementAndTouchesNothingElse) {
  using S = TypeParam;
  for (const Index M : {0, 1, 3, 4, 8, 15, 16, 17, 33})
    for (const Index N : {0, 1, 2, 7, 16, 31, 48}) {
      const Matrix<S> from = reference::random_matrix<S>(M, N + 2, "from");
      Matrix<S> to = Matrix<S>::Constant(N, M + 3, S(7)), expected = to;
      for (Index i = 0; i < M; ++i)
        for (Index j = 0; j < N; ++j) expected(j, i) = from(i, j);
      detail::transpose(to.data(), to.cols(), from.data(), from.cols(), M, N);
      EXPECT_TRUE(reference::same_bits(to, expected)) << M << " x " << N;
    }
}

}  // namespace
}  // namespace heed
