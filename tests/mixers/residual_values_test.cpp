#include "heed/mixers/residual_values.hpp"

#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"
#include "mixers/nearest_values.hpp"

namespace heed {
namespace {

using testing::Layers;
using FixedAttention = Attention<ComputedScores, ResidualValues<Fixed>>;
using LearnedAttention = Attention<ComputedScores, ResidualValues<Learned>>;

const testing::ContractOptions small = {.sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4},
                                        .lengths = {4, 0, 1, 5}};

TEST(ResidualValues, HoldTheContractWhereALayerAboveReadsThem) {
  const auto report = testing::mixer_contract<FixedAttention, Layers<Attention<>>, Layers<reading::ValueReader>>(
      {.values = {.from_first = 0.7, .from_own = -0.4}}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ResidualValues, HoldTheContractWithLearnedCoefficients) {
  const auto report = testing::mixer_contract<LearnedAttention>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ResidualValues, StartAtOneHalfOfEach) {
  EXPECT_EQ(Fixed::Config{}.from_first, 0.5);
  EXPECT_EQ(Fixed::Config{}.from_own, 0.5);
  const Learned::Params<float> learned(Learned::Config{});
  EXPECT_EQ(learned.from_first(0, 0), 0.5f);
  EXPECT_EQ(learned.from_own(0, 0), 0.5f);
}

TEST(ResidualValues, LearnTwoCoefficientsALayerAndNoMore) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  const ResidualValues<Fixed>::Params<float> fixed(shape, {});
  const ResidualValues<Learned>::Params<float> learned(shape, {});
  EXPECT_EQ(count_parameters(fixed), 12 * 8);
  EXPECT_EQ(count_parameters(learned), 12 * 8 + 2);
}

TEST(ResidualValues, CacheTheMixedRowsAndNothingElse) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  EXPECT_EQ(ResidualValues<Fixed>::plan(shape, {}).per_position, 8);
  EXPECT_EQ((cache_bytes(ResidualValues<Fixed>::Cache<double>(shape, {}, {{10, 20}}))), 30 * 8 * 8);
}

}  // namespace
}  // namespace heed
