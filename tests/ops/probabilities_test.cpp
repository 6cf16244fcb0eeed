#include <gtest/gtest.h>

#include <heed/ops/probabilities.hpp>
#include <limits>
#include <type_traits>
#include <vector>

namespace {

using heed::Index;
using Kept = heed::Probabilities<float>;

static_assert(std::is_trivially_destructible_v<Kept>, "lives in arenas");

TEST(Probabilities, ByDefaultNothingIsKept) {
  const Kept none;
  EXPECT_EQ(none.rows(), 0);
  EXPECT_EQ(none.keys(), 0);
  EXPECT_FALSE(none.kept());
  EXPECT_FALSE(none.has_gradient());
}

TEST(Probabilities, StartAtZeroWithTheirGradient) {
  heed::Arena arena;
  const Kept kept = Kept::make(arena, 3, 5, heed::causal(), 2, true);
  EXPECT_TRUE(kept.kept());
  EXPECT_TRUE(kept.has_gradient());
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 5; ++j) {
      EXPECT_EQ(kept(i, j), 0.0f);
      EXPECT_EQ(kept.gradient(i, j), 0.0f);
    }
}

TEST(Probabilities, HaveNoGradientUnlessAsked) {
  heed::Arena arena;
  EXPECT_FALSE(Kept::make(arena, 3, 5, heed::causal(), 2, false).has_gradient());
}

TEST(Probabilities, RowsReadBackAsWrittenWhereTheyAreVisible) {
  heed::Arena arena;
  const Kept kept = Kept::make(arena, 2, 4, heed::window(2), 2, true);  // row i sees i + 1 and i + 2
  const std::vector<float> values = {1, 2, 3, 4};
  for (Index i = 0; i < 2; ++i) {
    kept.write_row(i, values.data());
    kept.add_gradient_row(i, values.data());
    kept.add_gradient_row(i, values.data());
  }
  std::vector<float> row(4);
  kept.read_row(0, row.data());
  EXPECT_EQ(row, (std::vector<float>{0, 2, 3, 0}));
  kept.read_row(1, row.data());
  EXPECT_EQ(row, (std::vector<float>{0, 0, 3, 4}));
  kept.read_gradient_row(1, row.data());
  EXPECT_EQ(row, (std::vector<float>{0, 0, 6, 8}));
  EXPECT_EQ(kept(0, 1), 2.0f);
}

TEST(Probabilities, AreWrittenInBothIntervalsOfAMask) {
  heed::Arena arena;
  const Kept kept = Kept::make(arena, 1, 6, heed::streaming(2, 2), 5, false);
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  kept.write_row(0, values.data());
  std::vector<float> row(6);
  kept.read_row(0, row.data());
  EXPECT_EQ(row, (std::vector<float>{1, 2, 0, 0, 5, 6}));
}

TEST(Probabilities, AreNotWrittenWhereABiasHides) {
  heed::Arena arena;
  const float added[] = {0, -std::numeric_limits<float>::infinity(), 3};
  const bool shown[] = {true, true, false};
  const Kept kept = Kept::make(arena, 1, 3, heed::causal(), 2, true, {.added = added, .shown = shown});
  const std::vector<float> values = {1, 2, 3};
  kept.write_row(0, values.data());
  kept.add_gradient_row(0, values.data());
  std::vector<float> row(3);
  kept.read_row(0, row.data());
  EXPECT_EQ(row, (std::vector<float>{1, 0, 0}));
  kept.read_gradient_row(0, row.data());
  EXPECT_EQ(row, (std::vector<float>{1, 0, 0}));
}

TEST(Probabilities, TakeFromTheArenaWhatTheySay) {
  heed::Arena arena(Kept::bytes(7, 9, true));
  Kept::make(arena, 7, 9, heed::causal(), 2, true);
  EXPECT_EQ(arena.blocks(), 1u);
}

TEST(Probabilities, AreCutToTheKeysOfTheMask) {
  heed::Arena arena;
  const Kept kept = Kept::make(arena, 3, 2, heed::causal(), -1, false);  // the first row sees nothing
  EXPECT_TRUE(kept.visible(0).empty());
  EXPECT_EQ(kept.visible(2).parts[1], (heed::Interval{0, 2}));
}

}  // namespace
