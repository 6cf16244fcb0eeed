// A stack from a JSON file, with a variant of the program's own among its layers: built, described, saved and loaded.
#include <heed/heed.hpp>
#include <heed/io/model.hpp>
#include <iostream>

#include "gated_value_attention.hpp"

using Model = heed::DynamicStack<float>;

heed::Matrix<float> output(const Model& model) {
  heed::Matrix<float> x(8, 64);
  heed::Random(1, "x").normal(x, 1);
  auto cache = model.make_cache({.positions = 8, .rows = 8});
  return model.forward(x, cache);
}

int main() {
  auto registry = heed::standard_registry<float>();
  registry.add<app::GatedValueAttention>("app.gated_value");
  Model model = Model::build(heed::io::read_config("11_model_from_json.json"), registry);
  model.initialise(/*seed=*/1);
  std::cout << heed::inspect(model, {.positions = {4096}}) << "\n";

  heed::io::save_model("11_model.safetensors", model, registry);  // what it is, and its weights
  const Model loaded = heed::io::load_model<Model>("11_model.safetensors", registry);
  std::cout << "loaded, it gives the same rows: " << std::boolalpha << (output(loaded) == output(model)) << "\n";
  std::cout << heed::io::config_text(registry.described(loaded)) << "\n";

  const auto wrong = heed::io::parse_config(R"({"width": 64, "heads": 4, "layers": [
    {"mixer": {"type": "standard_attention", "scores": {"mask": {"window": 128}}}}]})",
                                            "wrong.json");
  try {
    static_cast<void>(Model::build(wrong, registry));
  } catch (const heed::ConfigError& error) {
    std::cout << error.what() << "\n";
  }
}
