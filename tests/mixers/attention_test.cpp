#include "heed/mixers/attention.hpp"

#include <gtest/gtest.h>

#include "heed/testing/mixer_contract.hpp"

namespace heed {
namespace {

using testing::mixer_contract;
using Standard = Attention<>;

static_assert(Mixer<Standard>);
static_assert(Standard::consumes::size == 0);
static_assert(Standard::publishes::contains<values> && Standard::publishes::contains<scores>);

void expect_contract(const Standard::Config& config, const Sizes& sizes) {
  const auto report = mixer_contract<Standard>(config, {.sizes = sizes});
  EXPECT_TRUE(report.holds()) << report.text();
}

TEST(Attention, HoldsTheContractWithHeadsOfTheirOwn) {
  expect_contract({}, {.width = 8, .heads = 4, .kv_heads = 4, .head_width = 2, .hidden = 6});
}

TEST(Attention, HoldsTheContractWithGroupedHeads) {
  expect_contract({}, {.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4, .hidden = 6});
}

TEST(Attention, HoldsTheContractWithOneKvHead) {
  expect_contract({}, {.width = 7, .heads = 3, .kv_heads = 1, .head_width = 2, .hidden = 6});
}

TEST(Attention, HoldsTheContractInAWindow) {
  expect_contract({.scores = {.mask = window(3)}}, {.width = 8, .heads = 2, .kv_heads = 1, .head_width = 4, .hidden = 6});
}

TEST(Attention, HoldsTheContractInBothDirections) {
  expect_contract({.scores = {.mask = bidirectional()}}, {.width = 8, .heads = 2, .head_width = 4, .hidden = 6});
}

TEST(Attention, HoldsTheContractWithBiasesOfValuesAndOutput) {
  expect_contract({.values = {.biases = true}, .output_bias = true},
                  {.width = 6, .heads = 2, .kv_heads = 1, .head_width = 2, .value_width = 3, .hidden = 4});
}

TEST(Attention, HasTheBiasesThatAreChosenAndNoOthers) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4, .value_width = 3}.shape();
  const auto names_of = [&](const Attention<>::Config& config) {
    std::string names;
    const Attention<>::Params<float> params(shape, config);
    visit([&](std::string_view name, Role, const auto&) { names += std::string(name) + " "; }, params);
    return names;
  };
  EXPECT_EQ(names_of({}), "w_q w_k w_v w_o ");
  EXPECT_EQ(names_of({.values = {.biases = true}}), "w_q w_k w_v b_v w_o ");
  EXPECT_EQ(names_of({.output_bias = true}), "w_q w_k w_v w_o b_o ");
}

TEST(Attention, CachesKeysAndValues) {
  const Shape shape = Sizes{.width = 12, .heads = 6, .kv_heads = 2, .head_width = 4}.shape();
  EXPECT_EQ(Standard::plan(shape, {}).per_position, 2 * 2 * 4);
  EXPECT_EQ(Standard::plan(shape, {}).per_state, 0);
  const Standard::Cache<float> cache(shape, {}, {{10, 20}});
  EXPECT_EQ(cache_bytes(cache), 30 * 2 * 2 * 4 * 4);
}

TEST(Attention, NamesItsPartsWhenItDescribesItself) {
  EXPECT_EQ(describe<Standard>({}), "attention(computed scores, projected values)");
}

}  // namespace
}  // namespace heed
