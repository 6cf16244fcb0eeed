#include "heed/model/dynamic_stack.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "reference/bounds.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using Model = DynamicStack<float>;
constexpr Sizes sizes{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};

std::vector<Model::Layer> five_layers() {
  const Mamba2::Config narrow{.state_width = 3};
  return {choose<StandardAttention>({.scores = {.mask = window(3)}}), choose<LearnedResidualValueAttention>(),
          choose<SharedValueAttention>(), choose<ScoreReuseAttention>(),
          choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(narrow))};
}

template <class AnyModel>
std::vector<Matrix<float>> results(const AnyModel& model) {
  std::vector<Matrix<float>> all;
  auto tape = model.make_tape(Sequences({7, 0, 3}));
  auto gradients = model.make_gradients();
  all.push_back(model.forward(random_matrix<float>(10, 8, "x"), tape));
  all.push_back(model.backward(random_matrix<float>(10, 8, "d_out"), tape, gradients));
  visit([&](std::string_view, Role, const auto& gradient) { all.push_back(gradient); }, gradients);
  auto cache = model.make_cache({.sequences = 2, .positions = 8, .rows = 10});
  all.push_back(model.forward(random_matrix<float>(10, 8, "x"), Sequences({4, 6}), cache));
  all.push_back(model.forward(random_matrix<float>(2, 8, "next"), Sequences({1, 1}), cache));
  return all;
}

TEST(DynamicStack, HasTheBitsOfTheSameLayersAsTypes) {
  using Static = Stack<float, Block<StandardAttention>, Block<LearnedResidualValueAttention>, Block<SharedValueAttention>,
                       Block<ScoreReuseAttention>, Block<RecurrentMixAttention>>;
  Static::Config config{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};
  config.layer<0>().mixer.scores.mask = window(3);
  config.layer<4>().mixer.second.state_width = 3;
  const Static as_types(config);
  const Model chosen = Model::build(sizes, five_layers());

  std::vector<std::string> names, chosen_names;
  visit([&](std::string_view name, Role, const auto&) { names.emplace_back(name); }, as_types.params());
  visit([&](std::string_view name, Role, const auto&) { chosen_names.emplace_back(name); }, chosen.params());
  EXPECT_EQ(chosen_names, names);

  const auto expected = results(as_types), found = results(chosen);
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(same_bits(found[i], expected[i])) << "result " << i;
}

template <class... Blocks>
void expect_the_bits_of_types() {
  const Sizes with_gaps{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};
  const Stack<float, Blocks...> as_types({.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12});
  const Model chosen = Model::build(with_gaps, {choose_block<Blocks>()...});
  std::vector<std::string> names, chosen_names;
  visit([&](std::string_view name, Role, const auto&) { names.emplace_back(name); }, as_types.params());
  visit([&](std::string_view name, Role, const auto&) { chosen_names.emplace_back(name); }, chosen.params());
  EXPECT_EQ(chosen_names, names);
  const auto expected = results(as_types), found = results(chosen);
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_TRUE(same_bits(found[i], expected[i])) << "result " << i;
}

TEST(DynamicStack, HasTheBitsOfTheSameBlocksOfEveryFormAsTypes) {
  expect_the_bits_of_types<Block<StandardAttention>, Block<StandardAttention, FeedForward<Relu>, LayerNorm, PostNorm>,
                           Block<SharedValueAttention, GeGlu, NoNorm, ParallelForm>,
                           Block<StandardAttention, FeedForward<Gelu>, RmsNorm, Sandwich>>();
  expect_the_bits_of_types<Block<StandardAttention, NoFeedForward>,
                           Block<StandardAttention, NoFeedForward, LayerNorm, PostNorm>,
                           Block<StandardAttention, NoFeedForward, LayerNorm, ParallelForm>,
                           Block<StandardAttention, NoFeedForward, RmsNorm, Sandwich>>();
}

TEST(DynamicStack, SaysWhatALayerWasChosenToBe) {
  const Model model =
      Model::build(sizes, {choose<StandardAttention>(), choose_block<Block<StandardAttention, GeGlu, LayerNorm, PostNorm>>(
                                                            {.feed_forward = {.biases = true}, .norm = {.epsilon = 0.5}})});
  EXPECT_EQ(model.layer(0).form, BlockForm::pre_norm);
  const Model::Layer layer = model.layer(1);
  EXPECT_EQ(layer.form, BlockForm::post_norm);
  EXPECT_EQ(layer.config.mixer.mixer->config_of<Mamba2>(), nullptr);
  ASSERT_NE(layer.config.mixer.mixer->config_of<StandardAttention>(), nullptr);
  ASSERT_NE(layer.config.feed_forward.feed_forward->config_of<GeGlu>(), nullptr);
  EXPECT_TRUE(layer.config.feed_forward.feed_forward->config_of<GeGlu>()->biases);
  ASSERT_NE(layer.config.norm.norm->config_of<LayerNorm>(), nullptr);
  EXPECT_EQ(layer.config.norm.norm->config_of<LayerNorm>()->epsilon, 0.5);
}

TEST(DynamicStack, IsACopyOfItsOwn) {
  Model model = Model::build(sizes, five_layers());
  const auto expected = results(model);
  const Model copy = model;
  set_zero(model.params());
  EXPECT_TRUE(same_bits(results(copy)[0], expected[0]));
  EXPECT_FALSE(same_bits(results(model)[0], expected[0]));
}

TEST(DynamicStack, AForkGoesItsOwnWay) {
  const Model model = Model::build(sizes, five_layers());
  auto origin = model.make_cache({.positions = 9, .rows = 4});
  static_cast<void>(model.forward(random_matrix<float>(4, 8, "first"), origin));
  auto fork = origin.fork();
  static_cast<void>(model.forward(random_matrix<float>(2, 8, "other"), fork));
  auto replay = model.make_cache({.positions = 9, .rows = 4});
  static_cast<void>(model.forward(random_matrix<float>(4, 8, "first"), replay));
  const Matrix<float> next = random_matrix<float>(2, 8, "next");
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(next, origin)), Matrix<float>(model.forward(next, replay))));
}

TEST(DynamicStack, ALayerHasANormOfItsOwn) {
  const auto output = [](double epsilon) {
    const Model model = Model::build(sizes, {Model::Layer(choose<StandardAttention>(), {}, {.epsilon = epsilon})});
    auto cache = model.make_cache({.positions = 3});
    return Matrix<float>(model.forward(random_matrix<float>(3, 8, "x"), cache));
  };
  EXPECT_TRUE(same_bits(output(1e-5), output(1e-5)));
  EXPECT_FALSE(same_bits(output(1e-5), output(0.1)));
}

std::string refusal(const Sizes& of_model, const std::vector<Model::Layer>& layers) {
  return error_text<ConfigError>([&] { static_cast<void>(Model::build(of_model, layers)); });
}
std::string refusal(const std::vector<Model::Layer>& layers) {
  return refusal(sizes, layers);
}

TEST(DynamicStack, RefusesALayerWhoseTapFindsNoLayer) {
  EXPECT_EQ(
      refusal({choose<SharedValueAttention>()}),
      "layer 0 (attention(computed scores, shared values)) consumes first<values>, which no layer below it publishes");
  EXPECT_EQ(
      refusal({choose<Mamba2>(), choose<Mamba2>(), choose<ScoreReuseAttention>()}),
      "layer 2 (attention(reused scores, projected values)) consumes nearest<scores>, which no layer below it publishes");
  EXPECT_EQ(refusal({choose_side_by_side(choose<StandardAttention>(), choose<ScoreReuseAttention>())}),
            "layer 0 (attention(computed scores, projected values) | attention(reused scores, projected values)) consumes "
            "nearest<scores>, which no layer below it publishes");
}

TEST(DynamicStack, RefusesHeadsThatTheSourceDoesNotPublish) {
  const Model::Layer mix = choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>());
  EXPECT_EQ(refusal({mix, choose<ScoreReuseAttention>()}),
            "layer 1 (attention(reused scores, projected values)) reads head 2 of nearest<scores> from layer 0, which does "
            "not publish that head");
  EXPECT_EQ(
      refusal({mix, choose<SharedValueAttention>()}),
      "layer 1 (attention(computed scores, shared values)) reads head 1 of first<values> from layer 0, which does not "
      "publish that head");
  // No source is searched further down: layer 1 is the nearest.
  EXPECT_NE(refusal({choose<StandardAttention>(), mix, choose<ScoreReuseAttention>()}).find("from layer 1"),
            std::string::npos);
  EXPECT_EQ(refusal({mix, choose_side_by_side(choose<StandardAttention>(), choose<ScoreReuseAttention>())}), "no error");
}

TEST(DynamicStack, RefusesSizesThatDoNotFit) {
  EXPECT_EQ(refusal({.width = 8, .heads = 3}, {}),
            "head_width: expected 1 or more, or width divisible by heads; found head_width 0, width 8, heads 3");
  EXPECT_EQ(refusal({.width = 9, .heads = 3}, {choose<Mamba2>(), choose<StandardAttention>()}),
            "layer 1: head_width: expected an even number (rotary pairs), found 3");
  EXPECT_EQ(refusal({choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(), 3)}),
            "layer 0: second_kv_heads: expected 0 to 2, found 3");
  EXPECT_EQ(refusal({choose<StandardAttention>(), choose<Mamba2>({.groups = 3})}),
            "layer 1: groups: expected a divisor of the 4 recurrent heads, found 3");
}

TEST(DynamicStack, RefusesALayerWithoutAMixer) {
  Model::Layer layer = choose<StandardAttention>();
  layer.config.mixer.mixer = nullptr;
  EXPECT_EQ(refusal({choose<StandardAttention>(), layer}), "layer 1: expected a mixer, found none");
  Model::Layer no_norm = choose<StandardAttention>(), no_feed_forward = no_norm;
  no_norm.config.norm.norm = nullptr;
  no_feed_forward.config.feed_forward.feed_forward = nullptr;
  EXPECT_EQ(refusal({no_norm}), "layer 0: expected a norm, found none");
  EXPECT_EQ(refusal({no_feed_forward}), "layer 0: expected a feed-forward (or NoFeedForward), found none");
}

}  // namespace
}  // namespace heed
