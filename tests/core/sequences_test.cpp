#include "heed/core/sequences.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

TEST(Sequences, SayWhereEachBeginsAndHowManyRowsItHas) {
  const Sequences sequences{5, 0, 3};
  EXPECT_EQ(sequences.size(), 3);
  EXPECT_EQ(sequences.rows(), 8);
  const Index begins[] = {0, 5, 5}, rows[] = {5, 0, 3};
  for (Index b = 0; b < 3; ++b) {
    EXPECT_EQ(sequences.begin(b), begins[b]);
    EXPECT_EQ(sequences.rows(b), rows[b]);
  }
}

TEST(Sequences, AreSeenThroughADivision) {
  const Sequences sequences{5, 0, 3};
  const Division division = sequences;
  EXPECT_EQ(division.sequences(), 3);
  EXPECT_EQ(division.rows(), 8);
  EXPECT_EQ(division.begin(2), 5);
  EXPECT_EQ(division.rows(2), 3);
}

TEST(Sequences, OfOneLengthAreMadeByEach) {
  const Sequences sequences = Sequences::each(4, 7);
  EXPECT_EQ(sequences.size(), 4);
  EXPECT_EQ(sequences.rows(), 28);
  EXPECT_EQ(sequences.begin(3), 21);
}

TEST(Sequences, MayBeNone) {
  const Sequences none{};
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.rows(), 0);
}

TEST(Sequences, RefuseANegativeLengthAndNameIt) {
  try {
    Sequences{3, -1};
    FAIL() << "no error for -1 rows";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "sequence 1: expected 0 rows or more, found -1");
  }
}

TEST(Sequences, KeepTheirDivisionWhenCopied) {
  Sequences copy{1};
  {
    const Sequences original{2, 3};
    copy = original;
  }
  EXPECT_EQ(copy.division().rows(1), 3);
}

}  // namespace
}  // namespace heed
