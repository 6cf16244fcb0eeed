#include "heed/model/stack.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heed/mixers/variants.hpp"
#include "reference/bounds.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using Standard = Block<StandardAttention>;
using Residual = Block<ResidualValueAttention>;
using Reuse = Block<ScoreReuseAttention>;

// Layers 0 to 6: s r s r r s u, of three kinds.
using Mixed = Stack<float, Standard, Residual, Standard, Repeat<2, Residual>, Standard, Reuse>;
const Mixed::Config mixed_config{.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12};

template <class Model>
Matrix<float> whole(const Model& model, const Matrix<float>& x) {
  auto cache = model.make_cache({.positions = x.rows(), .rows = x.rows()});
  return model.forward(x, cache);
}

TEST(Stack, KeepsLayersByKind) {
  static_assert(std::is_same_v<Mixed::Plan, LayerPlan<float, Standard, Residual, Reuse>>);
  const Mixed model(mixed_config);
  std::string kinds;
  model.plan().for_each([&]<class Kind>(std::size_t, const auto&) {
    kinds += std::is_same_v<Kind, Standard> ? 's' : std::is_same_v<Kind, Residual> ? 'r' : 'u';
  });
  EXPECT_EQ(kinds, "srsrrsu");
}

TEST(Stack, NamesParametersByLayerNotByKind) {
  const Mixed model(mixed_config);
  std::vector<std::string> first_of_layer;
  visit(
      [&](std::string_view name, Role, const auto&) {
        if (name.ends_with(".norm.weight") && !name.ends_with("feed_forward_norm.weight"))
          first_of_layer.emplace_back(name);
      },
      model.params());
  ASSERT_EQ(first_of_layer.size(), 7u);
  for (std::size_t layer = 0; layer < 7; ++layer)
    EXPECT_EQ(first_of_layer[layer], "layers." + std::to_string(layer) + ".norm.weight");
}

TEST(StackConfig, ReachesTheLayerOfThatNumber) {
  Mixed::Config config = mixed_config;
  config.layer<0>().mixer.scores.mask = window(1);
  config.layer<1>().mixer.scores.mask = window(2);
  config.layer<2>().mixer.scores.mask = window(3);
  config.layer<3>().mixer.scores.mask = window(4);
  config.layer<4>().mixer.scores.mask = window(5);
  config.layer<5>().mixer.scores.mask = window(6);
  const Mixed model(config);
  model.plan().for_each([&]<class Kind>(std::size_t layer, const auto& of_layer) {
    if constexpr (!std::is_same_v<Kind, Reuse>) {
      EXPECT_EQ(of_layer.mixer.scores.mask, window(static_cast<Index>(layer) + 1)) << layer;
    }
  });
}

TEST(StackConfig, ReachesNormsAndCoefficientsToo) {
  const Matrix<float> x = random_matrix<float>(5, 8, "x");
  const Matrix<float> y = whole(Mixed(mixed_config), x);
  const auto changes = [&](auto&& change) {
    Mixed::Config config = mixed_config;
    change(config);
    return !same_bits(whole(Mixed(config), x), y);
  };
  EXPECT_FALSE(changes([](Mixed::Config&) {}));
  EXPECT_TRUE(changes([](Mixed::Config& config) { config.layer<4>().norm.epsilon = 0.1; }));
  EXPECT_TRUE(changes([](Mixed::Config& config) { config.layer<4>().mixer.values.coefficients.from_first = 0.1; }));
  EXPECT_TRUE(changes([](Mixed::Config& config) { config.layer<2>().mixer.scores.positions = Rotary{.theta = 10}; }));
}

TEST(Repeat, IsTheLayerWrittenAsManyTimes) {
  using Short = Stack<float, Standard, Repeat<0, Reuse>, Repeat<3, Residual>, Repeat<1, Reuse>>;
  using Long = Stack<float, Standard, Residual, Residual, Residual, Reuse>;
  const Short model({.width = 8, .heads = 4, .kv_heads = 2});
  const Long written({.width = 8, .heads = 4, .kv_heads = 2});
  EXPECT_EQ(model.layers(), 5);
  const Matrix<float> x = random_matrix<float>(5, 8, "x");
  EXPECT_TRUE(same_bits(whole(model, x), whole(written, x)));
}

TEST(Stack, OfNoLayersPassesItsRowsOn) {
  const Stack<float> model({.width = 8, .heads = 2});
  const Matrix<float> x = random_matrix<float>(5, 8, "x");
  EXPECT_TRUE(same_bits(whole(model, x), x));
  auto tape = model.make_tape(Sequences({2, 3}));
  auto gradients = model.make_gradients();
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, tape)), x));
  EXPECT_TRUE(same_bits(Matrix<float>(model.backward(x, tape, gradients)), x));
}

TEST(StackSource, IsTheLayerThatATapReads) {
  static_assert(Mixed::source<1, first<values>> == 0);
  static_assert(Mixed::source<4, first<values>> == 0);
  static_assert(Mixed::source<6, nearest<scores>> == 5);
  static_assert(Mixed::source<6, nearest<values>> == 5);
  static_assert(Mixed::source<6, at<2, values>> == 2);
  static_assert(Mixed::source<0, first<values>> == nowhere);
  static_assert(Mixed::source<2, at<2, values>> == nowhere);
  const Mixed model(mixed_config);
  const std::vector<int> expected{-1, 0, -1, 0, 0, -1, 5};
  for (std::size_t layer = 0; layer < expected.size(); ++layer) {
    const auto& taps = model.plan().wiring[layer].taps;
    EXPECT_EQ(taps.empty() ? -1 : taps[0].layer, expected[layer]) << layer;
  }
}

// A layer that publishes neither: the recurrent one is passed over.
TEST(StackSource, PassesOverLayersThatDoNotPublish) {
  using Model = Stack<float, Block<Mamba2>, Standard, Block<Mamba2>, Reuse, Residual>;
  static_assert(Model::source<3, nearest<scores>> == 1);
  static_assert(Model::source<4, first<values>> == 1);
  static_assert(Model::source<4, nearest<values>> == 3);
}

TEST(Stack, RefusesHeadsThatTheSourceDoesNotPublish) {
  using Model = Stack<float, Block<RecurrentMixAttention>, Reuse>;
  EXPECT_EQ(error_text<ConfigError>([] { Model({.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4}); }),
            "layer 1 (attention(reused scores, projected values)) reads head 2 of nearest<scores> from layer 0, which does "
            "not publish that head");
}

TEST(Stack, IsACopyOfItsOwn) {
  Mixed model(mixed_config);
  const Matrix<float> x = random_matrix<float>(5, 8, "x");
  const Matrix<float> y = whole(model, x);
  Mixed copy = model;
  set_zero(model.params());
  EXPECT_TRUE(same_bits(whole(copy, x), y));
  EXPECT_FALSE(same_bits(whole(model, x), y));
  model = copy;
  EXPECT_TRUE(same_bits(whole(model, x), y));
}

}  // namespace
}  // namespace heed
