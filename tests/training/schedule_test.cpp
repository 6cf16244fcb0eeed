#include "heed/training/schedule.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

constexpr WarmupCosine schedule{.peak = 0.5, .floor = 0.125, .warmup_steps = 4, .total_steps = 12};

TEST(WarmupCosine, RisesInEqualStepsToThePeak) {
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.125);
  EXPECT_DOUBLE_EQ(schedule.at(1), 0.25);
  EXPECT_DOUBLE_EQ(schedule.at(3), 0.5);
}

TEST(WarmupCosine, FallsAlongHalfACosineToTheFloor) {
  EXPECT_DOUBLE_EQ(schedule.at(4), 0.5);
  EXPECT_DOUBLE_EQ(schedule.at(8), (0.5 + 0.125) / 2);
  for (Index step = 5; step <= 12; ++step) EXPECT_LT(schedule.at(step), schedule.at(step - 1));
  EXPECT_DOUBLE_EQ(schedule.at(12), 0.125);
}

TEST(WarmupCosine, StaysAtTheFloor) {
  EXPECT_DOUBLE_EQ(schedule.at(13), 0.125);
  EXPECT_DOUBLE_EQ(schedule.at(1000000), 0.125);
}

TEST(WarmupCosine, NeedsNoWarmUp) {
  EXPECT_DOUBLE_EQ((WarmupCosine{.peak = 2, .floor = 0, .warmup_steps = 0, .total_steps = 2}.at(0)), 2);
}

TEST(WarmupCosine, MayBeNothingButWarmUp) {
  constexpr WarmupCosine rising{.peak = 2, .floor = 1, .warmup_steps = 4, .total_steps = 4};
  EXPECT_DOUBLE_EQ(rising.at(3), 2);
  EXPECT_DOUBLE_EQ(rising.at(4), 1);
}

}  // namespace
}  // namespace heed
