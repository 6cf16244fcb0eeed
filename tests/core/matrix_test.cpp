#include "heed/core/matrix.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

// element (i, j) is 10 i + j
Matrix<double> numbered(Index rows, Index cols) {
  Matrix<double> matrix(rows, cols);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < cols; ++j) matrix(i, j) = static_cast<double>(10 * i + j);
  return matrix;
}

TEST(ViewOf, SeesTheMatrixWithoutACopy) {
  Matrix<double> matrix = numbered(3, 4);
  const View<double> view = view_of(matrix);
  EXPECT_EQ(view.data(), matrix.data());
  EXPECT_EQ(view, matrix);
  matrix(2, 1) = -1;
  EXPECT_EQ(view(2, 1), -1);
}

TEST(ViewOf, KeepsTheStrideOfABlock) {
  const Matrix<double> matrix = numbered(4, 6);
  const View<double> view = view_of(matrix.block(1, 2, 2, 3));
  EXPECT_EQ(view.outerStride(), 6);
  EXPECT_EQ(view, matrix.block(1, 2, 2, 3));
}

TEST(ViewOf, TakesRowsViewsAndMapsOfMemory) {
  const Matrix<double> matrix = numbered(4, 6);
  EXPECT_EQ(view_of(matrix.row(2)), matrix.row(2));
  EXPECT_EQ(view_of(view_of(matrix)), matrix);
  const double memory[] = {1, 2, 3, 4, 5, 6, 7, 8};
  const View<double> map = view_of(memory, 2, 3, 4);
  EXPECT_EQ(map, (Matrix<double>{{1, 2, 3}, {5, 6, 7}}));
}

TEST(MutableViewOf, WritesToTheMatrixOrTheBlockOfOne) {
  Matrix<double> matrix = numbered(4, 6);
  mutable_view_of(matrix)(0, 0) = -1;
  mutable_view_of(matrix.block(1, 2, 2, 3)).setConstant(-2);
  EXPECT_EQ(matrix(0, 0), -1);
  EXPECT_TRUE((matrix.block(1, 2, 2, 3).array() == -2).all());
  EXPECT_EQ(matrix(1, 1), 11);
  EXPECT_EQ(matrix(1, 5), 15);
}

TEST(RowsOfAndColsOf, AreWindowsOnTheSameMemory) {
  Matrix<double> matrix = numbered(4, 6);
  const View<double> view = view_of(matrix);
  EXPECT_EQ(rows_of(view, 1, 2), matrix.middleRows(1, 2));
  EXPECT_EQ(cols_of(view, 2, 3), matrix.middleCols(2, 3));
  EXPECT_EQ(cols_of(rows_of(view, 1, 2), 2, 3), matrix.block(1, 2, 2, 3));

  const MutableView<double> writable = mutable_view_of(matrix);
  rows_of(cols_of(writable, 2, 3), 1, 2).setZero();
  EXPECT_TRUE((matrix.block(1, 2, 2, 3).array() == 0).all());
  EXPECT_EQ(matrix(1, 1), 11);
}

TEST(Views, OfNoRowsOrNoColumnsAreEmpty) {
  Matrix<double> no_rows(0, 5), no_cols(5, 0);
  EXPECT_EQ(view_of(no_rows).rows(), 0);
  EXPECT_EQ(view_of(no_rows).cols(), 5);
  EXPECT_EQ(mutable_view_of(no_cols).cols(), 0);
  EXPECT_EQ(rows_of(view_of(no_cols), 2, 3).rows(), 3);
}

}  // namespace
}  // namespace heed
