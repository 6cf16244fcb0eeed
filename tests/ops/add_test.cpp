#include "heed/ops/add.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/executors.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

TEST(Add, AddsElementByElementWhateverTheWorkersAndTheAddress) {
  const auto x = random_matrix<float>(900, 70, "x"), y = random_matrix<float>(900, 75, "y");
  const Matrix<float> expected = x + y.middleCols(3, 70);
  reference::Backwards backwards(3);
  for (Executor* executor : {static_cast<Executor*>(nullptr), static_cast<Executor*>(&backwards)}) {
    Workers workers(executor);
    Matrix<float> sum = y;
    add(x, sum.middleCols(3, 70), workers);
    EXPECT_TRUE(same_bits(Matrix<float>(sum.middleCols(3, 70)), expected));
    EXPECT_TRUE(same_bits(Matrix<float>(sum.leftCols(3)), Matrix<float>(y.leftCols(3))));
  }
}

}  // namespace
}  // namespace heed
