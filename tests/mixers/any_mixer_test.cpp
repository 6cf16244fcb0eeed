#include "heed/mixers/any_mixer.hpp"

#include <gtest/gtest.h>

#include "heed/mixers/variants.hpp"
#include "heed/model/dynamic_stack.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"

namespace heed {
namespace {

using reference::same_bits;
using Dynamic = DynamicStack<float>;
using Any = AnyMixer<float>;

constexpr Sizes sizes = {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 6};
const RecurrentMixAttention::Config mix_config = {.second_kv_heads = 1, .second = {.state_width = 3, .chunk = 4}};

struct Run {
  Matrix<float> y, d_x;
  std::vector<std::string> names;
  std::vector<Matrix<float>> gradients;
};

// A training pass of a model as it was initialised.
template <class Model>
Run run(const Model& model) {
  const Sequences rows = {5, 0, 3};
  Matrix<float> x(8, 8);
  Random(1, "x").normal(x, 1);
  auto tape = model.make_tape(rows);
  auto gradients = model.make_gradients();
  Run result;
  result.y = model.forward(x, tape);
  result.d_x = model.backward(x, tape, gradients);
  visit(
      [&](std::string_view name, Role, const auto& tensor) {
        result.names.emplace_back(name);
        result.gradients.push_back(tensor);
      },
      gradients);
  return result;
}
void expect_same(const Run& a, const Run& b) {
  EXPECT_TRUE(same_bits(a.y, b.y));
  EXPECT_TRUE(same_bits(a.d_x, b.d_x));
  ASSERT_EQ(a.names, b.names);
  for (std::size_t i = 0; i < a.names.size(); ++i) EXPECT_TRUE(same_bits(a.gradients[i], b.gradients[i])) << a.names[i];
}

TEST(AnyMixer, StartsComputesAndLearnsToTheBitAsItsTypeDoes) {
  using Typed = Stack<float, Block<StandardAttention>, Block<RecurrentMixAttention>>;
  Typed::Config config{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 6};
  config.layer<1>().mixer = mix_config;
  const Dynamic dynamic = Dynamic::build(sizes, {choose<StandardAttention>(), choose<RecurrentMixAttention>(mix_config)});
  expect_same(run(dynamic), run(Typed(config)));
}

TEST(AnyMixer, TwoSideBySideAreToTheBitTheTypedPair) {
  const Dynamic typed = Dynamic::build(sizes, {choose<StandardAttention>(), choose<RecurrentMixAttention>(mix_config),
                                               choose<PartialScoreReuseAttention>({.second_kv_heads = 1})});
  const Dynamic erased =
      Dynamic::build(sizes, {choose<StandardAttention>(),
                             choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(mix_config.second), 1),
                             choose_side_by_side(choose<StandardAttention>(), choose<ScoreReuseAttention>(), 1)});
  expect_same(run(erased), run(typed));
}

TEST(AnyMixer, TwoSideBySideMayReadThroughTheSameTap) {
  using Pair = SideBySide<ResidualValueAttention, SharedValueAttention>;
  const Dynamic typed = Dynamic::build(sizes, {choose<StandardAttention>(), choose<Pair>({.second_kv_heads = 1})});
  const Dynamic erased =
      Dynamic::build(sizes, {choose<StandardAttention>(),
                             choose_side_by_side(choose<ResidualValueAttention>(), choose<SharedValueAttention>(), 1)});
  expect_same(run(erased), run(typed));
}

TEST(AnyMixer, OfTwoSideBySideKeepsThePartsCaches) {
  const Dynamic erased =
      Dynamic::build(sizes, {choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(mix_config.second), 1)});
  const Dynamic typed = Dynamic::build(sizes, {choose<RecurrentMixAttention>(mix_config)});
  const CacheOptions options = {.sequences = 2, .positions = 10, .checkpoints = 3};
  EXPECT_EQ(erased.make_cache(options).bytes(), typed.make_cache(options).bytes());
  EXPECT_EQ(erased.plan().cache(0).per_position, typed.plan().cache(0).per_position);
  EXPECT_EQ(erased.plan().cache(0).per_state, typed.plan().cache(0).per_state);
}

TEST(AnyMixer, VisitsTheRowsAndStatesOfTheCacheItHolds) {
  const auto config =
      choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(mix_config.second), 1).erased<float>();
  const Any::Cache<float> origin(sizes.shape(), config, {{10, 20}, 3});
  const Any::Cache<float> copy = origin;
  std::string names;
  visit(
      [&](std::string_view name, const auto& leaf, const auto& copied) {
        names += std::string(name) + " ";
        EXPECT_NE(&leaf, &copied);
        EXPECT_EQ(leaf.bytes(), copied.bytes());
      },
      origin, copy);
  EXPECT_EQ(names, "first.k first.v second.states ");
}

TEST(AnyMixer, GradientsAreNotTheWeights) {
  const Dynamic model = Dynamic::build(sizes, {choose<StandardAttention>()});
  auto gradients = model.make_gradients();
  visit([](std::string_view, Role, auto& tensor) { tensor.setConstant(42); }, gradients);
  visit([](std::string_view name, Role, const auto& tensor) { EXPECT_FALSE((tensor.array() == 42).any()) << name; },
        model.params());
}

TEST(AnyMixer, IsDescribedByItsType) {
  EXPECT_EQ(describe<Any>(choose<StandardAttention>().erased<float>()), describe<StandardAttention>({}));
  EXPECT_EQ(describe<Any>(choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>()).erased<float>()),
            describe<RecurrentMixAttention>({}));
}

std::string error_of(const std::vector<Dynamic::Layer>& layers) {
  try {
    static_cast<void>(Dynamic::build(sizes, layers));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(AnyMixer, ChecksItsConfigAsItsTypeDoes) {
  EXPECT_EQ(error_of({choose<Mamba2>({.groups = 3})}),
            "layer 0: groups: expected a divisor of the 4 recurrent heads, found 3");
  EXPECT_EQ(error_of({choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(), 7)}),
            "layer 0: second_kv_heads: expected 0 to 2, found 7");
}

TEST(AnyMixer, RefusesToBeNothing) {
  try {
    Any::check(sizes.shape(), {}, "layer 4");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "layer 4: expected a mixer, found none");
  }
}

TEST(AnyMixer, ReadsOnlyWhatSomebodyBelowPublishes) {
  EXPECT_EQ(
      error_of({choose<Mamba2>(), choose<SharedValueAttention>()}),
      "layer 1 (attention(computed scores, shared values)) consumes first<values>, which no layer below it publishes");
  EXPECT_EQ(error_of({choose<ScoreReuseAttention>()}),
            "layer 0 (attention(reused scores, projected values)) consumes nearest<scores>, which no layer below it "
            "publishes");
}

TEST(AnyMixer, ReadsOnlyHeadsThatItsSourcePublishes) {
  EXPECT_EQ(
      error_of({choose<RecurrentMixAttention>(mix_config), choose<SharedValueAttention>()}),
      "layer 1 (attention(computed scores, shared values)) reads head 1 of first<values> from layer 0, which does not "
      "publish that head");
}

}  // namespace
}  // namespace heed
