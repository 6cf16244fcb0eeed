#include "heed/mixers/shared_softmax.hpp"

#include <gtest/gtest.h>

#include <map>

#include "heed/mixers/variants.hpp"
#include "heed/model/mixer_layer.hpp"
#include "heed/testing/mixer_contract.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using testing::Layers;
using Holder = CoefficientHolder;
using HolderBlock = Block<Holder, NoFeedForward, NoNorm>;
using Plus = Attention<ComputedScores, ResidualValues<SharedSoftmax>>;

constexpr Sizes sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4};
const testing::ContractOptions small = {.sizes = sizes, .lengths = {4, 0, 1, 5}};

TEST(SharedSoftmax, HoldsTheContractAboveItsHolder) {
  const auto report = testing::mixer_contract<Plus, Layers<Holder, Attention<>>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(CoefficientHolder, HoldsTheContract) {
  const auto report = testing::mixer_contract<Holder>({.readers = 3, .slope = 0.2}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

std::vector<DynamicStack<double>::Layer> layers_of(Index readers) {
  std::vector<DynamicStack<double>::Layer> layers = {
      choose_block<HolderBlock>({.mixer = {.readers = readers, .slope = 0.3}}), choose<Attention<>>()};
  for (Index reader = 0; reader < readers; ++reader)
    layers.push_back(choose<Plus>({.values = {.coefficients = {.reader = reader}}}));
  return layers;
}

// The softmax couples all readers: every logit gets a gradient from every layer.
TEST(CoefficientHolder, GathersTheGradientsOfAllReaders) {
  testing::Report report;
  testing::detail::check_gradients(report, DynamicStack<double>::build(sizes, layers_of(3)), {4, 0, 3}, 1, "gradients");
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(CoefficientHolder, ChangesNoRow) {
  MixerLayer<float, Holder> holder(sizes, {.readers = 2});
  Workspace work({.positions = 3});
  auto state = holder.make_state(work);
  const Matrix<float> x = Matrix<float>::Ones(3, 6);
  Matrix<float> y = x;
  holder.apply(work.begin(Sequences({3}), Purpose::inference), x, y, state);
  EXPECT_EQ(y, x);
  EXPECT_EQ(state.bytes(), 0);
}

TEST(CoefficientHolder, StartsWithTheNumberOfLayersAsItsScale) {
  const Holder::Params<float> params(sizes.shape(), {.readers = 7});
  EXPECT_EQ(params.scale(0, 0), 8);
  EXPECT_EQ(params.logits, (Matrix<float>::Zero(1, 7)));
  const Holder::Params<float> rising(sizes.shape(), {.readers = 2, .scale = 3, .slope = 0.5});
  EXPECT_EQ(rising.scale(0, 0), 3);
  EXPECT_EQ(rising.logits, (Matrix<float>(1, 2) << 0.5, 1).finished());
}

// Equal logits: l_first = scale / n.
TEST(SharedSoftmax, OfEqualLogitsIsTheMixWithFixedCoefficients) {
  auto plus = DynamicStack<double>::build(
      sizes, {choose_block<HolderBlock>({.mixer = {.readers = 2, .scale = 3}}), choose<Attention<>>(), choose<Plus>(),
              choose<Plus>({.values = {.coefficients = {.reader = 1}}})});
  const ResidualValueAttention::Config fixed = {.values = {.coefficients = {.from_first = 1.5, .from_own = 0.5}}};
  auto residual = DynamicStack<double>::build(
      sizes, {choose<Attention<>>(), choose<ResidualValueAttention>(fixed), choose<ResidualValueAttention>(fixed)});
  std::map<std::string, Matrix<double>> weights;
  visit([&](std::string_view name, Role, const auto& tensor) { weights[std::string(name)] = tensor; }, residual.params());
  visit(
      [&](std::string_view name, Role role, auto& tensor) {
        if (role == Role::coefficient) return;
        std::string below(name);
        below[7] = static_cast<char>(below[7] - 1);  // "layers.2.mixer.w_q" is the other's "layers.1.mixer.w_q"
        tensor = weights.at(below);
      },
      plus.params());
  Matrix<double> x(5, 6);
  Random(1, "x").normal(x, 1);
  auto plus_cache = plus.make_cache({.positions = 5, .rows = 5});
  auto residual_cache = residual.make_cache({.positions = 5, .rows = 5});
  const Matrix<double> expected = residual.forward(x, residual_cache);
  EXPECT_LE((plus.forward(x, plus_cache) - expected).cwiseAbs().maxCoeff(),
            12 * std::numeric_limits<double>::epsilon() * expected.cwiseAbs().maxCoeff());
}

TEST(SharedSoftmax, RefusesAReaderThatTheHolderHasNoNumberFor) {
  EXPECT_EQ(
      error_text<ConfigError>([] {
        static_cast<void>(DynamicStack<float>::build(sizes, {choose<Holder>({.readers = 2}), choose<Attention<>>(),
                                                             choose<Plus>({.values = {.coefficients = {.reader = 2}}})}));
      }),
      "layer 2 (attention(computed scores, residual values of a shared softmax)): reader: expected a number below "
      "the 2 readers of the coefficient holder, found 2");
}

TEST(SharedSoftmax, NeedsAHolderBelow) {
  EXPECT_THROW(static_cast<void>(DynamicStack<float>::build(sizes, {choose<Attention<>>(), choose<Plus>()})), ConfigError);
}

TEST(CoefficientHolder, WithoutReadersIsRefused) {
  EXPECT_EQ(error_text<ConfigError>([] { Holder::check(sizes.shape(), {.readers = 0}, "layer 0"); }),
            "layer 0: readers: expected 1 or more, found 0");
}

}  // namespace
}  // namespace heed
