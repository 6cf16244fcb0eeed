#include "heed/mixers/in_parallel.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/model/mixer_layer.hpp"
#include "heed/testing/mixer_contract.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using NormedAttention = Attention<ComputedScores, ProjectedValues, NormedOutput>;
using Parallel = ParallelMixAttention;

constexpr Sizes sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4};
const testing::ContractOptions options = {.sizes = sizes, .lengths = {4, 0, 1, 5}};
const Parallel::Config config = {.second = {.state_width = 3, .taps = 3, .chunk = 3}};

TEST(InParallel, HoldsTheContract) {
  const auto report = testing::mixer_contract<Parallel>(config, options);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(InParallel, HoldsTheContractOverResidualValues) {
  using Residual = InParallel<Attention<ComputedScores, ResidualValues<Fixed>, NormedOutput>, Mamba2>;
  const auto report = testing::mixer_contract<Residual>({.second = config.second}, options);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(InParallel, GivesEveryHeadToBoth) {
  const Parallel::Params<float> params(sizes.shape(), config);
  EXPECT_EQ(params.first.w_o.rows(), 12);
  EXPECT_EQ(params.second.w_o.rows(), 12);
  EXPECT_EQ(Parallel::plan(sizes.shape(), config).per_position, NormedAttention::plan(sizes.shape(), {}).per_position);
  EXPECT_EQ(Parallel::plan(sizes.shape(), config).per_state, Mamba2::plan(sizes.shape(), config.second).per_state);
}

TEST(InParallel, PublishesWhatTheFirstDoes) {
  static_assert(std::is_same_v<Parallel::publishes, NormedAttention::publishes>);
  std::vector<unsigned char> heads(2);
  mark_published<Parallel>("values", Alignment::kv_heads, sizes.shape(), config, heads);
  EXPECT_EQ(heads, (std::vector<unsigned char>{1, 1}));
}

TEST(InParallel, IsDescribedByItsParts) {
  EXPECT_EQ(describe<Parallel>({}), "attention(computed scores, projected values, normed output) + state space dual");
}

TEST(InParallel, ChosenFromAListIsToTheBitTheTypedPair) {
  Stack<float, Block<Parallel>>::Config typed_config{
      .width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4};
  typed_config.layer<0>().mixer = config;
  const Stack<float, Block<Parallel>> typed(typed_config);
  const auto chosen =
      DynamicStack<float>::build(sizes, {choose_in_parallel(choose<NormedAttention>(), choose<Mamba2>(config.second))});
  Matrix<float> x(5, 6);
  Random(1, "x").normal(x, 1);
  auto typed_cache = typed.make_cache({.positions = 5, .rows = 5});
  auto chosen_cache = chosen.make_cache({.positions = 5, .rows = 5});
  EXPECT_TRUE((Matrix<float>(typed.forward(x, typed_cache)).array() == chosen.forward(x, chosen_cache).array()).all());
}

TEST(InParallel, RefusesASecondThatPublishes) {
  EXPECT_EQ(error_text<ConfigError>([] {
              static_cast<void>(DynamicStack<float>::build(
                  sizes, {choose_in_parallel(choose<Mamba2>(config.second), choose<NormedAttention>())}));
            }),
            "layer 0 (state space dual + attention(computed scores, projected values, normed output)): expected a second "
            "mixer that publishes nothing: give the one that publishes as first");
}

// y += 1/2 (norm(o_1) w_1 + norm(o_2) w_2) W_o, one W_o for both: each mixer alone with 1/2 W_o, added.
TEST(InParallel, WithTwoHalvesOfOneOutputProjectionIsTheMeanBeforeIt) {
  MixerLayer<double, Parallel> both(sizes, config);
  Matrix<double> w_o(12, 6), x(5, 6);
  Random(2, "w_o").normal(w_o, 0.3);
  Random(2, "x").normal(x, 1);
  both.params.first.w_o = 0.5 * w_o;
  both.params.second.w_o = 0.5 * w_o;
  Workspace work({.positions = 5});
  const auto rows_of = [&](const auto& layer) {
    auto state = layer.make_state(work);
    Matrix<double> y = Matrix<double>::Zero(5, 6);
    layer.apply(work.begin(Sequences({5}), Purpose::inference), x, y, state);
    return y;
  };
  // Each mixer's normed output, read through the identity: 6 of its 12 features at a time.
  Matrix<double> mean = Matrix<double>::Zero(5, 12);
  for (const Index half : {0, 6}) {
    Matrix<double> read = Matrix<double>::Zero(12, 6);
    read.middleRows(half, 6).setIdentity();
    MixerLayer<double, NormedAttention> attention(sizes);
    MixerLayer<double, Mamba2> recurrence(sizes, config.second);
    attention.params = both.params.first;
    recurrence.params = both.params.second;
    attention.params.w_o = read;
    recurrence.params.w_o = read;
    mean.middleCols(half, 6) = 0.5 * (rows_of(attention) + rows_of(recurrence));
  }
  const Matrix<double> expected = mean * w_o;
  EXPECT_LE((rows_of(both) - expected).cwiseAbs().maxCoeff(),
            2 * 12 * std::numeric_limits<double>::epsilon() * expected.cwiseAbs().maxCoeff());
}

}  // namespace
}  // namespace heed
