#include "heed/ops/row_blocks.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "../reference/executors.hpp"

namespace heed {
namespace {

using detail::RowBlocks;

TEST(RowBlocks, CoverEveryRowOnceInOrder) {
  for (const Index rows : {0, 1, 7, 1000, 100000})
    for (const Index width : {0, 1, 64, 1000, 1000000}) {
      const RowBlocks blocks(rows, width);
      Index next = 0;
      for (Index block = 0; block < blocks.size(); ++block) {
        EXPECT_EQ(blocks.begin(block), next);
        EXPECT_GT(blocks.end(block), next);
        next = blocks.end(block);
      }
      EXPECT_EQ(next, rows);
    }
}

TEST(RowBlocks, AreOneForFewNumbers) {
  EXPECT_EQ(RowBlocks(64, 256).size(), 1);
  EXPECT_EQ(RowBlocks(1, 1 << 20).size(), 1);
  EXPECT_GT(RowBlocks(65, 256).size(), 1);
}

TEST(ForRows, VisitsEveryRowOnceWithAnyNumberOfWorkers) {
  reference::Threads threads(3);
  Workers workers(&threads);
  std::vector<int> visits(1000, 0);
  detail::for_rows(1000, 256, workers, [&](Index row) { ++visits[static_cast<std::size_t>(row)]; });
  EXPECT_EQ(visits, std::vector<int>(1000, 1));
}

TEST(RowOf, PointsIntoTheView) {
  Matrix<float> matrix(4, 6);
  const View<float> view = view_of(matrix.middleCols(2, 3));
  MutableView<float> writable = mutable_view_of(matrix.middleCols(2, 3));
  EXPECT_EQ(detail::row_of(view, 3), &matrix(3, 2));
  EXPECT_EQ(detail::row_of(writable, 3), &matrix(3, 2));
}

}  // namespace
}  // namespace heed
