#include <gtest/gtest.h>

#include <heed/ops/probabilities.hpp>
#include <limits>
#include <type_traits>
#include <vector>

namespace {

using heed::Index;
using heed::Storage;
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
  const Kept kept = Kept::make(arena, {.rows = 3, .keys = 5, .past = 2, .gradient = true});
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
  EXPECT_FALSE(Kept::make(arena, {.rows = 3, .keys = 5, .past = 2}).has_gradient());
}

TEST(Probabilities, RowsReadBackAsWrittenWhereTheyAreVisible) {
  heed::Arena arena;
  const Kept kept = Kept::make(arena, {2, 4, heed::window(2), 2, Storage::arithmetic, true});  // row i sees i + 1 and i + 2
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
  const Kept kept = Kept::make(arena, {1, 6, heed::streaming(2, 2), 5});
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
  const Kept kept =
      Kept::make(arena, {.rows = 1, .keys = 3, .past = 2, .gradient = true}, {.added = added, .shown = shown});
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
  for (const heed::Mask& mask : {heed::causal(), heed::window(3), heed::streaming(2, 5), heed::bidirectional()})
    for (const Storage storage : {Storage::arithmetic, Storage::bfloat16, Storage::half})
      for (const bool gradient : {false, true})
        for (const Index rows : {1, 7, 16, 17, 40}) {
          const heed::KeptShape shape{rows, rows + 2, mask, 2, storage, gradient};
          const std::size_t bytes = Kept::bytes(shape);
          heed::Arena arena(bytes);
          Kept::make(arena, shape);
          EXPECT_EQ(arena.blocks(), 1u);
          heed::Arena short_arena(bytes - heed::Arena::alignment);
          Kept::make(short_arena, shape);
          EXPECT_EQ(short_arena.blocks(), 2u) << "not a byte more than needed";
        }
}

TEST(Probabilities, TakeWhatTheirPanelsSee) {
  const auto numbers = [](const heed::Mask& mask) {  // of 64 rows, in floats, besides the 5 begins of 4 panels
    return Index(Kept::bytes({.rows = 64, .keys = 64, .mask = mask}) - 64) / 4;
  };
  EXPECT_EQ(numbers(heed::bidirectional()), 64 * 64);
  EXPECT_EQ(numbers(heed::causal()), 16 * (16 + 32 + 48 + 64));
  EXPECT_EQ(numbers(heed::window(5)), 16 * (16 + 3 * 20));
  EXPECT_EQ(numbers(heed::streaming(2, 5)), 16 * (16 + 3 * 22));
  EXPECT_EQ(numbers(heed::chunked(32)), 16 * (16 + 32 + 16 + 32));
}

TEST(Probabilities, AreRoundedWhereTheyAreNarrow) {
  heed::Arena arena;
  std::vector<float> values, row(40);
  for (Index i = 0; i < 40; ++i) values.push_back(0.7f / float(i + 3));
  for (const Storage storage : {Storage::bfloat16, Storage::half}) {
    const Kept kept = Kept::make(arena, {.rows = 40, .keys = 40, .storage = storage});
    for (Index i = 0; i < 40; ++i) kept.write_row(i, values.data());
    std::vector<std::uint16_t> narrow(40);
    std::vector<float> rounded(40);
    heed::narrow(storage, values.data(), 40, narrow.data());
    heed::widen(storage, narrow.data(), 40, rounded.data());
    for (Index i = 0; i < 40; ++i) {
      kept.read_row(i, row.data());
      for (Index j = 0; j < 40; ++j) EXPECT_EQ(row[std::size_t(j)], j <= i ? rounded[std::size_t(j)] : 0.0f);
    }
  }
}

TEST(Probabilities, AreCutToTheKeysOfTheMask) {
  heed::Arena arena;
  const Kept kept = Kept::make(arena, {.rows = 3, .keys = 2, .past = -1});  // the first row sees nothing
  EXPECT_TRUE(kept.visible(0).empty());
  EXPECT_EQ(kept.visible(2).parts[1], (heed::Interval{0, 2}));
}

}  // namespace
