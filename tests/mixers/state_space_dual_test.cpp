#include "heed/mixers/state_space_dual.hpp"

#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

constexpr Sizes sizes = {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 3, .hidden = 5};

static_assert(Mixer<StateSpaceDual>);
static_assert(StateSpaceDual::consumes::size == 0 && StateSpaceDual::publishes::size == 0);

TEST(StateSpaceDual, HoldsTheContractOverSeveralChunks) {
  const auto report =
      testing::mixer_contract<StateSpaceDual>({.state_width = 5, .groups = 2, .chunk = 4}, {.sizes = sizes});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(StateSpaceDual, HoldsTheContractWithAConvolutionOfOneTap) {
  const auto report = testing::mixer_contract<StateSpaceDual>({.state_width = 1, .taps = 1, .chunk = 1}, {.sizes = sizes});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(StateSpaceDual, HoldsTheContractWithEveryOption) {
  StateSpaceDual::Config config{.state_width = 2, .chunk = 3};
  config.dt_limits = {.least = 0.01, .most = 0.8};
  config.skip = Skip::by_channel;
  for (const Gating gating : {Gating::after_norm, Gating::without_norm}) {
    config.gating = gating;
    const auto report = testing::mixer_contract<StateSpaceDual>(
        config, {.sizes = {.width = 4, .heads = 2, .kv_heads = 2, .head_width = 3, .hidden = 2}, .second_kv_heads = 0});
    EXPECT_TRUE(report.holds()) << report.text();
  }
}

TEST(StateSpaceDual, HasTheTensorsThatItsOptionsAskFor) {
  const auto tensor = [](const StateSpaceDual::Config& config, std::string_view wanted) {
    std::string found = "absent";
    const StateSpaceDual::Params<float> params(sizes.shape(), config);
    visit(
        [&](std::string_view name, Role, const Matrix<float>& t) {
          if (name == wanted) found = std::to_string(t.rows()) + "x" + std::to_string(t.cols());
        },
        params);
    return found;
  };
  EXPECT_EQ(tensor({}, "norm"), "1x12");
  EXPECT_EQ(tensor({.gating = Gating::after_norm}, "norm"), "1x12");
  EXPECT_EQ(tensor({.gating = Gating::without_norm}, "norm"), "absent");
  EXPECT_EQ(tensor({}, "d"), "1x4");
  EXPECT_EQ(tensor({.skip = Skip::by_channel}, "d"), "1x12");
}

std::string error_of(const StateSpaceDual::Config& config) {
  try {
    StateSpaceDual::check(sizes.shape(), config, "layer 2");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(StateSpaceDual, RefusesAConfigThatMakesNoSense) {
  EXPECT_EQ(error_of({}), "");
  EXPECT_EQ(error_of({.state_width = 0}), "layer 2: state_width: expected 1 or more, found 0");
  EXPECT_EQ(error_of({.groups = 3}), "layer 2: groups: expected a divisor of the 4 recurrent heads, found 3");
  EXPECT_EQ(error_of({.groups = 0}), "layer 2: groups: expected a divisor of the 4 recurrent heads, found 0");
  EXPECT_EQ(error_of({.taps = 0}), "layer 2: taps: expected 1 or more, found 0");
  EXPECT_EQ(error_of({.dt_limits = {.least = -1}}), "layer 2: dt_limits.least: expected 0 or more, found -1.000000");
  EXPECT_EQ(error_of({.dt_limits = {.least = 0.5, .most = 0.1}}),
            "layer 2: dt_limits.most: expected more than 0.500000, or 0 for no limit, found 0.100000");
  EXPECT_EQ(error_of({.chunk = 0}), "layer 2: chunk: expected 1 or more, found 0");
}

TEST(StateSpaceDual, CachesItsStatesAndTheTailsOfItsConvolutions) {
  const Index state = 4 * 3 * 5 + 3 * (4 * 3 + 2 * 2 * 5);  // H N P + (taps - 1) (H P + 2 groups N)
  const StateSpaceDual::Config config = {.state_width = 5, .groups = 2};
  EXPECT_EQ(StateSpaceDual::plan(sizes.shape(), config).per_position, 0);
  EXPECT_EQ(StateSpaceDual::plan(sizes.shape(), config).per_state, state);
  EXPECT_EQ((cache_bytes(StateSpaceDual::Cache<float>(sizes.shape(), config, {{10, 20}, 3}))), 2 * 3 * state * 4);
}

TEST(StateSpaceDual, StartsWithStepsAndDecaysOfItsRange) {
  const Shape shape = Sizes{.width = 8, .heads = 64, .head_width = 2}.shape();
  StateSpaceDual::Params<double> params(shape, {});
  Initialiser{5, 3, ""}.run_here<StateSpaceDual>(shape, {}, params);
  const double spread = 0.5;  // 1 / sqrt(taps)
  EXPECT_LE(params.conv_x.cwiseAbs().maxCoeff(), spread);
  EXPECT_GT(params.conv_x.cwiseAbs().maxCoeff(), spread / 2);
  for (Index h = 0; h < 64; ++h) {
    const double dt = std::log1p(std::exp(params.dt_bias(0, h)));
    EXPECT_GE(dt, 0.999e-3);
    EXPECT_LE(dt, 0.1001);
    EXPECT_GE(params.a_log(0, h), 0);
    EXPECT_LE(params.a_log(0, h), std::log(16.0));
  }
  EXPECT_TRUE((params.d.array() == 1).all());
  EXPECT_TRUE((params.norm.array() == 1).all());
}

}  // namespace
}  // namespace heed
