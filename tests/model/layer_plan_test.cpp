#include "heed/model/layer_plan.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"

namespace heed {
namespace {

using Model = DynamicStack<float>;
using Layers = std::vector<Model::Layer>;
constexpr Sizes sizes{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};

Model::Plan plan(const Layers& layers) {
  return Model::build(sizes, layers).plan();
}
std::vector<int> wanted(const Model::Plan& plan, std::size_t layer, std::string_view signal) {
  const auto& of_signal = plan.wiring[layer].wanted[plan.wiring[layer].index_of(signal)];
  return {of_signal.begin(), of_signal.end()};
}
const Model::Layer standard = choose<StandardAttention>(), reuse = choose<ScoreReuseAttention>(),
                   shared = choose<SharedValueAttention>(), mamba = choose<Mamba2>(),
                   partial = choose_side_by_side(choose<StandardAttention>(), choose<ScoreReuseAttention>()),
                   mix = choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>());

TEST(LayerPlan, WantsTheHeadsThatAreRead) {
  const Model::Plan all = plan({standard, reuse, shared, standard});
  EXPECT_EQ(wanted(all, 0, "scores"), (std::vector{1, 1, 1, 1}));
  EXPECT_EQ(wanted(all, 0, "values"), (std::vector{1, 1}));
  EXPECT_EQ(wanted(all, 1, "scores"), (std::vector{0, 0, 0, 0}));
  EXPECT_EQ(wanted(all, 3, "scores"), (std::vector{0, 0, 0, 0}));
  EXPECT_EQ(all.wanted_scores, 4);
  EXPECT_EQ(all.score_bytes_per_pair(Storage::arithmetic), 16);
  EXPECT_EQ(all.score_bytes_per_pair(Storage::bfloat16), 8);
}

// The reusing mixer reads from head 0 of the layer below on: its freshest heads.
TEST(LayerPlan, WantsTheFirstHeadsOfALayerThatIsReusedInPart) {
  const Model::Plan all = plan({standard, partial});
  EXPECT_EQ(wanted(all, 0, "scores"), (std::vector{1, 1, 0, 0}));
  EXPECT_EQ(all.wanted_scores, 2);
}

TEST(LayerPlan, WantsWhatIsHandedOnAtEveryStep) {
  const Model::Plan all = plan({standard, reuse, reuse});
  EXPECT_EQ(wanted(all, 0, "scores"), (std::vector{1, 1, 1, 1}));
  EXPECT_EQ(wanted(all, 1, "scores"), (std::vector{1, 1, 1, 1}));
}

TEST(LayerPlan, RefusesATapThatFindsNoLayer) {
  EXPECT_THROW(plan({shared}), ConfigError);
  EXPECT_THROW(plan({mamba, reuse}), ConfigError);
  EXPECT_NO_THROW(plan({standard, mamba, reuse}));
}

TEST(LayerPlan, KnowsWhetherALayerKeepsStates) {
  EXPECT_FALSE(plan({standard, reuse}).stateful());
  EXPECT_TRUE(plan({standard, mamba}).stateful());
  EXPECT_TRUE(plan({mix}).stateful());
  EXPECT_FALSE(plan({choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(), 0)}).stateful());
}

TEST(LayerPlan, KnowsWhichRowsHaveToComeTogether) {
  const StandardAttention::Config ahead{.scores = {.mask = bidirectional()}};
  EXPECT_EQ(plan({standard, mix}).whole_rows, 0);
  EXPECT_EQ(plan({standard, choose<StandardAttention>(ahead)}).whole_rows, unbounded);
  EXPECT_EQ(plan({choose_side_by_side(choose<StandardAttention>(ahead), choose<Mamba2>())}).whole_rows, unbounded);
  const StandardAttention::Config prefix{.scores = {.mask = prefix_lm(5)}}, shorter{.scores = {.mask = prefix_lm(3)}};
  EXPECT_EQ(plan({choose<StandardAttention>(prefix), choose<StandardAttention>(shorter)}).whole_rows, 5);
}

TEST(LayerPlan, DescribesItsLayers) {
  const Model::Plan all = plan({standard, partial});
  EXPECT_EQ(all.describe(0), "attention(computed scores, projected values)");
  EXPECT_EQ(all.describe(1), "attention(computed scores, projected values) | attention(reused scores, projected values)");
}

TEST(LayerPlan, SaysWhatTheCacheOfALayerKeeps) {
  const Model::Plan all = plan({standard, reuse, shared, mamba, mix});
  const Index kv_width = 2 * 4, state = 4 * 4 * 64 + 3 * (4 * 4 + 2 * 64), half = 2 * 4 * 64 + 3 * (2 * 4 + 2 * 64);
  const auto expect = [&](std::size_t layer, Index per_position, Index per_state) {
    EXPECT_EQ(all.cache(layer).per_position, per_position) << layer;
    EXPECT_EQ(all.cache(layer).per_state, per_state) << layer;
  };
  expect(0, 2 * kv_width, 0);
  expect(1, kv_width, 0);
  expect(2, kv_width, 0);
  expect(3, 0, state);
  expect(4, kv_width, half);
}

TEST(LayerPlan, TakesTheScratchOfItsLargestLayer) {
  const Model::Layer wide = choose<Mamba2>({.state_width = 500, .chunk = 1000});
  EXPECT_LT(plan({standard}).scratch_bytes(100), plan({standard, wide, standard}).scratch_bytes(100));
  EXPECT_EQ(plan({wide}).scratch_bytes(100), plan({standard, wide, standard}).scratch_bytes(100));
  const CallSize call{.sequences = 2, .rows = 2000, .keys = 2000};
  EXPECT_LT(plan({standard}).job_bytes(call), plan({standard, wide, standard}).job_bytes(call));
  EXPECT_EQ(plan({wide}).job_bytes(call), plan({standard, wide, standard}).job_bytes(call));
}

}  // namespace
}  // namespace heed
