#include "heed/mixers/dense_values.hpp"

#include <gtest/gtest.h>

#include <map>

#include "heed/mixers/side_by_side.hpp"
#include "heed/mixers/variants.hpp"
#include "heed/model/mixer_layer.hpp"
#include "heed/testing/mixer_contract.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using testing::Layers;
using Bottom = Attention<ComputedScores, HistoryValues>;
using Dense = Attention<ComputedScores, DenseResidualValues>;

constexpr Sizes sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4};
const testing::ContractOptions small = {.sizes = sizes, .lengths = {4, 0, 1, 5}};

Dense::Config over(Index below, double from_below = 0.5, double from_own = 0.5) {
  return {.values = {.below = below, .from_below = from_below, .from_own = from_own, .biases = below == 2}};
}
template <class Scalar>
DynamicStack<Scalar> dense_stack(double from_below = 0.5, double from_own = 0.5) {
  return DynamicStack<Scalar>::build(
      sizes, {choose<Bottom>(), choose<Dense>(over(1, from_below, from_own)), choose<Dense>(over(2, from_below, from_own)),
              choose<Dense>(over(3, from_below, from_own))});
}

TEST(DenseResidualValues, HoldTheContract) {
  const auto report = testing::mixer_contract<Dense, Layers<Bottom>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(HistoryValues, HoldTheContractWhereADenseLayerReadsThem) {
  const auto report = testing::mixer_contract<Bottom, Layers<>, Layers<Dense>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

// Every layer's unmixed values are read by all layers above it.
TEST(DenseResidualValues, GiveTheGradientsOfAWholeStack) {
  testing::Report report;
  testing::detail::check_gradients(report, dense_stack<double>(), {4, 0, 3}, 1, "gradients");
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(DenseResidualValues, GiveRowByRowWhatTheyGiveAtOnce) {
  auto model = dense_stack<double>();
  testing::detail::randomise(model.params(), 1);
  Matrix<double> x(6, 6), by_row(6, 6);
  Random(1, "x").normal(x, 1);
  auto whole = model.make_cache({.positions = 6, .rows = 6}), rows = model.make_cache({.positions = 6});
  const Matrix<double> at_once = model.forward(x, whole);
  const std::size_t blocks = rows.scratch_blocks();
  for (Index t = 0; t < 6; ++t) by_row.row(t) = model.forward(x.row(t), rows);
  EXPECT_EQ(rows.scratch_blocks(), blocks);
  EXPECT_LE((by_row - at_once).cwiseAbs().maxCoeff(),
            4 * 12 * std::numeric_limits<double>::epsilon() * at_once.cwiseAbs().maxCoeff());
}

/// The rows of a model with the weights that `weights` has by name; other tensors as they start.
Matrix<double> rows_with(DynamicStack<double> model, const std::map<std::string, Matrix<double>>& weights) {
  visit(
      [&](std::string_view name, Role, auto& tensor) {
        if (const auto found = weights.find(std::string(name)); found != weights.end()) tensor = found->second;
      },
      model.params());
  Matrix<double> x(5, 6);
  Random(1, "x").normal(x, 1);
  auto cache = model.make_cache({.positions = 5, .rows = 5});
  return model.forward(x, cache);
}
std::map<std::string, Matrix<double>> weights_of(DynamicStack<double> model) {
  testing::detail::randomise(model.params(), 1);
  std::map<std::string, Matrix<double>> weights;
  visit(
      [&](std::string_view name, Role role, const auto& tensor) {
        if (role != Role::coefficient) weights[std::string(name)] = tensor;
      },
      model.params());
  return weights;
}

TEST(DenseResidualValues, OfTheirOwnValuesAloneAreStandardAttention) {
  const auto standard = [] {
    const Attention<>::Config biased = {.values = {.biases = true}};
    return DynamicStack<double>::build(
        sizes, {choose<Attention<>>(), choose<Attention<>>(), choose<Attention<>>(biased), choose<Attention<>>()});
  };
  const auto weights = weights_of(standard());
  EXPECT_EQ(rows_with(dense_stack<double>(0, 1), weights), rows_with(standard(), weights));
  EXPECT_NE(rows_with(dense_stack<double>(), weights), rows_with(standard(), weights));
}

// With one layer below, the two numbers are those of ResFormer.
TEST(DenseResidualValues, OverOneLayerAreResidualValues) {
  const auto dense = DynamicStack<double>::build(sizes, {choose<Bottom>(), choose<Dense>(over(1, 0.3, 0.8))});
  const auto residual = DynamicStack<double>::build(
      sizes, {choose<Attention<>>(),
              choose<ResidualValueAttention>({.values = {.coefficients = {.from_first = 0.3, .from_own = 0.8}}})});
  const auto weights = weights_of(residual);
  EXPECT_EQ(rows_with(dense, weights), rows_with(residual, weights));
}

TEST(DenseResidualValues, StartWithEqualPartsOfWhatComesFromBelow) {
  const DenseResidualValues::Params<double> params(sizes.shape(), {.below = 4});
  EXPECT_EQ(params.from_layers, (Matrix<double>(1, 5) << 0.125, 0.125, 0.125, 0.125, 0.5).finished());
}

// A layer by itself is not wired: what it is fed is looked at in the call.
TEST(DenseResidualValues, RefuseInACallWhatALayerByItselfIsFed) {
  const MixerLayer<float, SideBySide<Dense, Bottom>> mixed(sizes, {.first = over(1)});
  const MixerLayer<float, Bottom> bottom(sizes);
  const MixerLayer<float, Dense> dense(sizes, over(2));
  Workspace work({.positions = 2});
  auto bottom_state = bottom.make_state(work);
  auto mixed_state = mixed.make_state(work);
  auto state = dense.make_state(work);
  const Matrix<float> x = Matrix<float>::Ones(1, 6);
  Matrix<float> y = x;
  const Pass pass = work.begin(Sequences({1}), Purpose::inference);
  bottom.apply(pass, x, y, bottom_state);
  mixed.apply(pass, x, y, mixed_state, feed<nearest<value_history>>(bottom_state.published<value_history>()));
  EXPECT_EQ(error_text<ConfigError>([&] {
              dense.apply(pass, x, y, state, feed<nearest<value_history>>(mixed_state.published<value_history>()));
            }),
            "below: expected the 1 layers below that have values of kv head 1, found 2");
}

TEST(DenseResidualValues, RefuseANumberOfLayersThatIsNotBelowThem) {
  const auto refusal = [](const std::vector<DynamicStack<float>::Layer>& layers) {
    return error_text<ConfigError>([&] { static_cast<void>(DynamicStack<float>::build(sizes, layers)); });
  };
  EXPECT_EQ(refusal({choose<Bottom>(), choose<Dense>(over(2))}),
            "layer 1 (attention(computed scores, dense residual values)): below: expected the 1 layers below that have "
            "values of kv head 0, found 2");
  // Each head has a chain of its own.
  const auto beside = [](auto first, auto second) { return choose_side_by_side(first, second); };
  const auto error_of_head = [](int head) {
    return "layer 2 (attention(computed scores, dense residual values)): below: expected the 1 layers below that have "
           "values of kv head " +
           std::to_string(head) + ", found 2";
  };
  EXPECT_EQ(refusal({choose<Bottom>(), beside(choose<Dense>(over(1)), choose<Bottom>()), choose<Dense>(over(2))}),
            error_of_head(1));
  EXPECT_EQ(refusal({choose<Bottom>(), beside(choose<Bottom>(), choose<Dense>(over(1))), choose<Dense>(over(2))}),
            error_of_head(0));
  EXPECT_EQ(refusal({choose<Bottom>(), beside(choose<Bottom>(), choose<Dense>(over(1))),
                     beside(choose<Dense>(over(1)), choose<Dense>(over(2)))}),
            "no error");
  EXPECT_EQ(error_text<ConfigError>([] { DenseResidualValues::check(sizes.shape(), {.below = 0}, "layer 1"); }),
            "layer 1: below: expected 1 or more, found 0");
}

}  // namespace
}  // namespace heed
