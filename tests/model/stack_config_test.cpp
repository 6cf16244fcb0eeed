#include "heed/model/stack_config.hpp"

#include <gtest/gtest.h>

#include <string>

#include "support/error_text.hpp"

namespace heed {
namespace {

std::string refusal(const Sizes& sizes) {
  return error_text<ConfigError>([&] { static_cast<void>(sizes.shape()); });
}

TEST(Sizes, OfWhichWidthAndHeadsAreGivenHaveDefaults) {
  const Shape shape = Sizes{.width = 64, .heads = 4}.shape();
  EXPECT_EQ(shape.width, 64);
  EXPECT_EQ(shape.heads, (HeadRange{0, 4}));
  EXPECT_EQ(shape.kv_heads, (HeadRange{0, 4}));
  EXPECT_EQ(shape.group, 1);
  EXPECT_EQ(shape.head_width, 16);
  EXPECT_EQ(shape.value_width, 16);
  EXPECT_EQ(shape.hidden, 176);  // 8 * 64 / 3 = 170.7, in sixteens
}

TEST(Sizes, AreWhatTheySay) {
  const Shape shape =
      Sizes{.width = 14, .heads = 6, .kv_heads = 2, .head_width = 8, .value_width = 5, .hidden = 11}.shape();
  EXPECT_EQ(shape.heads, (HeadRange{0, 6}));
  EXPECT_EQ(shape.kv_heads, (HeadRange{0, 2}));
  EXPECT_EQ(shape.group, 3);
  EXPECT_EQ(shape.head_width, 8);
  EXPECT_EQ(shape.value_width, 5);
  EXPECT_EQ(shape.hidden, 11);
  EXPECT_EQ(shape.q_width(), 48);
  EXPECT_EQ(shape.k_width(), 16);
  EXPECT_EQ(shape.v_width(), 10);
  EXPECT_EQ(shape.o_width(), 30);
}

TEST(Sizes, TheDefaultHiddenWidthIsAMultipleOfSixteen) {
  EXPECT_EQ((Sizes{.width = 6, .heads = 1}.shape().hidden), 16);   // 8 D / 3 = 16
  EXPECT_EQ((Sizes{.width = 7, .heads = 1}.shape().hidden), 32);   // 18.7
  EXPECT_EQ((Sizes{.width = 1, .heads = 1}.shape().hidden), 16);   // 2.7
  EXPECT_EQ((Sizes{.width = 12, .heads = 1}.shape().hidden), 32);  // 32
}

TEST(Sizes, WithoutAWidthOrHeadsAreRefused) {
  EXPECT_EQ(refusal({.width = 0, .heads = 1}), "width: expected 1 or more, found 0");
  EXPECT_EQ(refusal({.width = 8}), "heads: expected 1 or more, found 0");
  EXPECT_EQ(refusal({.width = 8, .heads = -2}), "heads: expected 1 or more, found -2");
}

TEST(Sizes, OfKvHeadsThatDoNotDivideTheHeadsAreRefused) {
  EXPECT_EQ(refusal({.width = 8, .heads = 4, .kv_heads = 3}), "kv_heads: expected a divisor of heads = 4, found 3");
  EXPECT_EQ(refusal({.width = 8, .heads = 4, .kv_heads = 8}), "kv_heads: expected a divisor of heads = 4, found 8");
  EXPECT_EQ(refusal({.width = 8, .heads = 4, .kv_heads = -2}), "kv_heads: expected a divisor of heads = 4, found -2");
}

TEST(Sizes, OfHeadsThatDoNotDivideTheWidthAreRefused) {
  EXPECT_EQ(refusal({.width = 9, .heads = 4}),
            "head_width: expected 1 or more, or width divisible by heads; found head_width 0, width 9, heads 4");
  EXPECT_EQ(refusal({.width = 8, .heads = 4, .head_width = -1}),
            "head_width: expected 1 or more, or width divisible by heads; found head_width -1, width 8, heads 4");
  EXPECT_EQ(refusal({.width = 9, .heads = 4, .head_width = 2}), "no error");
}

TEST(Sizes, OfANegativeValueWidthAreRefused) {
  EXPECT_EQ(refusal({.width = 8, .heads = 2, .value_width = -1}), "value_width: expected 0 or more, found -1");
}

TEST(Sizes, OfANegativeHiddenWidthAreRefused) {
  EXPECT_EQ(refusal({.width = 8, .heads = 4, .hidden = -1}), "hidden: expected 0 or more, found -1");
}

TEST(Sizes, ThatNoProductOfTwoCanBeCountedOfAreRefused) {
  constexpr Index vast = Index(1) << 62;
  EXPECT_EQ(refusal({.width = largest_size, .heads = 1}), "no error");
  EXPECT_EQ(refusal({.width = largest_size + 1, .heads = 1}), "sizes: expected at most 1048576, found 1048577");
  for (const Sizes& sizes :
       {Sizes{.width = vast, .heads = 1}, Sizes{.width = vast, .heads = vast},
        Sizes{.width = 8, .heads = 2, .head_width = vast}, Sizes{.width = 8, .heads = 2, .value_width = vast},
        Sizes{.width = 8, .heads = 2, .hidden = vast}})
    EXPECT_EQ(refusal(sizes), "sizes: expected at most 1048576, found 4611686018427387904");
}

}  // namespace
}  // namespace heed
