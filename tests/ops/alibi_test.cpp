#include <gtest/gtest.h>

#include <heed/ops/alibi.hpp>

namespace heed {
namespace {

// The paper's example for 8 heads, and what the authors' code gives for numbers that are no power of two.
TEST(Alibi, SlopesAreThoseOfThePaper) {
  EXPECT_EQ(alibi_slopes(8), (std::vector<double>{0x1p-1, 0x1p-2, 0x1p-3, 0x1p-4, 0x1p-5, 0x1p-6, 0x1p-7, 0x1p-8}));
  EXPECT_EQ(alibi_slopes(1), (std::vector<double>{0x1p-8}));
  EXPECT_EQ(alibi_slopes(2), (std::vector<double>{0x1p-4, 0x1p-8}));
  EXPECT_EQ(alibi_slopes(4), (std::vector<double>{0x1p-2, 0x1p-4, 0x1p-6, 0x1p-8}));
}

TEST(Alibi, HeadsBeyondAPowerOfTwoTakeEveryOtherSlopeOfTwiceAsMany) {
  const std::vector<double> twelve = alibi_slopes(12), eight = alibi_slopes(8), three = alibi_slopes(3);
  ASSERT_EQ(twelve.size(), 12u);
  for (std::size_t h = 0; h < 8; ++h) EXPECT_EQ(twelve[h], eight[h]);
  for (std::size_t h = 8; h < 12; ++h) EXPECT_EQ(twelve[h], std::exp2(-0.5 - static_cast<double>(h - 8)));
  EXPECT_EQ(three, (std::vector<double>{0x1p-4, 0x1p-8, 0x1p-2}));
}

TEST(Alibi, OfNoHeadsIsEmptyAndOfFewerRefused) {
  EXPECT_TRUE(alibi_slopes(0).empty());
  try {
    alibi_slopes(-1);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "alibi_slopes: expected 0 heads or more, found -1");
  }
}

}  // namespace
}  // namespace heed
