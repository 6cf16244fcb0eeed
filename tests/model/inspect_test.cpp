#include "heed/model/inspect.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/model/stack.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using Mixed = Stack<float, Block<StandardAttention>, Repeat<2, Block<ResFormer>>, Block<ScoreReuseAttention>,
                    Block<SVFormer>, Block<RecurFormer>>;

constexpr const char* mixed_text =
    R"(width 16, 4 heads, 2 kv heads, head width 4, hidden 48

layer  mixer                                                            reads                         parameters  bytes/position  bytes/state slot
0      attention(computed scores, projected values)                     -                                  3,104              64                 0
1      attention(computed scores, residual values)                      first<values> from layer 0         3,104              64                 0
2      attention(computed scores, residual values)                      first<values> from layer 0         3,104              64                 0
3      attention(reused scores, projected values)                       nearest<scores> from layer 2       2,720              32                 0
4      attention(computed scores, shared values)                        first<values> from layer 0         2,976              32                 0
5      attention(computed scores, projected values) | state space dual  -                                  5,878              32             3,680
all                                                                                                       20,886             288             3,680

positions  cache bytes of one sequence, one checkpoint  FLOPs of the next token
    1,024                                      305,952                  371,328
    8,192                                    2,370,336                2,665,088
   32,768                                    9,448,224               10,529,408
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
  EXPECT_NE(inspect(model).find("\nall                           0               0                 0\n"), std::string::npos)
      << inspect(model);
  EXPECT_EQ(planned_cache_bytes(model, 100), 0);
}

// D = 16, H = 4, G = 2, E = 4, F = 48: H E = 16, G E = 8. Counted by hand, of the last of 100 positions.
template <class Mixer, class FeedForwardType = SwiGlu>
Index flops_of(typename Mixer::Config config = {}, Index positions = 100) {
  const Sizes sizes{.width = 16, .heads = 4, .kv_heads = 2};
  const auto below = choose_block<Block<StandardAttention, NoFeedForward>>();
  const auto block = choose_block<Block<Mixer, FeedForwardType>>({.mixer = config});
  return flops_per_token(DynamicStack<float>::build(sizes, {below, block}), positions) -
         flops_per_token(DynamicStack<float>::build(sizes, {below}), positions);
}

TEST(FlopsPerToken, AreThoseOfMatricesAndOfWhatMixesPositions) {
  constexpr Index q = 2 * 16 * 16, k = 2 * 16 * 8, v = k, o = q, feed_forward = 2 * 3 * 16 * 48;
  constexpr Index scores = 2 * 16 * 100, values = 2 * 16 * 100;  // q k^T, a v
  EXPECT_EQ(flops_of<StandardAttention>(), q + k + v + o + scores + values + feed_forward);
  EXPECT_EQ((flops_of<StandardAttention, FeedForward<Relu>>()), q + k + v + o + scores + values + 2 * 2 * 16 * 48);
  EXPECT_EQ((flops_of<StandardAttention, NoFeedForward>()), q + k + v + o + scores + values);
  EXPECT_EQ((flops_of<ResidualValueAttention, NoFeedForward>()), q + k + v + o + scores + values);
  EXPECT_EQ((flops_of<SharedValueAttention, NoFeedForward>()), q + k + o + scores + values);
  EXPECT_EQ((flops_of<SharedKeyAttention, NoFeedForward>()), q + v + o + scores + values);
  EXPECT_EQ((flops_of<ScoreReuseAttention, NoFeedForward>()), v + o + values);
}

TEST(FlopsPerToken, OfAWindowDoNotGrow) {
  const StandardAttention::Config narrow{.scores = {.mask = window(10)}};
  const Index matrices = 2 * 16 * (16 + 8 + 8 + 16);
  EXPECT_EQ((flops_of<StandardAttention, NoFeedForward>(narrow, 100)), matrices + 2 * 2 * 16 * 10);
  EXPECT_EQ((flops_of<StandardAttention, NoFeedForward>(narrow, 1000)), matrices + 2 * 2 * 16 * 10);
  EXPECT_EQ((flops_of<StandardAttention, NoFeedForward>(narrow, 3)), matrices + 2 * 2 * 16 * 3);
}

TEST(FlopsPerToken, OfRecurrencesAreThoseOfTheirStates) {
  // w_z, w_x, w_o, w_b, w_c, w_dt; 16 channels with 8 numbers of state each; 4 taps on 16 + 8 + 8 columns
  constexpr Index mamba2 = 2 * 16 * (16 + 16 + 16 + 8 + 8 + 4) + 5 * 16 * 8 + 2 * 4 * (16 + 2 * 8);
  for (const Index positions : {1, 1000})
    EXPECT_EQ((flops_of<Mamba2, NoFeedForward>({.state_width = 8}, positions)), mamba2);
  // w_z, w_x, w_o, w_low, w_b, w_c, and w_dt from rank 1
  constexpr Index mamba = 2 * (16 * (16 + 16 + 16 + 1 + 8 + 8) + 16) + 16 * (6 * 8 + 2 * 4);
  EXPECT_EQ((flops_of<Mamba, NoFeedForward>({.state_width = 8})), mamba);
}

TEST(FlopsPerToken, OfTwoSideBySideAreThoseOfTheirHeads) {
  const RecurrentMixAttention::Config half{.second_kv_heads = 1, .second = {.state_width = 8}};
  constexpr Index attention = 2 * 16 * (8 + 4 + 4 + 8) + 2 * 2 * 8 * 100;
  constexpr Index mamba2 = 2 * 16 * (8 + 8 + 8 + 8 + 8 + 2) + 5 * 8 * 8 + 2 * 4 * (8 + 2 * 8);
  EXPECT_EQ((flops_of<RecurrentMixAttention, NoFeedForward>(half)), attention + mamba2);
}

TEST(Inspect, SaysWhatASequenceTakesWhateverItsLength) {
  using Model = Stack<float, Block<CrossAttention, NoFeedForward>>;
  Model::Config config{.width = 8, .heads = 2};
  config.layer<0>().mixer.memory_positions = 5;
  const std::string text = inspect(Model(config));
  EXPECT_NE(text.find("  bytes/position  bytes/state slot  bytes/sequence\n"), std::string::npos) << text;
  EXPECT_NE(text.find("               0                 0             320\n"), std::string::npos) << text;  // 5 (8 + 8) 4
}

TEST(Inspect, RefusesLengthsThatNoCacheHas) {
  const Stack<float, Block<StandardAttention>> model({.width = 8, .heads = 2});
  EXPECT_EQ(error_text<ShapeError>([&] { static_cast<void>(planned_cache_bytes(model, -5)); }),
            "positions: expected 1 or more, found -5");
  EXPECT_EQ(error_text<ShapeError>([&] { static_cast<void>(inspect(model, {.positions = {Index(1) << 62}})); }),
            "positions: expected at most 2147483648, found 4611686018427387904");
}

TEST(Inspect, PlansForThePositionsThatAreAsked) {
  const Stack<float, Block<StandardAttention>> model({.width = 16, .heads = 4, .kv_heads = 2});
  const std::string text = inspect(model, {.positions = {7}});
  EXPECT_EQ(text.find("1,024"), std::string::npos);
  EXPECT_NE(text.find(" 448 "), std::string::npos) << text;     // 2 (keys, values) 8 wide, 4 bytes, 7 positions
  EXPECT_NE(text.find(" 6,592\n"), std::string::npos) << text;  // 2 (3104 - 2 16) + 2 (16 + 16) 7
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
