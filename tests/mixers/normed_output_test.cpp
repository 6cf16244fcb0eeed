#include "heed/mixers/normed_output.hpp"

#include <gtest/gtest.h>

#include "heed/model/mixer_layer.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

using Normed = Attention<ComputedScores, ProjectedValues, NormedOutput>;
using Over = NormedOutput::Over;

const testing::ContractOptions small = {
    .sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .value_width = 3, .hidden = 4},
    .lengths = {4, 0, 1, 5}};

TEST(NormedOutput, HoldsTheContractOverTheWhole) {
  const auto report = testing::mixer_contract<Normed>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(NormedOutput, HoldsTheContractOverEveryHead) {
  const auto report = testing::mixer_contract<Normed>({.output = {.over = Over::head}}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(NormedOutput, HasAWeightForEveryFeatureThatItIsOver) {
  const Shape shape = small.sizes.shape();
  EXPECT_EQ(NormedOutput::Params<float>(shape, {.over = Over::whole}).o_norm.cols(), 12);
  EXPECT_EQ(NormedOutput::Params<float>(shape, {.over = Over::head}).o_norm.cols(), 3);
}

// Values a thousand times as large come out of the norm as they went in, heads apart or together.
TEST(NormedOutput, DoesNotDependOnTheScaleOfTheValues) {
  for (const Over over : {Over::whole, Over::head}) {
    const auto rows = [&](double scale) {
      MixerLayer<double, Normed> layer(small.sizes, {.output = {.over = over, .epsilon = 1e-30}});
      layer.params.values.v.w *= scale;
      Workspace work({.positions = 4});
      auto state = layer.make_state(work);
      Matrix<double> x(4, 6), y = Matrix<double>::Zero(4, 6);
      Random(3, "x").normal(x, 1);
      layer.apply(work.begin(Sequences({4}), Purpose::inference), x, y, state);
      return y;
    };
    const Matrix<double> once = rows(1);
    EXPECT_LE((rows(1024) - once).cwiseAbs().maxCoeff(),
              12 * std::numeric_limits<double>::epsilon() * once.cwiseAbs().maxCoeff());
  }
}

}  // namespace
}  // namespace heed
