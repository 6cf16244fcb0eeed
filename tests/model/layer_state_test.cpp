#include "heed/model/layer_state.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/model/block.hpp"
#include "heed/model/stack_config.hpp"

namespace heed {
namespace {

using Standard = Block<StandardAttention>;
using Reuse = Block<ScoreReuseAttention>;
using Plan = LayerPlan<float, Standard, Reuse>;
using State = LayerState<float, Standard, Reuse>;

// Layers 0 and 2 are standard; layer 1 reads the scores of layer 0.
std::shared_ptr<const Plan> plan() {
  return std::make_shared<const Plan>(Sizes{.width = 8, .heads = 4, .kv_heads = 2}.shape(),
                                      std::vector<Plan::Place>{{0, 0}, {1, 0}, {0, 1}},
                                      Plan::Configs{std::vector<Standard::Config>(2), std::vector<Reuse::Config>(1)});
}
State make_state(Index score_bytes = 0) {
  return State(plan(), {7, 5}, {.score_bytes = score_bytes}, {.kept = 1000, .scratch = 1000});
}

TEST(LayerState, HasACacheAndARecordForEveryLayer) {
  const State state = make_state();
  EXPECT_EQ(std::get<0>(state.caches).size(), 2u);
  EXPECT_EQ(std::get<1>(state.caches).size(), 1u);
  EXPECT_EQ(std::get<0>(state.records).size(), 2u);
  EXPECT_EQ(std::get<1>(state.records).size(), 1u);
  const Index row = 2 * 2, rows = 7 + 5;
  EXPECT_EQ(state.bytes(), 4 * rows * row * (2 + 1 + 2));  // K and V, V, K and V
}

TEST(LayerState, FeedsATapTheTableOfItsSource) {
  State state = make_state();
  for (std::size_t layer = 0; layer < 3; ++layer) state.make_tables(layer, 2);
  ASSERT_EQ(state.outputs[0].size(), 3u);  // values, scores, keys
  ASSERT_EQ(state.inputs[1].size(), 1u);
  EXPECT_EQ(state.inputs[1][0].entries, state.outputs[0][1].entries);
  EXPECT_EQ(state.outputs[0][0].heads, 2);  // values, by kv head
  EXPECT_EQ(state.outputs[0][1].heads, 4);  // scores, by query head
  EXPECT_EQ(state.outputs[0][1].sequences, 2);
  EXPECT_TRUE(state.inputs[0].empty());
  EXPECT_TRUE(state.inputs[2].empty());
}

TEST(LayerState, SaysWhichHeadsAreWanted) {
  State state = make_state();
  for (std::size_t layer = 0; layer < 3; ++layer) state.make_tables(layer, 2);
  for (Index head = 0; head < 4; ++head) {
    EXPECT_EQ(state.outputs[0][1].wanted[head], 1) << head;
    EXPECT_EQ(state.outputs[2][1].wanted[head], 0) << head;
  }
}

TEST(LayerState, MakesTablesWithoutGrowing) {
  State state(plan(), {7, 5}, {.score_bytes = 0}, {.kept = 0, .scratch = 0});
  const std::size_t blocks = state.work.scratch_blocks();
  for (std::size_t layer = 0; layer < 3; ++layer) state.make_tables(layer, 2);
  EXPECT_EQ(state.work.scratch_blocks(), blocks);
}

// 10 bytes a pair; the longest sequence has 4 + 3 positions when the call is done.
TEST(LayerState, CutsSlicesThatFitTheirScores) {
  const Sequences past({4, 0}), rows({3, 2});
  const auto slice = [&](Index score_bytes) {
    State state = make_state(score_bytes);
    state.work.timeline.advance(past.division());
    return state.slice_rows(rows.division(), 10);
  };
  EXPECT_EQ(slice(1000), 5);  // all
  EXPECT_EQ(slice(280), 4);
  EXPECT_EQ(slice(279), 3);
  EXPECT_EQ(slice(70), 1);
  EXPECT_EQ(slice(0), 1);  // a row at least
}

TEST(LayerState, ACopyHasTheTensorsAndScratchOfItsOwn) {
  State state = make_state();
  const State copy = state;
  EXPECT_EQ(copy.plan, state.plan);
  EXPECT_EQ(copy.bytes(), state.bytes());
  EXPECT_EQ(copy.work.scratch_bytes(), state.work.scratch_bytes());
}

}  // namespace
}  // namespace heed
