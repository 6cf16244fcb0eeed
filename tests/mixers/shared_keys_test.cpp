#include "heed/mixers/shared_keys.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

using testing::Layers;
using Standard = Attention<>;
using OwnValues = SharedKeyAttention;
using CrossLayer = CrossLayerAttention;

const testing::ContractOptions small = {.sizes = {.width = 6, .heads = 4, .kv_heads = 2, .head_width = 2, .hidden = 4},
                                        .lengths = {4, 0, 1, 5}};

TEST(SharedKeys, HoldTheContractWithValuesOfTheirOwn) {
  const auto report = testing::mixer_contract<OwnValues>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SharedKeys, HoldTheContractInAGroupOfThreeLayersThatShareValuesToo) {
  const auto report = testing::mixer_contract<CrossLayer, Layers<Standard>, Layers<CrossLayer>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SharedKeys, HoldTheContractWithTheValuesOfTheFirstLayer) {
  const auto report =
      testing::mixer_contract<SharedKeyValueAttention, Layers<Standard, SharedValueAttention>, Layers<>>({}, small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SharedKeys, HoldTheContractWithEveryOptionOfTheirQueries) {
  const auto report = testing::mixer_contract<OwnValues, Layers<Standard>, Layers<Attention<ReusedScores>>>(
      {.scores = {.mask = window(3),
                  .biases = true,
                  .query_key_norm = QueryKeyNorm::per_head,
                  .norm_epsilon = 0.01,
                  .soft_cap = 2,
                  .sinks = true}},
      small);
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(SharedKeys, AreReadFromTheFirstLayerOfTheGroup) {
  const auto model = DynamicStack<float>::build(
      {.width = 8, .heads = 2},
      {choose<Standard>(), choose<OwnValues>(), choose<OwnValues>(), choose<Standard>(), choose<OwnValues>()});
  std::vector<int> sources;
  for (const LayerWiring& layer : model.plan().wiring)
    for (const LayerWiring::Source& tap : layer.taps) sources.push_back(tap.layer);
  EXPECT_EQ(sources, (std::vector<int>{0, 0, 3}));
}

TEST(SharedKeys, HaveNoKeyProjectionAndNoCache) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  std::vector<std::string> names;
  const SharedKeys<>::Params<float> params(shape, {.biases = true, .query_key_norm = QueryKeyNorm::per_head});
  visit([&](std::string_view name, Role, const auto&) { names.emplace_back(name); }, params);
  EXPECT_EQ(names, (std::vector<std::string>{"w_q", "b_q", "q_norm"}));
  EXPECT_EQ(SharedKeys<>::plan(shape, {}).per_position, 0);
  EXPECT_EQ(OwnValues::plan(shape, {}).per_position, 8) << "values only";
}

TEST(SharedKeys, NeedALayerBelowThatHasKeys) {
  try {
    static_cast<void>(DynamicStack<float>::build({.width = 8, .heads = 2}, {choose<OwnValues>()}));
    FAIL() << "the lowest layer has no keys to share";
  } catch (const ConfigError& error) {
    EXPECT_EQ(
        std::string(error.what()),
        "layer 0 (attention(shared keys, projected values)) consumes nearest<keys>, which no layer below it publishes");
  }
}

}  // namespace
}  // namespace heed
