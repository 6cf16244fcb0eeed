#include "heed/core/recent_slots.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

std::vector<Index> of(const RecentSlots& recent, Index sequence) {
  std::vector<Index> slots;
  for (Index back = 0; back < recent.count(sequence); ++back) slots.push_back(recent.at(sequence, back));
  return slots;
}
using Slots = std::vector<Index>;

TEST(RecentSlots, AreTheNewestOfTheirSequenceNewestFirst) {
  RecentSlots recent(2, 3);
  for (const Index slot : {7, 1, 4, 6}) recent.push(0, slot);
  recent.push(1, 9);
  EXPECT_EQ(of(recent, 0), (Slots{6, 4, 1}));
  EXPECT_EQ(of(recent, 1), (Slots{9}));
  EXPECT_TRUE(recent.holds(0, 1));
  EXPECT_FALSE(recent.holds(0, 7));
  EXPECT_FALSE(recent.holds(1, 6));
}

TEST(RecentSlots, ForgetTheNewestWhenASequenceGoesBack) {
  RecentSlots recent(1, 3);
  for (const Index slot : {1, 4, 6}) recent.push(0, slot);
  recent.drop(0, 0);
  EXPECT_EQ(of(recent, 0), (Slots{6, 4, 1}));
  recent.drop(0, 2);
  EXPECT_EQ(of(recent, 0), (Slots{1}));
  recent.push(0, 5);
  EXPECT_EQ(of(recent, 0), (Slots{5, 1}));
  recent.clear(0);
  EXPECT_EQ(of(recent, 0), (Slots{}));
}

TEST(RecentSlots, OfASequenceCanBeThoseOfAnother) {
  RecentSlots recent(2, 3), others(2, 3);
  for (const Index slot : {1, 4, 6}) recent.push(0, slot);
  for (const Index slot : {8, 2}) others.push(1, slot);
  recent.copy(0, others, 1);
  EXPECT_EQ(of(recent, 0), (Slots{2, 8}));
}

}  // namespace
}  // namespace heed
