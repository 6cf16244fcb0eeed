#include "heed/mixers/shared_values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"
#include "mixers/nearest_values.hpp"

namespace heed {
namespace {

using testing::Layers;
using Shared = Attention<ComputedScores, SharedValues<>>;

const testing::ContractOptions small = {.sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4},
                                        .lengths = {4, 0, 1, 5}};

TEST(SharedValues, HoldTheContractWhereALayerAboveReadsThem) {
  const auto report = testing::mixer_contract<Shared, Layers<Attention<>>, Layers<reading::ValueReader>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SharedValues, HoldTheContractFromTheNearestLayer) {
  using Nearest = Attention<ComputedScores, SharedValues<nearest<values>>>;
  const auto report =
      testing::mixer_contract<Nearest, Layers<Attention<>, Attention<>>, Layers<Nearest, Shared>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

// V of layer n is that of the largest anchor a(n) <= n.
TEST(SharedValues, WithAnchorsReadTheAnchorBelowThem) {
  using Anchor = Block<Attention<>>;
  using Shares = Block<Attention<ComputedScores, SharedValues<nearest<values>>>>;
  const auto origins = [](const auto& model) {
    std::vector<int> layers;
    for (int layer = 0; layer < static_cast<int>(model.layers()); ++layer) {
      int origin = layer;  // a layer that shares publishes what it read
      for (const auto* wiring = &model.plan().wiring[static_cast<std::size_t>(origin)]; !wiring->taps.empty();
           wiring = &model.plan().wiring[static_cast<std::size_t>(origin)])
        origin = wiring->taps[0].layer;
      layers.push_back(origin);
    }
    return layers;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(origins(Stack<float, Anchor, Repeat<4, Shares>>({.width = 4, .heads = 2})), ElementsAre(0, 0, 0, 0, 0));
  EXPECT_THAT(origins(Stack<float, Anchor, Repeat<3, Shares>, Anchor>({.width = 4, .heads = 2})),
              ElementsAre(0, 0, 0, 0, 4));
  EXPECT_THAT(origins(Stack<float, Anchor, Shares, Anchor, Shares, Anchor>({.width = 4, .heads = 2})),
              ElementsAre(0, 0, 2, 2, 4));
}

TEST(SharedValues, HaveNoWeightsAndNoCache) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  EXPECT_EQ(count_parameters(SharedValues<>::Params<float>(shape, {})), 0);
  EXPECT_EQ(SharedValues<>::plan(shape, {}).per_position, 0);
  EXPECT_EQ((cache_bytes(SharedValues<>::Cache<float>(shape, SharedValues<>::Config{}, CacheSize{{10, 20}}))), 0);
  EXPECT_EQ(Shared::plan(shape, {}).per_position, 8) << "keys only";
}

TEST(SharedValues, PassTheEntriesOfTheirOriginOn) {
  const Shape layer = {.width = 4, .head_width = 2, .value_width = 2, .group = 1, .heads = {0, 3}, .kv_heads = {0, 3}};
  const Shape upper = layer.kv_range(1, 2);
  const float rows[6] = {};
  HeadRows<float> origin[2 * 3];
  for (Index i = 0; i < 6; ++i) origin[i].data = rows + i;
  HeadRows<float> copies[2 * 2];
  const SignalTable in[] = {{origin + 1, 2, 2, 3}};
  const SignalTable out[] = {{copies, 2, 2, 2}};
  const SharedValues<>::Config config;
  const SharedValues<>::Params<float> params;
  NoCache cache;
  NoRecord record;
  const Sequences sequences{1, 1};
  const Index past[] = {0, 0};
  const StateSlots slots[] = {{}, {}};
  Arena kept, scratch;
  Workers workers;
  const Pass pass{sequences.division(), past, {slots}, Purpose::inference, kept, scratch, workers};
  const Matrix<float> x = Matrix<float>::Zero(2, 4);
  const auto v = SharedValues<>::apply<float>(
      {upper, config, params, Inputs<float, SharedValues<>::consumes>(std::span<const SignalTable>(in)),
       Outputs<float, SharedValues<>::publishes>(std::span<const SignalTable>(out)), cache, record, pass},
      view_of(x));
  for (Index b = 0; b < 2; ++b)
    for (Index g = 0; g < 2; ++g) EXPECT_EQ(v.at(b, g).data, rows + 3 * b + 1 + g);
}

}  // namespace
}  // namespace heed
