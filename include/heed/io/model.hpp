// A stack in one file: its weights as safetensors, and what it is built from among the file's texts.
//
//   io::save_model("model.safetensors", model, registry);
//   auto loaded = io::load_model<float>("model.safetensors", registry);
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "../model/registry.hpp"
#include "config.hpp"
#include "safetensors.hpp"

namespace heed::inline HEED_ABI::io {

/// The name of the text that holds the description, as JSON.
inline constexpr const char* config_key = "heed.config";

/// ConfigError if a component of the model has no name in the registry, CheckpointError if the file cannot be written.
template <class Scalar>
void save_model(const std::filesystem::path& path, const DynamicStack<Scalar>& model, const Registry<Scalar>& registry,
                Metadata metadata = {}) {
  metadata.insert_or_assign(config_key, config_text(registry.described(model)));
  save(path, model.params(), metadata);
}

/// The model that a file holds. CheckpointError if it holds no description, or not the weights of what is described;
/// ConfigError if that cannot be built.
template <class Scalar>
DynamicStack<Scalar> load_model(const std::filesystem::path& path, const Registry<Scalar>& registry) {
  const Metadata metadata = read_metadata(path);
  const auto found = metadata.find(std::string_view(config_key));
  HEED_EXPECTS(CheckpointError, found != metadata.end(), path.string(), ": expected a text ", config_key,
               " in the metadata, found none");
  const std::string source = path.string() + ": " + config_key;
  auto model = DynamicStack<Scalar>::build(parse_config(found->second, source), registry);
  load(path, model.params());
  return model;
}

}  // namespace heed::inline HEED_ABI::io
