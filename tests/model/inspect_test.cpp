#include "heed/model/inspect.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/model/stack.hpp"

namespace heed {
namespace {

using Mixed = Stack<float, Block<StandardAttention>, Repeat<2, Block<ResFormer>>, Block<ScoreReuseAttention>,
                    Block<SVFormer>, Block<RecurFormer>>;

constexpr const char* mixed_text =
    R"(width 16, 4 heads, 2 kv heads, head width 4, hidden 48

layer  mixer                                                            reads                         parameters  bytes/position  bytes/state
0      attention(computed scores, projected values)                     -                                  3,104              64            0
1      attention(computed scores, residual values)                      first<values> from layer 0         3,104              64            0
2      attention(computed scores, residual values)                      first<values> from layer 0         3,104              64            0
3      attention(reused scores, projected values)                       nearest<scores> from layer 2       2,720              32            0
4      attention(computed scores, shared values)                        first<values> from layer 0         2,976              32            0
5      attention(computed scores, projected values) | state space dual  -                                  5,878              32        3,680
all                                                                                                       20,886             288        3,680

positions  cache bytes of one sequence, one checkpoint
    1,024                                      305,952
    8,192                                    2,370,336
   32,768                                    9,448,224
)";

TEST(Inspect, SaysWhoReadsWhomTheParametersAndTheCachePlan) {
  const Mixed model({.width = 16, .heads = 4, .kv_heads = 2});
  EXPECT_EQ(inspect(model), mixed_text);
}

TEST(Inspect, SaysTheSameOfLayersChosenAtRunTime) {
  const auto model = DynamicStack<float>::build(
      {.width = 16, .heads = 4, .kv_heads = 2},
      {choose<StandardAttention>(), choose<ResFormer>(), choose<ResFormer>(), choose<ScoreReuseAttention>(),
       choose<SVFormer>(), choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>())});
  EXPECT_EQ(inspect(model), mixed_text);
}

TEST(Inspect, NamesEveryTapOfALayer) {
  using Top = Attention<ReusedScores, ResidualValues<Learned>>;
  const Stack<float, Block<StandardAttention>, Block<Top>> model({.width = 8, .heads = 2});
  EXPECT_NE(inspect(model).find("1      attention(reused scores, learned residual values)  nearest<scores> from layer 0, "
                                "first<values> from layer 0  "),
            std::string::npos)
      << inspect(model);
}

TEST(Inspect, CountsBytesInTheModelsScalar) {
  const Stack<double, Block<StandardAttention>> model({.width = 8, .heads = 2});
  EXPECT_EQ(planned_cache_bytes(model, 10), 2 * 10 * 8 * Index(sizeof(double)));
}

TEST(Inspect, CountsEveryParameterOnce) {
  const Mixed model({.width = 16, .heads = 4, .kv_heads = 2});
  Index sum = 0;
  for (std::size_t layer = 0; layer < 6; ++layer) sum += model.parameters(layer);
  EXPECT_EQ(sum, count_parameters(model.params()));
}

TEST(Inspect, AModelWithoutLayersHasNothing) {
  const auto model = DynamicStack<float>::build({.width = 8, .heads = 2}, {});
  EXPECT_NE(inspect(model).find("\nall                           0               0            0\n"), std::string::npos)
      << inspect(model);
  EXPECT_EQ(planned_cache_bytes(model, 100), 0);
}

TEST(Inspect, GroupsDigitsByThrees) {
  EXPECT_EQ(detail::grouped(0), "0");
  EXPECT_EQ(detail::grouped(999), "999");
  EXPECT_EQ(detail::grouped(1000), "1,000");
  EXPECT_EQ(detail::grouped(1234567), "1,234,567");
}

TEST(PlannedCacheBytes, AreAllocatedBytes) {
  const Mixed model({.width = 16, .heads = 4, .kv_heads = 2});
  for (const Index sequences : {1, 3})
    for (const Index positions : {1, 7, 64})
      for (const Index checkpoints : {0, 1, 4})
        for (const auto& [recent_states, storage] :
             {std::pair(Index(0), Storage::half), std::pair(Index(5), Storage::arithmetic)}) {
          const CacheOptions options{.sequences = sequences,
                                     .positions = positions,
                                     .checkpoints = checkpoints,
                                     .recent_states = recent_states,
                                     .storage = storage};
          EXPECT_EQ(model.make_cache(options).bytes(), planned_cache_bytes(model, options))
              << sequences << " sequences, " << positions << " positions, " << checkpoints << " checkpoints, "
              << recent_states << " recent states";
        }
}

// 12 layers, 16 heads, 4 kv heads of width 64, 8192 positions, float. The caches are made; what is never touched is free.
Index large_cache_bytes(const std::vector<DynamicStack<float>::Layer>& layers, Index checkpoints = 1) {
  const auto model =
      DynamicStack<float>::build({.width = 8, .heads = 16, .kv_heads = 4, .head_width = 64, .hidden = 8}, layers);
  const CacheOptions options{.positions = 8192, .checkpoints = checkpoints};
  const Index planned = planned_cache_bytes(model, options);
  EXPECT_EQ(model.make_cache(options).bytes(), planned);
  return planned;
}
/// `count` layers of `mixer` above `below`.
template <class Choice>
std::vector<DynamicStack<float>::Layer> and_then(std::vector<DynamicStack<float>::Layer> below, int count, Choice mixer) {
  for (int layer = 0; layer < count; ++layer) below.push_back(mixer);
  return below;
}
/// Of a language model, what stands around the layers comes first.
TEST(Inspect, OfALanguageModelCountsWhatStandsAroundTheLayers) {
  const LanguageModel tied(11, Mixed({.width = 16, .heads = 4, .kv_heads = 2}));
  EXPECT_EQ(inspect(tied),
            "vocabulary 11, parameters: embedding 176, norm 16, head 0, all 21,078\n" + std::string(mixed_text));
  const LanguageModel<Mixed, UntiedHead> untied(11, Mixed({.width = 16, .heads = 4, .kv_heads = 2}));
  EXPECT_EQ(inspect(untied).substr(0, 80),
            "vocabulary 11, parameters: embedding 176, norm 16, head 176, all 21,254\nwidth 16");
}

constexpr Index standard_bytes = 2 * 12 * 8192 * 4 * 64 * 4;

TEST(PlannedCacheBytes, OfStandardAndResidualValueAreKeysAndValues) {
  EXPECT_EQ(standard_bytes, 201'326'592);
  EXPECT_EQ(large_cache_bytes(and_then({}, 12, choose<StandardAttention>())), standard_bytes);
  EXPECT_EQ(large_cache_bytes(and_then({choose<StandardAttention>()}, 11, choose<ResFormer>())), standard_bytes);
}

TEST(PlannedCacheBytes, OfSharedValueAreThirteenTwentyFourths) {
  EXPECT_EQ(large_cache_bytes(and_then({choose<StandardAttention>()}, 11, choose<SVFormer>())), 109'051'904);
  EXPECT_EQ(standard_bytes / 24 * 13, 109'051'904);
}

TEST(PlannedCacheBytes, OfSixReusingLayersAreEighteenTwentyFourths) {
  const auto standard = and_then({}, 6, choose<StandardAttention>());
  EXPECT_EQ(large_cache_bytes(and_then(standard, 6, choose<ScoreReuseAttention>())), 150'994'944);
  EXPECT_EQ(standard_bytes / 24 * 18, 150'994'944);
}

TEST(PlannedCacheBytes, OfHalfRecurrentHeadsAreHalfAndOneStateForEverySlot) {
  const auto half = choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>());
  const Index state = 12 * (8 * 64 * 64 + 3 * (8 * 64 + 2 * 64)) * 4;
  for (const Index checkpoints : {0, 1, 3})
    EXPECT_EQ(large_cache_bytes(and_then({}, 12, half), checkpoints), standard_bytes / 2 + (checkpoints + 2) * state);
}

}  // namespace
}  // namespace heed
