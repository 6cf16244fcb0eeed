#include "heed/io/model.hpp"

#include <gtest/gtest.h>

#include <cstdio>

#include "reference/bounds.hpp"
#include "support/error_text.hpp"
#include "testing/token_shift.hpp"

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

/// A mixer of [D x D] that counts how often its weights were made to start somewhere.
struct Counting : app::TokenShift {
  static inline int started = 0;
  template <class Scalar>
  static void initialise(const Shape&, const Config&, Params<Scalar>&, const Initialiser&) {
    ++started;
  }
  template <class Scalar>
  static void apply(const Call<Counting, Scalar>&, const View<Scalar>&, MutableView<Scalar>) {}
  template <class Scalar>
  static void backward(const Call<Counting, Scalar>&, const View<Scalar>&, const View<Scalar>&, MutableView<Scalar>,
                       Params<Scalar>&) {}
};

// A few bytes that describe a model of 10 GB: nothing of it is made, layer for layer.
TEST(ModelFile, ThatDescribesMoreThanItHoldsIsRefusedBeforeTheModelIsMade) {
  const auto registry = standard_registry<float>().add<Counting>("counting");
  const std::string path = path_of("vast.safetensors");
  const auto refused = [&](const std::string& config, const io::TensorFile& with, auto load) {
    io::TensorFile file = with;
    file.metadata["heed.config"] = config;
    io::write_safetensors(path, file);
    Counting::started = 0;
    const std::string text = error_text<CheckpointError>(load);
    EXPECT_EQ(Counting::started, 0);
    return text;
  };
  const std::string stack =
      R"({"width": 16384, "heads": 1, "layers": [{"mixer": "counting", "norm": "none", "feed_forward": "none", "repeat": 10}]})";
  const auto load = [&] { static_cast<void>(io::load_model<Model>(path, registry)); };
  EXPECT_EQ(refused(stack, {}, load), path + ": layers.0.mixer.m: expected F32 [1 x 16384], found no such tensor");
  io::TensorFile first;
  first.set("layers.0.mixer.m", Matrix<float>(Matrix<float>::Zero(1, 16384)));
  EXPECT_EQ(refused(stack, first, load), path + ": layers.0.mixer.w: expected F32 [16384 x 16384], found no such tensor");
  EXPECT_EQ(refused(R"({"vocabulary": 1000000, "stack": {"width": 1000000, "heads": 1, "layers": []}})", {},
                    [&] { static_cast<void>(io::load_model<LanguageModel<Model>>(path, registry)); }),
            path + ": embedding.weight: expected F32 [1000000 x 1000000], found no such tensor");
  std::remove(path.c_str());
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
