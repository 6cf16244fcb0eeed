#include "heed/mixers/side_by_side.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

using testing::Layers;

constexpr Sizes sizes = {.width = 6, .heads = 6, .kv_heads = 3, .head_width = 2, .hidden = 4};

// The split is of all heads of the layer, so two such layers do not fit side by side.
const testing::ContractOptions options = {.sizes = sizes, .lengths = {3, 0, 1, 2}, .second_kv_heads = 0};

TEST(SideBySide, HoldsTheContractAsPartialReuseOfPartialReuse) {
  const auto report =
      testing::mixer_contract<PartialScoreReuseAttention, Layers<StandardAttention>, Layers<PartialScoreReuseAttention>>(
          {.second_kv_heads = 2}, options);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SideBySide, HoldsTheContractWithNoHeadsOnOneSide) {
  for (const Index second : {Index(0), Index(3)}) {
    const auto report =
        testing::mixer_contract<PartialScoreReuseAttention, Layers<StandardAttention>, Layers<PartialScoreReuseAttention>>(
            {.second_kv_heads = second}, options);
    EXPECT_TRUE(report.holds()) << second << "\n" << report.text();
  }
}

TEST(SideBySide, PublishesWhatOnlyItsSecondPartHas) {
  using Both = SideBySide<Mamba2, StandardAttention>;
  static_assert(std::is_same_v<Both::publishes, StandardAttention::publishes>);
  using NearestValues = Attention<ComputedScores, SharedValues<nearest<values>>>;
  const auto report = testing::mixer_contract<Both, Layers<>, Layers<ScoreReuseAttention, NearestValues>>(
      {.second_kv_heads = 3, .first = {.state_width = 2}}, options);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SideBySide, SplitsTheKvHeadsWithTheirQueryHeads) {
  const Shape shape = sizes.shape();
  const PartialScoreReuseAttention::Config split{.second_kv_heads = 2};
  EXPECT_EQ(HeadSplit::first(shape, split).kv_heads, (HeadRange{0, 1}));
  EXPECT_EQ(HeadSplit::first(shape, split).heads, (HeadRange{0, 2}));
  EXPECT_EQ(HeadSplit::second(shape, split).kv_heads, (HeadRange{1, 2}));
  EXPECT_EQ(HeadSplit::second(shape, split).heads, (HeadRange{2, 4}));
}

TEST(SideBySide, GivesTheSecondHalfOfTheKvHeadsUnlessChosen) {
  EXPECT_EQ(HeadSplit::second_count(sizes.shape(), PartialScoreReuseAttention::Config{}), 1);
  EXPECT_EQ(PartialScoreReuseAttention::Config{}.second_kv_heads, HeadSplit::half);
}

TEST(SideBySide, RefusesASplitThatTheLayerDoesNotHave) {
  for (const Index second : {Index(4), Index(-2)}) try {
      PartialScoreReuseAttention::check(sizes.shape(), {.second_kv_heads = second}, "layer 1");
      FAIL() << second;
    } catch (const ConfigError& error) {
      EXPECT_EQ(std::string(error.what()), "layer 1: second_kv_heads: expected 0 to 3, found " + std::to_string(second));
    }
}

TEST(SideBySide, RefusesHalfOfOneHeadUnlessItIsChosen) {
  Sizes one = sizes;
  one.heads = 2, one.kv_heads = 1;
  for (const Index second : {0, 1}) PartialScoreReuseAttention::check(one.shape(), {.second_kv_heads = second}, "layer 1");
  try {
    PartialScoreReuseAttention::check(one.shape(), {}, "layer 1");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "layer 1: second_kv_heads: expected 0 or 1, found half of 1 kv head");
  }
}

TEST(SideBySide, CachesWhatItsPartsCache) {
  const Shape shape = sizes.shape();
  const PartialScoreReuseAttention::Config config{.second_kv_heads = 2};
  EXPECT_EQ(PartialScoreReuseAttention::plan(shape, config).per_position, 2 * 2 + 2 * 2) << "K, V of one; V of two";
  EXPECT_EQ((cache_bytes(PartialScoreReuseAttention::Cache<float>(shape, config, {{10, 20}}))), 30 * 8 * 4);
}

TEST(SideBySide, NamesTheRowsAndStatesOfItsParts) {
  const RecurrentMixAttention::Cache<float> cache(sizes.shape(), {}, {{10, 20}, 3});
  std::string names;
  visit([&](std::string_view name, const auto&) { names += std::string(name) + " "; }, cache);
  EXPECT_EQ(names, "first.k first.v second.states ");
}

TEST(SideBySide, NamesTheTensorsOfItsParts) {
  const PartialScoreReuseAttention::Params<float> params(sizes.shape(), {});
  std::string names;
  visit([&](std::string_view name, Role, const auto&) { names += std::string(name) + " "; }, params);
  EXPECT_EQ(names, "first.w_q first.w_k first.w_v first.w_o second.w_v second.w_o ");
}

TEST(SideBySide, IsDescribedByItsParts) {
  EXPECT_EQ(describe<PartialScoreReuseAttention>({}),
            "attention(computed scores, projected values) | attention(reused scores, projected values)");
}

TEST(SideBySide, ConsumesATapThatBothPartsReadOnce) {
  using Both = SideBySide<ResidualValueAttention, SharedValueAttention>;
  static_assert(std::is_same_v<Both::consumes, signals<first<values>>>);
  static_assert(std::is_same_v<Both::publishes, signals<values, scores, keys>>);
}

}  // namespace
}  // namespace heed
