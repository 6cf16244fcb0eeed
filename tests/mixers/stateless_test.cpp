#include "heed/mixers/stateless.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/mixer.hpp"

namespace heed {
namespace {

struct Idle : Stateless {
  struct Config {};
};

TEST(NoCache, IsMadeOfAnythingAndTakesNothing) {
  EXPECT_EQ(cache_bytes(NoCache(1, "shape", 2.0)), 0);
}

TEST(Stateless, PartsHaveNoParametersAndPlanNoCache) {
  EXPECT_EQ(count_parameters(Idle::Params<float>(Shape{}, Idle::Config{})), 0);
  const CachePlan plan = Idle::plan(Shape{.width = 8}, Idle::Config{});
  EXPECT_EQ(plan.per_position + plan.per_state + plan.per_sequence, 0);
}

}  // namespace
}  // namespace heed
