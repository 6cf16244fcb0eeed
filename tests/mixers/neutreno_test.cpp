#include "heed/mixers/neutreno.hpp"

#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"
#include "mixers/pair.hpp"

namespace heed {
namespace {

using Alone = Attention<ComputedScores, ProjectedValues, Neutreno>;
using OnResiduals = Attention<ComputedScores, ResidualValues<Fixed>, Neutreno>;

const testing::ContractOptions small = {
    .sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4},
    .lengths = {4, 0, 1, 5}};

TEST(Neutreno, HoldsTheContract) {
  const auto report = testing::mixer_contract<Alone>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(Neutreno, HoldsTheContractOnResidualValues) {
  const auto report = testing::mixer_contract<OnResiduals>({.output = {.lambda = 0.2}}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

// Values that are the first layer's own have no difference to them, and one gradient.
TEST(Neutreno, IsNothingOnSharedValues) {
  using Shared = Attention<ComputedScores, SharedValues<>, Neutreno>;
  pair::expect_equal(pair::run<float, Shared>({}), pair::run<float, SharedValueAttention>(),
                     pair::run<double, SharedValueAttention>());
}

TEST(Neutreno, WithoutLambdaIsStandardAttention) {
  pair::expect_equal(pair::run<float, Alone>({.output = {.lambda = 0}}), pair::run<float, StandardAttention>(),
                     pair::run<double, StandardAttention>());
}

TEST(Neutreno, WithLambdaIsNot) {
  const auto standard = pair::run<double, StandardAttention>();
  EXPECT_GT(pair::error_of(pair::run<double, Alone>({}).y, standard.y), 1e-3);
}

TEST(Neutreno, StartsAtFourTenths) {
  EXPECT_EQ(Neutreno::Config{}.lambda, 0.4);
}

TEST(Neutreno, IsNamedWhenItsAttentionDescribesItself) {
  EXPECT_EQ(describe<Alone>({}), "attention(computed scores, projected values, NeuTRENO)");
}

}  // namespace
}  // namespace heed
