#include "heed/io/model.hpp"

#include <gtest/gtest.h>

#include <cstdio>

#include "reference/bounds.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;
using Model = DynamicStack<float>;

std::string path_of(const std::string& name) {
  return testing::TempDir() + "heed_model_test_" + name;
}

const char* model_json = R"({
  "width": 8, "heads": 4, "kv_heads": 2, "head_width": 4, "hidden": 12,
  "layers": [
    {"mixer": {"type": "standard_attention", "scores": {"mask": {"left": 2}, "positions": {"type": "rotary", "theta": 5e5}}},
     "norm": "layer_norm"},
    {"mixer": "residual_value_attention", "repeat": 2, "feed_forward": {"type": "gelu", "biases": true}},
    {"mixer": {"type": "side_by_side", "first": "standard_attention", "second": {"type": "mamba2", "state_width": 3}},
     "form": "post_norm"}
  ]
})";

Matrix<float> output(const Model& model) {
  auto cache = model.make_cache({.positions = 5, .rows = 5});
  return model.forward(random_matrix<float>(5, 8, "x"), cache);
}

TEST(ModelFile, HoldsWhatTheModelIsAndItsWeights) {
  const auto registry = standard_registry<float>();
  Model model = Model::build(io::parse_config(model_json, "model.json"), registry);
  model.initialise(7);
  io::save_model(path_of("model.safetensors"), model, registry, {{"trained", "for a test"}});
  EXPECT_EQ(io::read_metadata(path_of("model.safetensors")).at("trained"), "for a test");
  const Model loaded = io::load_model<Model>(path_of("model.safetensors"), registry);
  EXPECT_EQ(registry.described(loaded), registry.described(model));
  EXPECT_TRUE(same_bits(output(loaded), output(model)));
  std::remove(path_of("model.safetensors").c_str());
}

TEST(ModelFile, HoldsALanguageModel) {
  using Language = LanguageModel<Model, UntiedHead, LayerNorm>;
  const auto registry = standard_registry<float>();
  const Language model(11, Model::build(io::parse_config(model_json, "model.json"), registry), 7, {.epsilon = 0.5});
  io::save_model(path_of("language.safetensors"), model, registry);
  const auto loaded = io::load_model<Language>(path_of("language.safetensors"), registry);
  const std::vector<int> tokens = {3, 1, 4, 1, 5};
  const auto logits = [&](const Language& of) {
    auto cache = of.make_cache({.positions = 5, .rows = 5});
    return Matrix<float>(of.logits(tokens, cache));
  };
  EXPECT_TRUE(same_bits(logits(loaded), logits(model)));
  EXPECT_EQ(loaded.norm_config().epsilon, 0.5);

  io::save(path_of("language.safetensors"), model.params(),
           {{"heed.config", R"({"vocabulary": 0, "stack": {"width": 8, "heads": 2, "layers": []}})"}});
  EXPECT_EQ(error_text<ConfigError>([&] { io::load_model<Language>(path_of("language.safetensors"), registry); }),
            path_of("language.safetensors") + ": heed.config: vocabulary: expected 1 to 1048576, found 0");
  io::save(path_of("language.safetensors"), model.params(),
           {{"heed.config", R"({"vocabulary": 11, "stack": {"width": 8, "heads": 2, "layers": [{}]}})"}});
  EXPECT_TRUE(
      error_text<ConfigError>([&] {
        io::load_model<Language>(path_of("language.safetensors"), registry);
      }).starts_with(path_of("language.safetensors") + ": heed.config: stack: layers[0].mixer: expected a mixer ("));
  std::remove(path_of("language.safetensors").c_str());
}

TEST(ModelFile, IsNamedInWhatIsWrongWithIt) {
  const auto registry = standard_registry<float>();
  const std::string path = path_of("wrong.safetensors");
  const Model model = Model::build(io::parse_config(model_json, "model.json"), registry);
  io::save(path, model.params());
  EXPECT_EQ(error_text<CheckpointError>([&] { static_cast<void>(io::load_model<Model>(path, registry)); }),
            path + ": expected a text heed.config in the metadata, found none");
  io::save(path, model.params(), {{"heed.config", "{\"width\": 8, \"heads\": 2, \"layer\": []}"}});
  EXPECT_EQ(error_text<ConfigError>([&] { static_cast<void>(io::load_model<Model>(path, registry)); }),
            path +
                ": heed.config: layer: expected one of width, heads, kv_heads, head_width, value_width, hidden, layers, "
                "found this one");
  io::save(path, model.params(), {{"heed.config", "{\"width\": 8, \"heads\": 2, \"layers\": [{\"mixer\": \"mamba\"}]}"}});
  EXPECT_TRUE(error_text<CheckpointError>([&] {
                static_cast<void>(io::load_model<Model>(path, registry));
              }).starts_with(path + ": layers.0."));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace heed
