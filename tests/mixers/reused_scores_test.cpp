#include "heed/mixers/reused_scores.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

using testing::Layers;
using Reuse = Attention<ReusedScores, ProjectedValues>;
using ReuseShared = Attention<ReusedScores, SharedValues<>>;

const testing::ContractOptions small = {.sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4},
                                        .lengths = {4, 0, 1, 5}};

TEST(ReusedScores, HoldTheContractWhereALayerAboveReusesThemAgain) {
  const auto report = testing::mixer_contract<Reuse, Layers<Attention<>>, Layers<Reuse>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ReusedScores, HoldTheContractWithSharedValuesToo) {
  const auto report = testing::mixer_contract<ReuseShared>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ReusedScores, HoldTheContractWithResidualValuesToo) {
  const auto report = testing::mixer_contract<ScoreReuseResidualValueAttention>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ReusedScores, HoldTheContractBesideNewHeadsWithResidualValues) {
  testing::ContractOptions one_pair = small;  // the split is of all heads of the layer
  one_pair.second_kv_heads = 0;
  const auto report = testing::mixer_contract<PartialScoreReuseResidualValueAttention>({}, one_pair);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ReusedScores, HaveNoWeightsAndNoCache) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  EXPECT_EQ(count_parameters(ReusedScores::Params<float>(shape, {})), 0);
  EXPECT_EQ(ReusedScores::plan(shape, {}).per_position, 0);
  EXPECT_EQ((cache_bytes(ReusedScores::Cache<float>(shape, ReusedScores::Config{}, CacheSize{{10, 20}}))), 0);
  EXPECT_EQ(Reuse::plan(shape, {}).per_position, 8) << "values only";
  EXPECT_EQ(ReuseShared::plan(shape, {}).per_position, 0);
}

}  // namespace
}  // namespace heed
