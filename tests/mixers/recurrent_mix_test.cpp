// RecurFormer's layer: some heads attend, the others recur.
#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

constexpr Sizes sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4};
const RecurrentMixAttention::Config config = {.second_kv_heads = 1, .second = {.state_width = 3, .chunk = 4}};

TEST(RecurrentMix, HoldsTheContract) {
  const auto report = testing::mixer_contract<RecurrentMixAttention>(config, {.sizes = sizes});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(RecurrentMix, CachesRowsForTheHeadsThatAttendAndStatesForTheOthers) {
  const CachePlan plan = RecurrentMixAttention::plan(sizes.shape(), config);
  EXPECT_EQ(plan.per_position, 2 * 2) << "K and V of one kv head";
  EXPECT_EQ(plan.per_state, 2 * 2 * 3 + 3 * (2 * 2 + 2 * 3)) << "H N P + (taps - 1) (H P + 2 N) of two heads";
}

TEST(RecurrentMix, PublishesTheHeadsThatAttendAndNoOthers) {
  std::vector<unsigned char> of_values(2), of_scores(4);
  mark_published<RecurrentMixAttention>("values", Alignment::kv_heads, sizes.shape(), config, of_values);
  mark_published<RecurrentMixAttention>("scores", Alignment::heads_from_first, sizes.shape(), config, of_scores);
  EXPECT_EQ(of_values, (std::vector<unsigned char>{1, 0}));
  EXPECT_EQ(of_scores, (std::vector<unsigned char>{1, 1, 0, 0}));
}

}  // namespace
}  // namespace heed
