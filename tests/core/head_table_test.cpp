#include "heed/core/head_table.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

TEST(HeadTable, HasAnEntryForEverySequenceAndHead) {
  Arena arena;
  const auto table = HeadTable<int>::make(arena, 3, 4);
  int next = 0;
  for (Index b = 0; b < 3; ++b)
    for (Index h = 0; h < 4; ++h) {
      EXPECT_EQ(table.at(b, h), 0);
      table.at(b, h) = next++;
    }
  for (int i = 0; i < 12; ++i) EXPECT_EQ(table.entries[i], i);
}

TEST(HeadTable, SharesEntriesWithATableOfSomeHeads) {
  Arena arena;
  const auto table = HeadTable<int>::make(arena, 2, 5);
  const auto some = table.heads_of(1, 3), fewer = some.heads_of(1, 1);
  EXPECT_EQ(some.heads, 3);
  EXPECT_EQ(some.sequences, 2);
  some.at(1, 2) = 7;
  fewer.at(1, 0) = 8;
  EXPECT_EQ(table.at(1, 3), 7);
  EXPECT_EQ(table.at(1, 2), 8);
}

TEST(HeadTable, MayHaveNoHeads) {
  Arena arena;
  const auto table = HeadTable<int>::make(arena, 3, 0);
  EXPECT_EQ(table.heads, 0);
  EXPECT_EQ(table.heads_of(0, 0).sequences, 3);
}

TEST(HeadRows, AreViewedWithTheirOwnStrides) {
  const float data[] = {1, 2, 0, 3, 4, 0};
  float gradient[] = {0, 0, 0, 0};
  const HeadRows<float> rows{data, gradient, 2, 2, 3, 2};
  EXPECT_EQ(rows.view(), (Matrix<float>{{1, 2}, {3, 4}}));
  rows.gradient_view() += rows.view();
  EXPECT_EQ(gradient[3], 4);
}

}  // namespace
}  // namespace heed
