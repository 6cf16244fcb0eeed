#include "heed/io/config.hpp"

#include <gtest/gtest.h>

#include <cstdio>

#include "heed/io/model.hpp"
#include "reference/bounds.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using Members = Description::Members;
using List = Description::List;
using reference::random_matrix;
using reference::same_bits;
using Model = DynamicStack<float>;

std::string path_of(const std::string& name) {
  return testing::TempDir() + "heed_config_test_" + name;
}

const Description sample = Members{{"width", 64},           {"epsilon", 1e-12},
                                   {"biases", true},        {"label", "a \"b\" \xc3\xa9"},
                                   {"none", Description()}, {"layers", List{1, 2.5, List{}, Members{}}}};

TEST(Config, IsReadAsItWasWritten) {
  EXPECT_EQ(io::parse_config(io::config_text(sample), "here"), sample);
  io::write_config(path_of("sample.json"), sample);
  const Description read = io::read_config(path_of("sample.json"));
  EXPECT_EQ(read, sample);
  EXPECT_EQ(read.source, path_of("sample.json"));
  std::remove(path_of("sample.json").c_str());
}

std::string error(std::string_view text) {
  return error_text<ConfigError>([&] { static_cast<void>(io::parse_config(text, "model.json")); });
}

TEST(Config, RefusesWhatIsNotJson) {
  EXPECT_TRUE(error("{\"width\": 64,}").starts_with("model.json: expected JSON, found none at byte 14 (")) << error("{,}");
  EXPECT_TRUE(error("").starts_with("model.json: expected JSON, found none at byte 1 ("));
  EXPECT_TRUE(error("{} {}").starts_with("model.json: expected JSON, found none at byte 4 ("));
  EXPECT_TRUE(error("{\"x\": 1e999}").starts_with("model.json: expected JSON, found none at byte 11 ("));
  EXPECT_TRUE(error("{\"x\": \"\xff\"}").starts_with("model.json: expected JSON, found none at byte"));
}

TEST(Config, RefusesWhatIsMeantToDoHarm) {
  EXPECT_EQ(error("{\"layers\": [{\"mixer\": 1, \"mixer\": 2}]}"),
            "model.json: layers[0].mixer: expected every name once, found it twice");
  const std::string deep = std::string(64, '[') + std::string(64, ']');
  EXPECT_EQ(error(deep), "no error");
  EXPECT_TRUE(error("[" + deep + "]").ends_with("expected at most 64 levels, found more"));
  EXPECT_TRUE(error(std::string(10'000'000, '[')).ends_with("expected at most 64 levels, found more"));
  EXPECT_EQ(error(std::string((1u << 24) + 1, ' ')), "model.json: expected at most 16777216 bytes, found 16777217");
}

TEST(Config, KeepsWholeNumbersThatAreTooLargeAsNumbers) {
  EXPECT_EQ(io::parse_config("[18446744073709551615]", "").as<List>()->front(), Description(18446744073709551615.0));
}

TEST(Config, RefusesAFileThatIsNotThere) {
  EXPECT_EQ(error_text<ConfigError>([] { static_cast<void>(io::read_config(path_of("absent.json"))); }),
            path_of("absent.json") + ": expected a regular file, found none");
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
  const Model loaded = io::load_model<float>(path_of("model.safetensors"), registry);
  EXPECT_EQ(registry.described(loaded), registry.described(model));
  EXPECT_TRUE(same_bits(output(loaded), output(model)));
  std::remove(path_of("model.safetensors").c_str());
}

TEST(ModelFile, IsNamedInWhatIsWrongWithIt) {
  const auto registry = standard_registry<float>();
  const std::string path = path_of("wrong.safetensors");
  const Model model = Model::build(io::parse_config(model_json, "model.json"), registry);
  io::save(path, model.params());
  EXPECT_EQ(error_text<CheckpointError>([&] { static_cast<void>(io::load_model<float>(path, registry)); }),
            path + ": expected a text heed.config in the metadata, found none");
  io::save(path, model.params(), {{"heed.config", "{\"width\": 8, \"heads\": 2, \"layer\": []}"}});
  EXPECT_EQ(error_text<ConfigError>([&] { static_cast<void>(io::load_model<float>(path, registry)); }),
            path +
                ": heed.config: layer: expected one of width, heads, kv_heads, head_width, value_width, hidden, layers, "
                "found this one");
  io::save(path, model.params(), {{"heed.config", "{\"width\": 8, \"heads\": 2, \"layers\": [{\"mixer\": \"mamba\"}]}"}});
  EXPECT_TRUE(error_text<CheckpointError>([&] {
                static_cast<void>(io::load_model<float>(path, registry));
              }).starts_with(path + ": layers.0."));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace heed
