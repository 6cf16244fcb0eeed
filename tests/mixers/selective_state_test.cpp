#include "heed/mixers/selective_state.hpp"

#include <gtest/gtest.h>

#include "../reference/activation.hpp"
#include "../reference/bounds.hpp"
#include "../reference/selective_scan.hpp"
#include "../reference/short_conv.hpp"
#include "heed/mixers/variants.hpp"
#include "heed/model/mixer_layer.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

constexpr Sizes sizes = {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 3, .hidden = 5};

static_assert(Mixer<SelectiveState>);
static_assert(SelectiveState::consumes::size == 0 && SelectiveState::publishes::size == 0);

TEST(SelectiveState, HoldsTheContractOnItsHeadsOverSeveralChunks) {
  const auto report =
      testing::mixer_contract<SelectiveState>({.state_width = 3, .groups = 2, .chunk = 4}, {.sizes = sizes});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SelectiveState, HoldsTheContractWiderThanTheModel) {
  const auto report = testing::mixer_contract<SelectiveState>(
      {.inner_width = 9, .state_width = 2, .dt_rank = 3, .taps = 1, .chunk = 1}, {.sizes = sizes, .second_kv_heads = 0});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SelectiveState, HoldsTheContractBesideAttention) {
  using Beside = SideBySide<StandardAttention, Mamba>;
  const auto report = testing::mixer_contract<Beside>(
      {.second_kv_heads = 1, .second = {.state_width = 3, .chunk = 4}},
      {.sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4}, .second_kv_heads = 0});
  EXPECT_TRUE(report.holds()) << report.text();
}

// The block on one sequence, by plain products and the definitions of its parts.
template <class Scalar>
Matrix<Scalar> block(const SelectiveState::Params<float>& params, const SelectiveState::Config& config,
                     const Matrix<float>& rows) {
  const auto as = [](const Matrix<float>& matrix) { return Matrix<Scalar>(matrix.template cast<Scalar>()); };
  const Matrix<Scalar> x = as(rows), history = Matrix<Scalar>::Zero(config.taps - 1, params.d.cols());
  const Matrix<Scalar> u =
      reference::short_conv<Scalar>(x * as(params.w_x), as(params.conv), as(params.conv_bias), history);
  Matrix<Scalar> dt = u * as(params.w_low) * as(params.w_dt), a = as(params.a_log), z = x * as(params.w_z);
  for (Index t = 0; t < dt.rows(); ++t)
    for (Index i = 0; i < dt.cols(); ++i) dt(t, i) = reference::softplus(dt(t, i) + Scalar(params.dt_bias(0, i)));
  for (Index i = 0; i < a.size(); ++i) a.data()[i] = -std::exp(a.data()[i]);
  const reference::SelectiveScan<Scalar> scan{
      u, dt, a, u * as(params.w_b), u * as(params.w_c), as(params.d), config.groups};
  Matrix<Scalar> out = reference::selective_scan<Scalar>(scan, Matrix<Scalar>::Zero(a.rows(), a.cols())).y;
  for (Index i = 0; i < out.size(); ++i) out.data()[i] *= reference::silu(z.data()[i]);
  return out * as(params.w_o);
}

TEST(SelectiveState, EqualsTheBlockAsWritten) {
  for (const SelectiveState::Config& config :
       {SelectiveState::Config{.state_width = 5}, SelectiveState::Config{.inner_width = 22, .dt_rank = 3, .groups = 2}}) {
    MixerLayer<float, SelectiveState> layer(sizes, config);
    // Larger weights than those it starts with, so that no part of the block is close to a constant.
    visit([](std::string_view name, Role,
             Matrix<float>& tensor) { tensor += reference::random_matrix<float>(tensor.rows(), tensor.cols(), name, 0.3); },
          layer.params);
    const Matrix<float> x = reference::random_matrix<float>(19, sizes.width, "x");
    Matrix<float> y = Matrix<float>::Zero(19, sizes.width);
    Workspace work({.sequences = 1, .positions = 19});
    auto state = layer.make_state(work);
    layer.apply(work.begin(Sequences({19})), x, y, state);
    const Index operations = 2 * sizes.width + 4 * layer.params.d.cols() + 2 * config.state_width + 19;
    reference::expect_as_exact_as_naive(y, block<float>(layer.params, config, x), block<double>(layer.params, config, x),
                                        operations);
  }
}

TEST(SelectiveState, IsAsWideAsItIsChosenOrAsItsHeads) {
  using Model = Stack<float, Block<Mamba, NoFeedForward>, Block<SideBySide<StandardAttention, Mamba>>>;
  Model::Config config{.width = 8, .heads = 4};
  config.layer<0>().mixer.inner_width = 16;  // twice the model's width, as in a model of such layers alone
  config.layer<1>().mixer.second_kv_heads = 3;
  const Model model(config);
  EXPECT_EQ(model.plan().cache(0).per_state, 16 * (16 + 3));
  EXPECT_EQ(model.plan().cache(1).per_state, 3 * 2 * (16 + 3)) << "three heads of two columns";
}

std::string error_of(const SelectiveState::Config& config) {
  try {
    SelectiveState::check(sizes.shape(), config, "layer 2");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(SelectiveState, RefusesAConfigThatMakesNoSense) {
  EXPECT_EQ(error_of({}), "");
  EXPECT_EQ(error_of({.inner_width = -1}), "layer 2: inner_width: expected 0 or more, found -1");
  EXPECT_EQ(error_of({.state_width = 0}), "layer 2: state_width: expected 1 or more, found 0");
  EXPECT_EQ(error_of({.dt_rank = -1}), "layer 2: dt_rank: expected 0 or more, found -1");
  EXPECT_EQ(error_of({.groups = 5}), "layer 2: groups: expected a divisor of the 12 channels, found 5");
  EXPECT_EQ(error_of({.inner_width = 20, .groups = 5}), "");
  EXPECT_EQ(error_of({.groups = 0}), "layer 2: groups: expected a divisor of the 12 channels, found 0");
  EXPECT_EQ(error_of({.taps = 0}), "layer 2: taps: expected 1 or more, found 0");
  EXPECT_EQ(error_of({.chunk = 0}), "layer 2: chunk: expected 1 or more, found 0");
}

TEST(SelectiveState, CachesItsStatesAndTheTailOfItsConvolution) {
  EXPECT_EQ(SelectiveState::plan(sizes.shape(), {}).per_position, 0);
  EXPECT_EQ(SelectiveState::plan(sizes.shape(), {}).per_state, 12 * 16 + 3 * 12) << "C N + (taps - 1) C";
  const SelectiveState::Config wide = {.inner_width = 20, .state_width = 5};
  EXPECT_EQ(SelectiveState::plan(sizes.shape(), wide).per_state, 20 * 5 + 3 * 20);
  EXPECT_EQ(cache_bytes(SelectiveState::Cache<float>(sizes.shape(), wide, {{10, 20}, 3})), 2 * 3 * 160 * 4);
}

TEST(SelectiveState, HasTheTensorsOfTheBlock) {
  const Shape shape = Sizes{.width = 40, .heads = 4}.shape();
  const SelectiveState::Params<float> params(shape, {.inner_width = 80, .groups = 2});
  std::string all;
  visit(
      [&](std::string_view name, Role, const Matrix<float>& tensor) {
        all += std::string(name) + " " + std::to_string(tensor.rows()) + "x" + std::to_string(tensor.cols()) + ", ";
      },
      params);
  EXPECT_EQ(all,
            "w_z 40x80, w_x 40x80, conv 4x80, conv_bias 1x80, w_low 80x3, w_b 80x32, w_c 80x32, w_dt 3x80, dt_bias 1x80, "
            "a_log 16x80, d 1x80, w_o 80x40, ");
}

TEST(SelectiveState, StartsAsTheReleasedCodeDoes) {
  const Shape shape = Sizes{.width = 64, .heads = 8}.shape();
  const SelectiveState::Config config = {.inner_width = 128};
  SelectiveState::Params<double> params(shape, config);
  Initialiser{5, 3, ""}.run_here<SelectiveState>(shape, config, params);
  const auto expect_uniform = [](const Matrix<double>& tensor, double spread) {
    EXPECT_LE(tensor.cwiseAbs().maxCoeff(), spread);
    EXPECT_GT(tensor.cwiseAbs().maxCoeff(), spread * 0.8);
  };
  expect_uniform(params.conv, 0.5);       // 1 / sqrt(taps)
  expect_uniform(params.conv_bias, 0.5);  // 1 / sqrt(taps)
  expect_uniform(params.w_dt, 0.5);       // 1 / sqrt(R), R = 64 / 16
  for (Index i = 0; i < 128; ++i) {
    const double dt = std::log1p(std::exp(params.dt_bias(0, i)));
    EXPECT_GE(dt, 0.999e-3);
    EXPECT_LE(dt, 0.1001);
    for (Index n = 0; n < 16; ++n) EXPECT_EQ(params.a_log(n, i), std::log(double(n + 1)));
  }
  EXPECT_TRUE((params.d.array() == 1).all());
}

TEST(SelectiveState, WithoutHeadsHasNoChannels) {
  const Shape none = sizes.shape().kv_range(2, 0);
  const SelectiveState::Config wide = {.inner_width = 20};
  EXPECT_EQ(SelectiveState::plan(none, wide).per_state, 0);
  EXPECT_EQ(SelectiveState::Params<float>(none, wide).w_o.size(), 0);
  SelectiveState::check(none, wide, "layer 0");
}

}  // namespace
}  // namespace heed
