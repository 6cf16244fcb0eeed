#include "heed/model/registry.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "heed/ops/documents.hpp"
#include "reference/bounds.hpp"
#include "support/error_text.hpp"
#include "testing/token_shift.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using Model = DynamicStack<float>;
using Members = Description::Members;
using List = Description::List;

const Registry<float>& registry() {
  static const Registry<float> all = standard_registry<float>().add<app::TokenShift>("app.token_shift");
  return all;
}

// A layer of every sort.
Description everything() {
  const Description mamba2 = Members{{"type", "mamba2"}, {"state_width", 3}};
  const Description window = Members{{"mask", Members{{"left", 2}}}};
  return Members{
      {"width", 8},
      {"heads", 4},
      {"kv_heads", 2},
      {"head_width", 4},
      {"value_width", 4},
      {"hidden", 12},
      {"layers",
       List{Members{{"mixer", Members{{"type", "standard_attention"}, {"scores", window}}}},
            Members{{"mixer", "residual_value_attention"}, {"repeat", 2}},
            Members{{"mixer", "shared_value_attention"},
                    {"feed_forward", Members{{"type", "gelu"}, {"biases", true}}},
                    {"norm", Members{{"type", "layer_norm"}, {"epsilon", 1e-12}}},
                    {"form", "post_norm"}},
            Members{{"mixer", "score_reuse_attention"}, {"form", "sandwich"}},
            Members{{"mixer", Members{{"type", "side_by_side"},
                                      {"second_kv_heads", 1},
                                      {"first", "standard_attention"},
                                      {"second", mamba2}}},
                    {"form", "parallel"}},
            Members{{"mixer", Members{{"type", "in_parallel"}, {"first", "normed_output_attention"}, {"second", mamba2}}}},
            Members{{"mixer", "app.token_shift"}, {"feed_forward", "none"}}}}};
}

TEST(Registry, BuildsTheLayersThatADescriptionNames) {
  const Model model = Model::build(everything(), registry());
  const Mamba2::Config narrow{.state_width = 3};
  const Model expected = Model::build(
      {.width = 8, .heads = 4, .kv_heads = 2, .head_width = 4, .hidden = 12},
      {choose<StandardAttention>({.scores = {.mask = window(3)}}), choose<ResidualValueAttention>(),
       choose<ResidualValueAttention>(),
       choose_block<Block<SharedValueAttention, FeedForward<Gelu>, LayerNorm, PostNorm>>(
           {.feed_forward = {.biases = true}, .norm = {.epsilon = 1e-12}}),
       choose_block<Block<ScoreReuseAttention, SwiGlu, RmsNorm, Sandwich>>(),
       Model::Layer(choose_side_by_side(choose<StandardAttention>(), choose<Mamba2>(narrow), 1),
                    choose_feed_forward<SwiGlu>(), choose_norm<RmsNorm>(), BlockForm::parallel),
       choose_in_parallel(choose<Attention<ComputedScores, ProjectedValues, NormedOutput>>(), choose<Mamba2>(narrow)),
       choose_block<Block<app::TokenShift, NoFeedForward>>()});
  const Matrix<float> x = random_matrix<float>(7, 8, "x");
  auto cache = model.make_cache({.positions = 7, .rows = 7}),
       expected_cache = expected.make_cache({.positions = 7, .rows = 7});
  EXPECT_TRUE(same_bits(Matrix<float>(model.forward(x, cache)), Matrix<float>(expected.forward(x, expected_cache))));
  visit([](std::string_view name, Role, const auto& a, const auto& b) { EXPECT_TRUE(same_bits(a, b)) << name; },
        model.params(), expected.params());
}

TEST(Registry, DescribesAStackAsItWasDescribed) {
  EXPECT_EQ(registry().described(Model::build(everything(), registry())), everything());
}

TEST(Registry, NeedsNoMoreThanSizesAndMixers) {
  const Model model = Model::build(
      Description(Members{{"width", 8}, {"heads", 2}, {"layers", List{Members{{"mixer", "mamba"}}}}}), registry());
  EXPECT_EQ(model.layers(), 1);
  EXPECT_EQ(model.shape().hidden, 32);
}

Description with_layer(Description layer) {
  Description all = Members{{"width", 8}, {"heads", 2}, {"layers", List{Members{{"mixer", "standard_attention"}}, layer}}};
  all.source = "model.json";
  return all;
}
std::string refusal(const Description& description) {
  return error_text<ConfigError>([&] { static_cast<void>(Model::build(description, registry())); });
}
std::string refused_layer(Description layer) {
  return refusal(with_layer(std::move(layer)));
}

TEST(Registry, RefusesByPlaceWhatItDoesNotKnow) {
  const std::string mixers =
      "standard_attention, residual_value_attention, learned_residual_value_attention, per_head_residual_value_attention, ";
  const std::string unknown = refused_layer(Members{{"mixer", "standart_attention"}});
  EXPECT_TRUE(unknown.starts_with("model.json: layers[1].mixer: expected one of " + mixers)) << unknown;
  EXPECT_TRUE(unknown.ends_with("mamba2, app.token_shift, side_by_side, in_parallel, found \"standart_attention\""))
      << unknown;
  const std::string missing = refused_layer(Members{});
  EXPECT_TRUE(missing.starts_with("model.json: layers[1].mixer: expected a mixer (" + mixers)) << missing;
  EXPECT_TRUE(missing.ends_with(", found none")) << missing;
  EXPECT_EQ(refused_layer(Members{{"mixer", "mamba"}, {"norm", "batch_norm"}}),
            "model.json: layers[1].norm: expected one of rms_norm, layer_norm, none, found \"batch_norm\"");
  EXPECT_EQ(refused_layer(Members{{"mixer", "mamba"}, {"form", "post"}}),
            "model.json: layers[1].form: expected one of pre_norm, post_norm, parallel, sandwich, found \"post\"");
  EXPECT_EQ(refused_layer(Members{{"mixer", "mamba"}, {"dropout", 0.1}}),
            "model.json: layers[1].dropout: expected one of mixer, feed_forward, norm, form, repeat, found this one");
  const Description window = Members{{"mask", Members{{"window", 3}}}};
  EXPECT_EQ(
      refused_layer(Members{{"mixer", Members{{"type", "standard_attention"}, {"scores", window}}}}),
      "model.json: layers[1].mixer.scores.mask.window: expected one of left, right, sinks, prefix, chunk, length, found "
      "this one");
  const Description wide = Members{{"type", "mamba2"}, {"state_width", "wide"}};
  EXPECT_EQ(refused_layer(Members{{"mixer", Members{{"type", "side_by_side"}, {"first", "mamba"}, {"second", wide}}}}),
            "model.json: layers[1].mixer.second.state_width: expected a whole number, found \"wide\"");
}

TEST(Registry, RefusesNumbersThatNoModelHas) {
  EXPECT_EQ(refused_layer(Members{{"mixer", "mamba"}, {"repeat", Index(1) << 40}}),
            "model.json: layers[1].repeat: expected 0 to 4095 (4096 layers in all), found 1099511627776");
  EXPECT_EQ(refused_layer(Members{{"mixer", "mamba"}, {"repeat", -1}}),
            "model.json: layers[1].repeat: expected 0 to 4095 (4096 layers in all), found -1");
  EXPECT_EQ(refused_layer(Members{{"mixer", Members{{"type", "mamba"}, {"taps", Index(1) << 50}}}}),
            "model.json: layers[1].mixer.taps: expected a whole number that fits, found 1125899906842624");
  EXPECT_EQ(refusal(Members{{"width", Index(1) << 21}, {"heads", 1}}), "width: expected 0 to 1048576, found 2097152");
  EXPECT_EQ(refusal(Members{{"width", 1 << 20},
                            {"heads", 1 << 20},
                            {"layers", List{Members{{"mixer", "standard_attention"}, {"repeat", 1024}}}}}),
            "heads: expected at most 16384 in each of 1024 layers, found 1048576");
}

// Each of these would give NaN from finite rows, be ignored, or run out of memory.
TEST(Registry, RefusesNumbersThatNoLayerCanWorkWith) {
  const auto scores = [](const char* member, Description value) {
    return refused_layer(
        Members{{"mixer", Members{{"type", "standard_attention"}, {"scores", Members{{member, std::move(value)}}}}}});
  };
  EXPECT_EQ(scores("norm_epsilon", -1.0), "layer 1: norm_epsilon: expected a number from 1e-30 to 1e30, found -1.000000");
  EXPECT_TRUE(scores("scale", 1e300).starts_with("layer 1: scale: expected a finite number of at most 1e30, found 1"));
  EXPECT_TRUE(scores("soft_cap", 1e39).starts_with("layer 1: soft_cap: expected 0 (none), or 1e-6 to 1e30, found 9"));
  EXPECT_EQ(scores("mask", Members{{"chunk", -5}}), "layer 1: mask: chunk: expected 0 or more, up to unbounded, found -5");
  EXPECT_EQ(scores("positions", Members{{"type", "rotary"}, {"theta", 1e-300}}),
            "layer 1: rotary: theta: expected a number from 1e-30 to 1e30, found 0.000000");
  const auto mixer = [](const char* type, const char* member, Description value) {
    return refused_layer(Members{{"mixer", Members{{"type", type}, {member, std::move(value)}}}});
  };
  const Index vast = Index(1) << 40;
  const std::string size = ": expected at most 1048576, found 1099511627776";
  EXPECT_EQ(mixer("mamba2", "state_width", vast), "layer 1: state_width" + size);
  EXPECT_EQ(mixer("mamba2", "taps", vast), "layer 1: taps" + size);
  EXPECT_EQ(mixer("mamba2", "epsilon", -1.0), "layer 1: epsilon: expected a number from 1e-30 to 1e30, found -1.000000");
  EXPECT_EQ(mixer("mamba", "state_width", vast), "layer 1: state_width" + size);
  EXPECT_EQ(mixer("mamba", "inner_width", vast), "layer 1: inner_width" + size);
  EXPECT_EQ(mixer("mamba", "taps", vast), "layer 1: taps" + size);
  EXPECT_EQ(mixer("cross_attention", "memory_positions", vast), "layer 1: memory_positions" + size);
  EXPECT_EQ(mixer("coefficient_holder", "readers", vast), "layer 1: readers" + size);
  EXPECT_NE(mixer("coefficient_holder", "scale", 1e300), "no error");
  EXPECT_NE(mixer("coefficient_holder", "slope", 1e31), "no error");
  EXPECT_NE(mixer("residual_value_attention", "values", Members{{"coefficients", Members{{"from_own", 1e300}}}}),
            "no error");
  EXPECT_NE(mixer("learned_residual_value_attention", "values", Members{{"coefficients", Members{{"from_first", -1e300}}}}),
            "no error");
  EXPECT_NE(mixer("per_head_residual_value_attention", "values",
                  Members{{"coefficients", Members{{"from_first", List{1, 1e300}}, {"from_own", List{1, 1}}}}}),
            "no error");
  EXPECT_NE(mixer("neutreno_attention", "output", Members{{"lambda", 1e300}}), "no error");
  EXPECT_NE(mixer("normed_output_attention", "output", Members{{"epsilon", 0.0}}), "no error");
  EXPECT_NE(
      refused_layer(Members{{"mixer", Members{{"type", "cross_attention"}, {"memory_positions", 3}, {"soft_cap", 1e39}}}}),
      "no error");
  for (const char* norm : {"rms_norm", "layer_norm"})
    EXPECT_EQ(refused_layer(Members{{"mixer", "mamba"}, {"norm", Members{{"type", norm}, {"epsilon", -1.0}}}}),
              "layer 1: norm: epsilon: expected a number from 1e-30 to 1e30, found -1.000000");
}

TEST(Registry, RefusesANameTwice) {
  Registry<float> own;
  own.add<Mamba>("mine").add<SwiGlu>("mine");  // of another sort
  EXPECT_EQ(error_text<ConfigError>([&] { own.add<Mamba2>("mine"); }),
            "registry: expected a new name, found mine a second time");
  EXPECT_EQ(error_text<ConfigError>([&] { own.add<Mamba2>("side_by_side"); }),
            "registry: expected a name of its own, found \"side_by_side\"");
}

TEST(Registry, RefusesToDescribeWhatADescriptionCannotSay) {
  const Documents documents({3, 3});
  const StandardAttention::Config packed = {.scores = {.mask = documents.mask() & causal()}};
  const auto refusal = [](const Model::Layer& layer) {
    return error_text<ConfigError>([&] {
      static_cast<void>(registry().described(Model::build({.width = 8, .heads = 2}, {choose<Mamba>(), layer})));
    });
  };
  EXPECT_EQ(refusal(choose<StandardAttention>(packed)),
            "layer 1: mixer.scores.mask.documents: expected none, as their table cannot be described, found one of 6");
  EXPECT_EQ(
      refusal(choose_side_by_side(choose<Mamba>(), choose<StandardAttention>(packed))),
      "layer 1: mixer.second.scores.mask.documents: expected none, as their table cannot be described, found one of 6");
  EXPECT_EQ(refusal(choose<Mamba2>({.dt_limits = {.most = std::numeric_limits<double>::infinity()}})),
            "layer 1: mixer.dt_limits.most: expected a finite number, found inf");
}

// SVFormer with anchors, and NeuTRENO above ResFormer.
TEST(Registry, NamesEveryRowOfTheMenu) {
  const Description described = Members{
      {"width", 8},
      {"heads", 2},
      {"layers", List{Members{{"mixer", "standard_attention"}}, Members{{"mixer", "anchored_shared_value_attention"}},
                      Members{{"mixer", "neutreno_residual_value_attention"}}}}};
  const Model model = Model::build(described, registry());
  EXPECT_EQ(model.plan().describe(1), "attention(computed scores, shared values)");
  EXPECT_EQ(model.plan().wiring[1].signals.consumes[0].name, "nearest");
  EXPECT_EQ(model.plan().describe(2), "attention(computed scores, residual values, NeuTRENO)");
}

TEST(Registry, RefusesToDescribeWhatItHasNoNameFor) {
  const Model model = Model::build({.width = 8, .heads = 2}, {choose<StandardAttention>()});
  EXPECT_EQ(error_text<ConfigError>([&] { static_cast<void>(Registry<float>().described(model)); }),
            "registry: expected every mixer of the stack under a name, found one without: add it");
}

}  // namespace
}  // namespace heed
