#include <gtest/gtest.h>

#include <heed/ops/mask.hpp>
#include <vector>

namespace {

using heed::Coverage;
using heed::Index;
using heed::Interval;
using heed::Mask;

const std::vector<Mask> masks = {heed::causal(),        heed::window(1), heed::window(4),
                                 heed::bidirectional(), Mask{2, 3},      Mask{0, 2}};

bool sees(const Mask& mask, Index position, Index key) {
  return key >= position - mask.left && key <= position + mask.right;
}

TEST(Mask, VisibleKeysAreThoseOfTheDefinition) {
  for (const Mask& mask : masks)
    for (Index keys : {0, 1, 7})
      for (Index position = -5; position < 12; ++position) {
        const Interval visible = mask.visible(position, keys);
        EXPECT_GE(visible.begin, 0);
        EXPECT_LE(visible.end, keys);
        for (Index key = 0; key < keys; ++key)
          EXPECT_EQ(key >= visible.begin && key < visible.end, sees(mask, position, key)) << position << " " << key;
      }
}

TEST(Mask, SeenByIsTheTransposeOfVisible) {
  for (const Mask& mask : masks)
    for (Index key = 0; key < 9; ++key) {
      const Interval rows = mask.seen_by(key, -3, 6);
      for (Index position = -3; position <= 6; ++position)
        EXPECT_EQ(position >= rows.begin && position < rows.end, sees(mask, position, key));
    }
}

TEST(Mask, CoverageIsThatOfEveryPairInTheTile) {
  for (const Mask& mask : masks)
    for (Index first_position = -3; first_position < 6; ++first_position)
      for (Index last_position = first_position; last_position < 9; ++last_position)
        for (Index first_key = 0; first_key < 6; ++first_key)
          for (Index last_key = first_key; last_key < 9; ++last_key) {
            Index seen = 0;
            for (Index p = first_position; p <= last_position; ++p)
              for (Index j = first_key; j <= last_key; ++j) seen += sees(mask, p, j) ? 1 : 0;
            const Index pairs = (last_position - first_position + 1) * (last_key - first_key + 1);
            const Coverage expected = seen == 0 ? Coverage::none : seen == pairs ? Coverage::all : Coverage::partial;
            EXPECT_EQ(mask.coverage(first_position, last_position, first_key, last_key), expected);
          }
}

TEST(Mask, AnEmptyTileIsNotCovered) {
  EXPECT_EQ(heed::bidirectional().coverage(3, 2, 0, 5), Coverage::none);
  EXPECT_EQ(heed::bidirectional().coverage(0, 2, 5, 4), Coverage::none);
}

TEST(Mask, AWindowCountsTheRowItself) {
  EXPECT_EQ(heed::window(1).visible(5, 10), (Interval{5, 6}));
  EXPECT_EQ(heed::window(3).visible(5, 10), (Interval{3, 6}));
}

TEST(Mask, AWindowOfNoKeyIsRefused) {
  try {
    heed::window(0);
    FAIL();
  } catch (const heed::ConfigError& error) {
    EXPECT_STREQ(error.what(), "window: expected 1 visible key or more (the row itself), found 0");
  }
}

TEST(Mask, OnlyBidirectionalMasksSeeAhead) {
  EXPECT_FALSE(heed::causal().sees_ahead());
  EXPECT_FALSE(heed::window(7).sees_ahead());
  EXPECT_TRUE(heed::bidirectional().sees_ahead());
  EXPECT_TRUE((Mask{0, 1}.sees_ahead()));
}

TEST(Mask, MasksCompareByWhatTheySee) {
  EXPECT_EQ(heed::causal(), heed::causal());
  EXPECT_NE(heed::causal(), heed::window(3));
  EXPECT_EQ(heed::window(heed::unbounded * 2), heed::causal());
}

}  // namespace
