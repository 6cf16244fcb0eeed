// A model in one file: its weights as safetensors, and what it is built from among the file's texts.
//
//   io::save_model("stack.safetensors", stack, registry);
//   auto stack = io::load_model<DynamicStack<float>>("stack.safetensors", registry);
//
//   io::save_model("model.safetensors", model, registry);                    // with its vocabulary and the norm before its
//   head auto model = io::load_model<LanguageModel<DynamicStack<float>>>("model.safetensors", registry);
#pragma once

#include <filesystem>
#include <string>
#include <utility>

#include "../model/language_model.hpp"
#include "../model/registry.hpp"
#include "config.hpp"
#include "safetensors.hpp"

namespace heed::inline HEED_ABI::io {

/// The name of the text that holds the description, as JSON.
inline constexpr std::string_view config_key = "heed.config";

namespace detail {

/// What a language model is besides the types of its head and its norm.
template <class NormConfig>
struct LanguageModelDescription {
  Index vocabulary = 0;
  NormConfig norm = {};
  Description stack = Description::Members();
  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("vocabulary", config.vocabulary);
    f("norm", config.norm);
    f("stack", config.stack);
  }
};

/// How a model of this type is described, and built of its description.
template <class Model>
struct FileModel;

template <class Scalar>
struct FileModel<DynamicStack<Scalar>> {
  using Names = Registry<Scalar>;
  static Description described(const DynamicStack<Scalar>& model, const Names& registry) {
    return registry.described(model);
  }
  static DynamicStack<Scalar> build(const Description& description, const Names& registry) {
    return DynamicStack<Scalar>::build(description, registry);
  }
};

template <class Scalar, class Head, class Norm>
struct FileModel<LanguageModel<DynamicStack<Scalar>, Head, Norm>> {
  using Names = Registry<Scalar>;
  using Model = LanguageModel<DynamicStack<Scalar>, Head, Norm>;
  static Description described(const Model& model, const Names& registry) {
    return heed::described(LanguageModelDescription<typename Norm::Config>{model.vocabulary(), model.norm_config(),
                                                                           registry.described(model.stack())},
                           Place("language model"));
  }
  static Model build(const Description& description, const Names& registry) {
    const Place place(description.source);
    LanguageModelDescription<typename Norm::Config> all;
    read_described(description, all, place);
    if (all.vocabulary < 1 || all.vocabulary > heed::detail::largest_size)
      place.member("vocabulary").refuse("expected 1 to ", heed::detail::largest_size, ", found ", all.vocabulary);
    all.stack.source = description.source + ": stack";
    return Model(all.vocabulary, DynamicStack<Scalar>::build(all.stack, registry), 0, all.norm);
  }
};

}  // namespace detail

/// Model: a DynamicStack, or a LanguageModel of one. ConfigError if a component has no name in the registry,
/// CheckpointError if the file cannot be written.
template <class Model>
void save_model(const std::filesystem::path& path, const Model& model,
                const typename detail::FileModel<Model>::Names& registry, Metadata metadata = {}) {
  metadata.insert_or_assign(std::string(config_key), config_text(detail::FileModel<Model>::described(model, registry)));
  save(path, model.params(), metadata);
}

/// The model that a file holds. CheckpointError if it holds no description, or not the weights of what is described;
/// ConfigError if that cannot be built.
template <class Model>
Model load_model(const std::filesystem::path& path, const typename detail::FileModel<Model>::Names& registry) {
  const Metadata metadata = read_metadata(path);
  const auto found = metadata.find(config_key);
  HEED_EXPECTS(CheckpointError, found != metadata.end(), path.string(), ": expected a text ", config_key,
               " in the metadata, found none");
  const std::string source = path.string() + ": " + std::string(config_key);
  Model model = detail::FileModel<Model>::build(parse_config(found->second, source), registry);
  load(path, model.params());
  return model;
}

}  // namespace heed::inline HEED_ABI::io
