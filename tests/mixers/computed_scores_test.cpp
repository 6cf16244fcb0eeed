#include "heed/mixers/computed_scores.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/reused_scores.hpp"
#include "heed/model/mixer_layer.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

using testing::Layers;
using Reading = Attention<ReusedScores, ProjectedValues>;

TEST(ComputedScores, HoldTheContractWhereALayerAboveReadsThem) {
  const auto report = testing::mixer_contract<Attention<ComputedScores>, Layers<>, Layers<Reading>>();
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ComputedScores, HoldTheContractInAWindowWhereALayerAboveReadsThem) {
  const auto report = testing::mixer_contract<Attention<ComputedScores>, Layers<>, Layers<Reading>>(
      {.scores = {.mask = window(2)}}, {.sizes = {.width = 6, .heads = 3, .kv_heads = 1, .head_width = 2, .hidden = 4}});
  EXPECT_TRUE(report.holds()) << report.text();
}

constexpr Sizes small = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4};

TEST(ComputedScores, HoldTheContractWithBiasesAndANormOfEveryHead) {
  const auto report = testing::mixer_contract<Attention<ComputedScores>, Layers<>, Layers<Reading>>(
      {.scores = {.biases = true, .query_key_norm = QueryKeyNorm::per_head, .norm_epsilon = 0.01}},
      {.sizes = small, .lengths = {4, 0, 1, 5}});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ComputedScores, HoldTheContractWithoutPositionsAndWithANormOfAllHeads) {
  const auto report = testing::mixer_contract<Attention<ComputedScores>>({.scores = {.mask = window(3),
                                                                                     .positions = NoPositions{},
                                                                                     .biases = true,
                                                                                     .query_key_norm = QueryKeyNorm::whole,
                                                                                     .norm_epsilon = 0.01,
                                                                                     .scale = 0.7}},
                                                                         {.sizes = small, .lengths = {4, 0, 1, 5}});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ComputedScores, HoldTheContractWithAlibiAndSinksWhereALayerAboveReadsThem) {
  const auto report = testing::mixer_contract<Attention<ComputedScores>, Layers<>, Layers<Reading>>(
      {.scores = {.mask = streaming(1, 3), .positions = Alibi{}, .sinks = true}},
      {.sizes = small, .lengths = {4, 0, 1, 5}});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(ComputedScores, HoldTheContractWithASoftCapAndEverythingElse) {
  const auto report =
      testing::mixer_contract<Attention<ComputedScores>>({.scores = {.mask = window(4),
                                                                     .biases = true,
                                                                     .query_key_norm = QueryKeyNorm::per_head,
                                                                     .norm_epsilon = 0.01,
                                                                     .scale = 0.9,
                                                                     .soft_cap = 1.5,
                                                                     .sinks = true},
                                                          .output_bias = true},
                                                         {.sizes = small, .lengths = {4, 0, 1, 5}});
  EXPECT_TRUE(report.holds()) << report.text();
}

template <class Scalar>
Matrix<Scalar> of_precision(Precision precision) {
  MixerLayer<Scalar, Attention<ComputedScores>> layer({.width = 8, .heads = 2, .head_width = 4},
                                                      {.scores = {.precision = precision}});
  Matrix<Scalar> x(20, 8), y = Matrix<Scalar>::Zero(20, 8);
  Random(7, "x").normal(x, 1);
  Workspace work({.positions = 20});
  auto state = layer.make_state(work);
  layer.apply(work.begin(Sequences{20}), x, y, state);
  return y;
}

TEST(ComputedScores, WithAPrecisionRoundTheProductsOfFloatOnly) {
  const Matrix<double> exact = of_precision<double>(Precision::full);
  EXPECT_EQ(of_precision<double>(Precision::bf16), exact);
  const auto error = [&](Precision precision) {
    return (of_precision<float>(precision).cast<double>() - exact).cwiseAbs().maxCoeff() / exact.cwiseAbs().maxCoeff();
  };
  EXPECT_LT(error(Precision::bf16), 0x1p-5);
  EXPECT_GT(error(Precision::bf16), error(Precision::bf16x2));
  EXPECT_LT(error(Precision::bf16x2), 0x1p-13);
  EXPECT_GT(error(Precision::bf16x2), error(Precision::bf16x3));
  EXPECT_LT(error(Precision::bf16x3), 0x1p-20);
}

// Row 0 sees itself alone: a = e^z / (e^s + e^z), with s = 0 until it is learned.
TEST(ComputedScores, WithSinksLeaveAShareToTheSink) {
  MixerLayer<double, Attention<ComputedScores>> layer({.width = 4, .heads = 2, .head_width = 2},
                                                      {.scores = {.sinks = true}});
  const Matrix<double> x = Matrix<double>::Ones(1, 4);
  Matrix<double> y = Matrix<double>::Zero(1, 4);
  Workspace work({.positions = 1});
  const auto a_of_head_1 = [&] {
    auto state = layer.make_state<scores>(work);
    layer.apply(work.begin(Sequences{1}), x, y, state);
    return state.published<scores>().table.at(0, 1)(0, 0);
  };
  const auto& [q, k, sinks] = layer.params.scores;
  const double q_1[] = {q.w.col(2).sum(), q.w.col(3).sum()}, k_1[] = {k.w.col(2).sum(), k.w.col(3).sum()};
  const double e_z = std::exp((q_1[0] * k_1[0] + q_1[1] * k_1[1]) / std::sqrt(2.0));
  const double rounding = 16 * std::numeric_limits<double>::epsilon();
  EXPECT_NEAR(a_of_head_1(), e_z / (1 + e_z), rounding);
  layer.params.scores.sinks(0, 1) = std::log(3.0);
  EXPECT_NEAR(a_of_head_1(), e_z / (3 + e_z), rounding);
  layer.params.scores.sinks(0, 1) = -std::numeric_limits<double>::infinity();
  EXPECT_EQ(a_of_head_1(), 1) << "it is switched off";
}

TEST(ComputedScores, RefuseANegativeSoftCap) {
  try {
    ComputedScores::check(Sizes{.width = 8, .heads = 2}.shape(), {.soft_cap = -1}, "layer 3");
    FAIL() << "a cap of -1";
  } catch (const ConfigError& error) {
    EXPECT_EQ(std::string(error.what()).substr(0, 65), "layer 3: soft_cap: expected 0 (none) or more, found -1.000000");
  }
}

// The last row of causal attention, so that the rows before it differ in nothing but their order.
TEST(ComputedScores, WithoutPositionsDoNotDependOnTheOrderOfWhatTheySee) {
  const auto last_row = [](const Positions& positions, bool swapped) {
    const MixerLayer<double, Attention<ComputedScores>> layer({.width = 8, .heads = 2},
                                                              {.scores = {.positions = positions}});
    Matrix<double> x(4, 8), y = Matrix<double>::Zero(4, 8);
    Random(3, "x").normal(x, 1);
    if (swapped) x.row(0).swap(x.row(2));
    Workspace work({.positions = 4});
    auto state = layer.make_state(work);
    layer.apply(work.begin(Sequences{4}), x, y, state);
    return Matrix<double>(y.row(3));
  };
  const auto change = [&](const Positions& positions) {
    const Matrix<double> row = last_row(positions, false);
    return (last_row(positions, true) - row).cwiseAbs().maxCoeff() / row.cwiseAbs().maxCoeff();
  };
  const double rounding = 8 * std::numeric_limits<double>::epsilon();  // sums of 4 and 8 terms in another order
  EXPECT_LE(change(NoPositions{}), rounding);
  EXPECT_GT(change(Rotary{}), 100 * rounding);
}

TEST(ComputedScores, ScaleByTheRootOfTheHeadWidthUnlessChosen) {
  EXPECT_EQ(SoftmaxOptions{}.scale_for(16), 0.25);
  EXPECT_EQ(SoftmaxOptions{.scale = 0.3}.scale_for(16), 0.3);
}

TEST(ComputedScores, TakeAnOddHeadWidthWithoutRotaryPairs) {
  ComputedScores::check(Sizes{.width = 6, .heads = 2}.shape(), {.positions = NoPositions{}}, "layer 3");
}

TEST(ComputedScores, RefuseAnOddHeadWidth) {
  const Shape shape = Sizes{.width = 6, .heads = 2}.shape();
  try {
    ComputedScores::check(shape, {}, "layer 3");
    FAIL() << "3 has no rotary pairs";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "layer 3: head_width: expected an even number (rotary pairs), found 3");
  }
}

TEST(ComputedScores, SeeAheadIfTheirMaskDoes) {
  EXPECT_EQ(ComputedScores::whole_rows({}), 0);
  EXPECT_EQ(ComputedScores::whole_rows({.mask = window(4)}), 0);
  EXPECT_EQ(ComputedScores::whole_rows({.mask = prefix_lm(4)}), 4);
  EXPECT_EQ(ComputedScores::whole_rows({.mask = bidirectional()}), unbounded);
}

TEST(ComputedScores, CacheTheirKeys) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  EXPECT_EQ(ComputedScores::plan(shape, {}).per_position, 8);
  EXPECT_EQ((cache_bytes(ComputedScores::Cache<double>(shape, {}, {{10, 20}}))), 30 * 8 * 8);
}

TEST(ComputedScores, AreKeptOnlyIfSomebodyReadsThem) {
  const MixerLayer<float, Attention<ComputedScores>> layer({.width = 8, .heads = 2});
  const Matrix<float> x = Matrix<float>::Ones(3, 8);
  Matrix<float> y = Matrix<float>::Zero(3, 8);
  Workspace work({.positions = 3});
  const auto kept = [&](auto state) {
    layer.apply(work.begin(Sequences{3}), x, y, state);
    return state.template published<scores>().table.at(0, 1).kept();
  };
  EXPECT_FALSE(kept(layer.make_state(work)));
  EXPECT_TRUE(kept(layer.make_state<scores>(work)));
}

}  // namespace
}  // namespace heed
