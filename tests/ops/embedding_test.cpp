#include "heed/ops/embedding.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "../reference/bounds.hpp"

namespace heed {
namespace {

using reference::random_matrix;

template <class Scalar>
struct Embedding : testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Embedding, Scalars);

TYPED_TEST(Embedding, CopiesTheRowOfEveryToken) {
  using S = TypeParam;
  const std::vector<int> tokens = {4, 0, 4, 2};
  const auto table = random_matrix<S>(5, 13, "table");
  Matrix<S> y(4, 13);
  embed(tokens, table, y);
  for (Index t = 0; t < 4; ++t) EXPECT_EQ(y.row(t), table.row(tokens[static_cast<std::size_t>(t)]));
}

TYPED_TEST(Embedding, BackwardAddsEveryRowToItsToken) {
  using S = TypeParam;
  const std::vector<int> tokens = {4, 0, 4, 2};
  const auto d_y = random_matrix<S>(4, 13, "d_y"), start = random_matrix<S>(5, 13, "d_table");
  Matrix<S> d_table = start;
  embed_backward(tokens, d_y, d_table);
  Matrix<S> expected = start;
  for (Index t = 0; t < 4; ++t) expected.row(tokens[static_cast<std::size_t>(t)]) += d_y.row(t);
  EXPECT_EQ(d_table, expected);
}

TYPED_TEST(Embedding, OfNoTokensChangesNothing) {
  using S = TypeParam;
  const auto table = random_matrix<S>(5, 13, "table");
  Matrix<S> y(0, 13), d_table = table;
  embed(std::vector<int>{}, table, y);
  embed_backward(std::vector<int>{}, y, d_table);
  EXPECT_EQ(d_table, table);
}

}  // namespace
}  // namespace heed
