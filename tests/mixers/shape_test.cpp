#include "heed/mixers/shape.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

constexpr Shape layer = {
    .width = 24, .head_width = 5, .value_width = 7, .group = 3, .hidden = 64, .heads = {0, 12}, .kv_heads = {0, 4}};

TEST(Shape, WidthsAreThoseOfItsHeads) {
  EXPECT_EQ(layer.q_width(), 60);
  EXPECT_EQ(layer.k_width(), 20);
  EXPECT_EQ(layer.v_width(), 28);
  EXPECT_EQ(layer.o_width(), 84);
}

TEST(Shape, ARangeOfKvHeadsTakesItsQueryHeadsAlong) {
  const Shape part = layer.kv_range(1, 2);
  EXPECT_EQ(part.kv_heads, (HeadRange{1, 2}));
  EXPECT_EQ(part.heads, (HeadRange{3, 6}));
  EXPECT_EQ(part.q_width(), 30);
  EXPECT_EQ(part.o_width(), 42);
  EXPECT_EQ(part.width, 24);
  EXPECT_EQ(part.group, 3);
  EXPECT_EQ(part.hidden, 64);
}

TEST(Shape, ARangeOfARangeIsCountedFromTheLayersFirstHead) {
  const Shape part = layer.kv_range(1, 3).kv_range(2, 1);
  EXPECT_EQ(part.kv_heads, (HeadRange{3, 1}));
  EXPECT_EQ(part.heads, (HeadRange{9, 3}));
}

TEST(Shape, NoHeadsAreLegal) {
  const Shape part = layer.kv_range(4, 0);
  EXPECT_EQ(part.q_width(), 0);
  EXPECT_EQ(part.k_width(), 0);
  EXPECT_EQ(part.v_width(), 0);
  EXPECT_EQ(part.o_width(), 0);
  EXPECT_EQ(part.heads, (HeadRange{12, 0}));
}

TEST(Shape, TheWholeRangeIsTheLayer) {
  const Shape whole = layer.kv_range(0, 4);
  EXPECT_EQ(whole.kv_heads, layer.kv_heads);
  EXPECT_EQ(whole.heads, layer.heads);
}

}  // namespace
}  // namespace heed
