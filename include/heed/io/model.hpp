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

/// The file holds the tensors of these layers. CheckpointError if not, before a number is set: so a file that describes
/// more than it holds costs no more than its own bytes. One layer's tensors are made at a time, and not touched.
template <class Scalar, class Plan>
void expects_tensors(const CheckedFile& file, const Plan& plan) {
  plan.for_each([&]<class Layer>(std::size_t number, const auto& config) {
    typename Layer::template Params<Scalar> params(plan.shape, config);
    const std::string prefix = "layers." + std::to_string(number) + ".";
    for (Target& target : targets_of(params)) {
      target.name = prefix + target.name;
      expects_entry(file, target);
    }
  });
}

/// How a model of this type is described, and built of its description if the file holds its tensors.
template <class Model>
struct FileModel;

template <class Scalar>
struct FileModel<DynamicStack<Scalar>> {
  using Names = Registry<Scalar>;
  static Description described(const DynamicStack<Scalar>& model, const Names& registry) {
    return registry.described(model);
  }
  static DynamicStack<Scalar> build(const Description& description, const Names& registry, const CheckedFile& file) {
    const auto [sizes, layers] = registry.stack(description);
    expects_tensors<Scalar>(file, DynamicStack<Scalar>::make_plan(sizes, layers));
    return DynamicStack<Scalar>::build(sizes, layers);
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
  static Model build(const Description& description, const Names& registry, const CheckedFile& file) {
    const Place place(description.source);
    LanguageModelDescription<typename Norm::Config> all;
    read_described(description, all, place);
    if (all.vocabulary < 1 || all.vocabulary > largest_size)
      place.member("vocabulary").refuse("expected 1 to ", largest_size, ", found ", all.vocabulary);
    all.stack.source = description.source + ": stack";
    auto stack = FileModel<DynamicStack<Scalar>>::build(all.stack, registry, file);
    expects_entry(file, {"embedding.weight", type_of<Scalar>(), {all.vocabulary, stack.shape().width}, nullptr});
    return Model(all.vocabulary, std::move(stack), 0, all.norm);
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

/// The model that a file holds. CheckpointError if it holds no description, or not the weights of what is described, which
/// is found before the model is made; ConfigError if that cannot be built.
template <class Model>
Model load_model(const std::filesystem::path& path, const typename detail::FileModel<Model>::Names& registry) {
  const detail::CheckedFile file(path);
  const Metadata& metadata = file.header().metadata;
  const auto found = metadata.find(config_key);
  HEED_EXPECTS(CheckpointError, found != metadata.end(), path.string(), ": expected a text ", config_key,
               " in the metadata, found none");
  const std::string source = path.string() + ": " + std::string(config_key);
  Model model = detail::FileModel<Model>::build(parse_config(found->second, source), registry, file);
  load(path, model.params());
  return model;
}

}  // namespace heed::inline HEED_ABI::io
