#include "heed/mixers/residual_values.hpp"

#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"
#include "mixers/nearest_values.hpp"
#include "mixers/pair.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using testing::Layers;
using FixedAttention = Attention<ComputedScores, ResidualValues<Fixed>>;
using LearnedAttention = Attention<ComputedScores, ResidualValues<Learned>>;

const testing::ContractOptions small = {.sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4},
                                        .lengths = {4, 0, 1, 5}};

TEST(ResidualValues, HoldTheContractWhereALayerAboveReadsThem) {
  const auto report = testing::mixer_contract<FixedAttention, Layers<Attention<>>, Layers<reading::ValueReader>>(
      {.values = {.coefficients = {.from_first = 0.7, .from_own = -0.4}}}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ResidualValues, HoldTheContractWithLearnedCoefficients) {
  const auto report = testing::mixer_contract<LearnedAttention>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ResidualValues, HoldTheContractWithCoefficientsByHead) {
  const Attention<ComputedScores, ResidualValues<FixedPerHead>>::Config config = {
      .values = {.coefficients = {.from_first = {0.7, -0.2}, .from_own = {0.4, 1.1}}}};
  testing::ContractOptions whole = small;
  whole.second_kv_heads = 0;  // half of the heads would have half of the numbers
  const auto fixed = testing::mixer_contract<Attention<ComputedScores, ResidualValues<FixedPerHead>>>(config, whole);
  EXPECT_TRUE(fixed.holds()) << fixed.text();
  const auto learned = testing::mixer_contract<Attention<ComputedScores, ResidualValues<LearnedPerHead>>>(
      {.values = {.biases = true}}, small);
  EXPECT_TRUE(learned.holds()) << learned.text();
}

TEST(ResidualValues, ByHeadWantANumberForEveryKvHead) {
  const Shape shape = small.sizes.shape();
  using ByHead = ResidualValues<FixedPerHead>;
  EXPECT_EQ(error_text<ConfigError>([&] {
              ByHead::check(shape, {.coefficients = {.from_first = {1, 2}, .from_own = {1, 2, 3}}}, "layer 4");
            }),
            "layer 4: from_own: expected one number for each of 2 kv heads, found 3");
}

// Two heads with coefficients of their own give what each gives in a layer with its pair for all.
TEST(ResidualValues, MixEveryHeadWithItsOwnCoefficients) {
  using ByLayer = Attention<ComputedScores, ResidualValues<Fixed>>;
  using ByHead = Attention<ComputedScores, ResidualValues<FixedPerHead>>;
  const auto same_pair =
      pair::run<float, ByHead>({.values = {.coefficients = {.from_first = {0.3, 0.3}, .from_own = {0.6, 0.6}}}});
  const auto layer = pair::run<float, ByLayer>({.values = {.coefficients = {.from_first = 0.3, .from_own = 0.6}}});
  EXPECT_TRUE((same_pair.y.array() == layer.y.array()).all());
  EXPECT_EQ(same_pair.gradients, layer.gradients);
  const auto other =
      pair::run<float, ByHead>({.values = {.coefficients = {.from_first = {0.3, -0.5}, .from_own = {0.6, 0.6}}}});
  const Index half = other.gradients.at("top.w_v").cols() / 2;
  EXPECT_TRUE(
      (other.gradients.at("top.w_v").leftCols(half).array() == layer.gradients.at("top.w_v").leftCols(half).array()).all());
  EXPECT_FALSE((other.y.array() == layer.y.array()).all());
}

TEST(ResidualValues, StartAtOneHalfOfEach) {
  EXPECT_EQ(Fixed::Config{}.from_first, 0.5);
  EXPECT_EQ(Fixed::Config{}.from_own, 0.5);
  const Learned::Params<float> learned(small.sizes.shape(), Learned::Config{});
  EXPECT_EQ(learned.from_first(0, 0), 0.5f);
  EXPECT_EQ(learned.from_own(0, 0), 0.5f);
}

TEST(ResidualValues, LearnTwoCoefficientsALayerAndNoMore) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  const ResidualValues<Fixed>::Params<float> fixed(shape, {});
  const ResidualValues<Learned>::Params<float> learned(shape, {});
  EXPECT_EQ(count_parameters(fixed), 12 * 8);
  EXPECT_EQ(count_parameters(learned), 12 * 8 + 2);
  const ResidualValues<LearnedPerHead>::Params<float> by_head(shape, {});
  EXPECT_EQ(count_parameters(by_head), 12 * 8 + 2 * 2);
}

TEST(ResidualValues, CacheTheMixedRowsAndNothingElse) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  EXPECT_EQ(ResidualValues<Fixed>::plan(shape, {}).per_position, 8);
  EXPECT_EQ((cache_bytes(ResidualValues<Fixed>::Cache<double>(shape, ResidualValues<Fixed>::Config{}, {{10, 20}}))),
            30 * 8 * 8);
}

}  // namespace
}  // namespace heed
