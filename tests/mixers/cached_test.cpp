#include "heed/mixers/cached.hpp"

#include <gtest/gtest.h>

#include "reference/bounds.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

constexpr Index heads = 3;
constexpr Index width = 2;

/// Calls one after another on sequences of 5, 2 and 7 positions.
struct Calls {
  Timeline timeline{std::vector<Index>{5, 2, 7}, 0, false};
  Arena kept, scratch;
  Workers workers;

  template <class F>
  void feed(const Sequences& rows, F&& f) {
    const Pass pass{rows.division(), timeline.lengths(), timeline.slots_for(rows), Purpose::inference, kept, scratch,
                    workers};
    f(pass);
    timeline.advance(rows);
  }
};

TEST(CachedRows, ShowEverySequenceAndHeadItsOwnRows) {
  Calls calls;
  CachedRows<float> cache({{5, 2, 7}}, heads, width);
  const Matrix<float> first = random_matrix<float>(6, heads * width, "first");  // 3, 1 and 2 rows
  const Matrix<float> second = random_matrix<float>(3, heads * width, "second");
  calls.feed({3, 1, 2}, [&](const Pass& pass) { cache.append(pass, view_of(first), calls.kept); });
  calls.feed({2, 0, 1}, [&](const Pass& pass) {
    const auto table = cache.append(pass, view_of(second), calls.kept);
    for (Index g = 0; g < heads; ++g) {
      const auto columns = [&](const Matrix<float>& rows, Index begin, Index count) {
        return Matrix<float>(rows.block(begin, g * width, count, width));
      };
      EXPECT_TRUE(same_bits(Matrix<float>(table.at(0, g).view().topRows(3)), columns(first, 0, 3)));
      EXPECT_TRUE(same_bits(Matrix<float>(table.at(0, g).view().bottomRows(2)), columns(second, 0, 2)));
      EXPECT_TRUE(same_bits(table.at(1, g).view(), columns(first, 3, 1)));
      EXPECT_TRUE(same_bits(Matrix<float>(table.at(2, g).view().topRows(2)), columns(first, 4, 2)));
      EXPECT_TRUE(same_bits(Matrix<float>(table.at(2, g).view().bottomRows(1)), columns(second, 2, 1)));
    }
  });
}

TEST(CachedRows, HaveNoGradientUntilItIsSet) {
  Calls calls;
  CachedRows<float> cache({{5, 2, 7}}, heads, width);
  const Matrix<float> fresh = random_matrix<float>(1, heads * width, "fresh");
  calls.feed({1, 0, 0}, [&](const Pass& pass) {
    EXPECT_EQ(cache.append(pass, view_of(fresh), calls.kept).at(0, 0).gradient, nullptr);
  });
}

TEST(CachedRows, OfAHeadAreContiguous) {
  Calls calls;
  CachedRows<float> cache({{5, 2, 7}}, heads, width);
  const Matrix<float> fresh = random_matrix<float>(4, heads * width, "fresh");
  calls.feed({4, 0, 0},
             [&](const Pass& pass) { EXPECT_EQ(cache.append(pass, view_of(fresh), calls.kept).at(0, 1).stride, width); });
}

TEST(CachedRows, ACopyGoesItsOwnWay) {
  Calls calls;
  CachedRows<float> cache({{5, 2, 7}}, heads, width);
  const Matrix<float> fresh = random_matrix<float>(1, heads * width, "fresh");
  const Matrix<float> other = random_matrix<float>(1, heads * width, "other");
  calls.feed({1, 0, 0}, [&](const Pass& pass) {
    const auto table = cache.append(pass, view_of(fresh), calls.kept);
    CachedRows<float> copy = cache;
    static_cast<void>(copy.append(pass, view_of(other), calls.kept));
    EXPECT_EQ(table.at(0, 0).view()(0, 0), fresh(0, 0));
  });
}

TEST(CachedRows, TakeTheBytesOfTheirCapacity) {
  EXPECT_EQ(CachedRows<float>({{5, 2, 7}}, heads, width).bytes(), 14 * heads * width * 4);
  EXPECT_EQ(CachedRows<double>({{5, 2, 7}}, heads, width).bytes(), 14 * heads * width * 8);
  EXPECT_EQ(CachedRows<float>({{5, 2, 7}}, 0, width).bytes(), 0);
}

TEST(CachedStates, KeepOneBlockForEverySequenceAndSlot) {
  CachedStates<float> states({{5, 2}, 3}, 4);
  for (Index b = 0; b < 2; ++b)
    for (Index slot = 0; slot < 3; ++slot) std::fill_n(states.at(b, slot), 4, static_cast<float>(10 * b + slot));
  for (Index b = 0; b < 2; ++b)
    for (Index slot = 0; slot < 3; ++slot)
      for (Index i = 0; i < 4; ++i) EXPECT_EQ(states.at(b, slot)[i], static_cast<float>(10 * b + slot));
  EXPECT_EQ(states.bytes(), 2 * 3 * 4 * 4);
}

TEST(SetGradients, PointsEveryHeadAtItsColumnsOfItsSequencesRows) {
  Calls calls;
  CachedRows<float> cache({{5, 2, 7}}, heads, width);
  const Matrix<float> fresh = random_matrix<float>(5, heads * width, "fresh");
  Matrix<float> d = random_matrix<float>(5, heads * width, "d");
  calls.feed({2, 0, 3}, [&](const Pass& pass) {
    const auto table = cache.append(pass, view_of(fresh), calls.kept);
    set_gradients(table, pass, mutable_view_of(d));
    for (Index b = 0; b < 3; ++b)
      for (Index g = 0; g < heads; ++g)
        EXPECT_TRUE(same_bits(table.at(b, g).gradient_view(),
                              Matrix<float>(d.block(pass.rows.begin(b), g * width, pass.rows.rows(b), width))));
  });
}

TEST(CachePlan, AddsUp) {
  const CachePlan sum = CachePlan{.per_position = 3, .per_state = 5} + CachePlan{.per_position = 10, .per_state = 20};
  EXPECT_EQ(sum.per_position, 13);
  EXPECT_EQ(sum.per_state, 25);
}

}  // namespace
}  // namespace heed
