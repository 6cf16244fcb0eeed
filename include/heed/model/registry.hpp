// Names for mixers, feed-forwards and norms, so that a stack can be built from a description, and described again.
//
//   auto registry = standard_registry<float>();
//   registry.add<app::GatedValueAttention>("app.gated_value");
//   auto model = DynamicStack<float>::build(io::read_config("model.json"), registry);
//
// A description of a stack has the members of Sizes, and layers:
//
//   {"width": 64, "heads": 4, "layers": [
//     {"mixer": "standard_attention"},
//     {"mixer": {"type": "shared_value_attention", "scores": {"mask": {"left": 127}}},
//      "feed_forward": {"type": "gelu", "biases": true}, "norm": "layer_norm", "form": "post_norm", "repeat": 3}]}
//
// What stands beside "type" are the members of the component's Config, by the names of its `fields`.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../core/config_numbers.hpp"
#include "../core/fields.hpp"
#include "../mixers/dense_values.hpp"
#include "../mixers/neutreno.hpp"
#include "../mixers/shared_softmax.hpp"
#include "../mixers/variants.hpp"
#include "dynamic_stack.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

// Of a described stack, in which large numbers cost nothing to write. Wiring has a mark for every head of every layer.
inline constexpr Index most_layers = 4096;
inline constexpr Index most_heads = Index(1) << 24;  // of all layers

/// What a description says of a stack.
struct StackDescription {
  Sizes sizes = {};
  std::vector<Description> layers = {};
  template <class F, class C>
  static void fields(F&& f, C& config) {
    Sizes::fields(f, config.sizes);
    f("layers", config.layers);
  }
};

struct LayerDescription {
  Description mixer = {};
  Description feed_forward = "swiglu";
  Description norm = "rms_norm";
  BlockForm form = BlockForm::pre_norm;
  Index repeat = 1;
  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("mixer", config.mixer);
    f("feed_forward", config.feed_forward);
    f("norm", config.norm);
    f("form", config.form);
    f("repeat", config.repeat);
  }
};

/// Stands for a mixer that is described: a pair of these is a pair's description.
struct DescribedMixer {
  using Config = Description;
};

template <class>
inline constexpr bool unknown_component = false;

}  // namespace detail

template <class Scalar>
class Registry {
 public:
  using AnyMixerConfig = typename AnyMixer<Scalar>::Config;
  using Layer = typename DynamicStack<Scalar>::Layer;

  /// A mixer, a feed-forward or a norm by this name. ConfigError if another has it.
  template <class Component>
  Registry& add(std::string name) {
    if constexpr (Mixer<Component>)
      mixers_.template add<Component, typename AnyMixer<Scalar>::template Typed<Component>>(std::move(name));
    else if constexpr (FeedForwardOf<Component, Scalar>)
      feed_forwards_.template add<Component, typename AnyFeedForward<Scalar>::template Typed<Component>>(std::move(name));
    else if constexpr (NormOf<Component, Scalar>)
      norms_.template add<Component, typename AnyNorm<Scalar>::template Typed<Component>>(std::move(name));
    else
      static_assert(detail::unknown_component<Component>, "heed: a Registry takes mixers, feed-forwards and norms");
    return *this;
  }

  /// The mixer of a description: its name, or members with its name as "type". ConfigError, naming the place, the names
  /// there are, and what was found.
  AnyMixerConfig mixer(const Description& from, const Place& place) const {
    if (from.template as<std::monostate>() != nullptr)
      place.refuse("expected a mixer (", mixers_.names(pairs), "), found none");
    const auto chosen = detail::typed(from, place, mixers_.names(pairs));
    if (chosen.type == side_by_side) return pair<HeadSplit>(chosen.rest, place);
    if (chosen.type == in_parallel) return pair<AllHeads>(chosen.rest, place);
    return {mixers_.read(chosen, place, pairs)};
  }
  /// ConfigError, naming the place, for what cannot be described.
  Description described(const AnyMixerConfig& config, const Place& place = Place("mixer")) const {
    if (const auto* both = config.mixer->template config_of<Pair<HeadSplit>>())
      return described_pair<HeadSplit>(side_by_side, *both, place);
    if (const auto* both = config.mixer->template config_of<Pair<AllHeads>>())
      return described_pair<AllHeads>(in_parallel, *both, place);
    return mixers_.described(*config.mixer, "mixer", place);
  }

  /// The sizes and layers of a description.
  std::pair<Sizes, std::vector<Layer>> stack(const Description& from) const {
    const Place place(from.source);
    detail::StackDescription all;
    read_described(from, all, place);
    Sizes::fields(
        [&](std::string_view name, const Index& size) {
          if (size < 0 || size > largest_size) place.member(name).refuse("expected 0 to ", largest_size, ", found ", size);
        },
        all.sizes);
    std::vector<Layer> layers;
    for (std::size_t i = 0; i < all.layers.size(); ++i) {
      const Place at = place.member("layers").item(i);
      detail::LayerDescription layer;
      read_described(all.layers[i], layer, at);
      const Index left = detail::most_layers - static_cast<Index>(layers.size());
      if (layer.repeat < 0 || layer.repeat > left)
        at.member("repeat").refuse("expected 0 to ", left, " (", detail::most_layers, " layers in all), found ",
                                   layer.repeat);
      const Layer one({mixer(layer.mixer, at.member("mixer")),
                       {feed_forwards_.read(layer.feed_forward, at.member("feed_forward"))},
                       {norms_.read(layer.norm, at.member("norm"))}},
                      layer.form);
      layers.insert(layers.end(), static_cast<std::size_t>(layer.repeat), one);
    }
    const Index most = most_heads_of(layers.size());
    if (all.sizes.heads > most)
      place.member("heads").refuse("expected at most ", most, " in each of ", layers.size(), " layers, found ",
                                   all.sizes.heads);
    return {all.sizes, std::move(layers)};
  }
  /// What `stack` would build the model from. ConfigError if a component of it has no name here, or if its config says what
  /// no description can: numbers that are not finite, documents of a mask.
  Description described(const DynamicStack<Scalar>& model) const {
    const Shape& shape = model.shape();
    detail::StackDescription all{.sizes = {.width = shape.width,
                                           .heads = shape.heads.count,
                                           .kv_heads = shape.kv_heads.count,
                                           .head_width = shape.head_width,
                                           .value_width = shape.value_width,
                                           .hidden = shape.hidden}};
    std::vector<detail::LayerDescription> layers;
    for (std::size_t number = 0; number < static_cast<std::size_t>(model.layers()); ++number) {
      const Layer layer = model.layer(number);
      const Place place("layer " + std::to_string(number));
      detail::LayerDescription next{
          described(layer.config.mixer, place.member("mixer")),
          feed_forwards_.described(*layer.config.feed_forward.feed_forward, "feed-forward", place.member("feed_forward")),
          norms_.described(*layer.config.norm.norm, "norm", place.member("norm")), layer.form};
      if (!layers.empty()) next.repeat = layers.back().repeat;
      if (!layers.empty() && heed::described(next) == heed::described(layers.back()))
        ++layers.back().repeat;
      else
        layers.push_back((next.repeat = 1, std::move(next)));
    }
    for (const detail::LayerDescription& layer : layers) all.layers.push_back(heed::described(layer));
    return heed::described(all);
  }

 private:
  static Index most_heads_of(std::size_t layers) {
    return detail::most_heads / (std::max)(Index(1), static_cast<Index>(layers));
  }

  // Two mixers on one layer: built of any two by name.
  template <class Division>
  using Pair = MixerPair<AnyMixer<Scalar>, AnyMixer<Scalar>, Division>;
  template <class Division>
  using DescribedPair = typename Division::template Config<detail::DescribedMixer, detail::DescribedMixer>;
  static constexpr std::string_view side_by_side = "side_by_side", in_parallel = "in_parallel";
  static constexpr std::string_view pairs = "side_by_side, in_parallel";

  /// The components of one sort by name.
  template <class Erased>
  class Names {
   public:
    template <class Component, class Typed>
    void add(std::string name) {
      for (const Entry& entry : entries_)
        HEED_EXPECTS(ConfigError, entry.name != name, "registry: expected a new name, found ", name, " a second time");
      HEED_EXPECTS(ConfigError, !name.empty() && name != side_by_side && name != in_parallel,
                   "registry: expected a name of its own, found \"", name, "\"");
      entries_.push_back({std::move(name), &detail::type_key<Component>,
                          [](const Description& from, const Place& place) -> std::shared_ptr<const Erased> {
                            typename Component::Config config{};
                            read_described(from, config, place);
                            return std::make_shared<Typed>(std::move(config));
                          },
                          [](const Erased& erased, const Place& place) {
                            return heed::described(*erased.template config_of<Component>(), place);
                          }});
    }
    std::string names(std::string_view also = "") const {
      std::string list;
      for (const Entry& entry : entries_) detail::append_name(list, entry.name);
      if (!also.empty()) detail::append_name(list, also);
      return list;
    }
    std::shared_ptr<const Erased> read(const Description& from, const Place& place) const {
      return read(detail::typed(from, place, names()), place);
    }
    std::shared_ptr<const Erased> read(const detail::TypedDescription& chosen, const Place& place,
                                       std::string_view also = "") const {
      for (const Entry& entry : entries_)
        if (entry.name == chosen.type) return entry.read(chosen.rest, place);
      place.refuse("expected one of ", names(also), ", found \"", chosen.type, "\"");
    }
    Description described(const Erased& erased, std::string_view what, const Place& place) const {
      for (const Entry& entry : entries_)
        if (entry.type == erased.type()) return detail::with_type(entry.name, entry.described(erased, place));
      fail<ConfigError>("registry: expected every ", what, " of the stack under a name, found one without: add it");
    }

   private:
    struct Entry {
      std::string name;
      const char* type;
      std::shared_ptr<const Erased> (*read)(const Description&, const Place&);
      Description (*described)(const Erased&, const Place&);
    };
    std::vector<Entry> entries_;
  };

  template <class Division>
  AnyMixerConfig pair(const Description& from, const Place& place) const {
    DescribedPair<Division> both;
    read_described(from, both, place);
    typename Pair<Division>::Config config{.first = mixer(both.first, place.member("first")),
                                           .second = mixer(both.second, place.member("second"))};
    copy_split(both, config);
    return {std::make_shared<typename AnyMixer<Scalar>::template Typed<Pair<Division>>>(std::move(config))};
  }
  template <class Division>
  Description described_pair(std::string_view name, const typename Pair<Division>::Config& config,
                             const Place& place) const {
    DescribedPair<Division> both{.first = described(config.first, place.member("first")),
                                 .second = described(config.second, place.member("second"))};
    copy_split(config, both);
    return detail::with_type(name, heed::described(both));
  }
  template <class From, class To>
  static void copy_split(const From& from, To& to) {
    if constexpr (requires { from.second_kv_heads; }) to.second_kv_heads = from.second_kv_heads;
  }

  Names<typename AnyMixer<Scalar>::Erased> mixers_;
  Names<typename AnyFeedForward<Scalar>::Erased> feed_forwards_;
  Names<typename AnyNorm<Scalar>::Erased> norms_;
};

/// Adds everything on the menu to a registry, or to whatever has its `add`.
template <class Names>
void add_menu(Names& registry) {
  registry.template add<StandardAttention>("standard_attention")
      .template add<ResidualValueAttention>("residual_value_attention")
      .template add<LearnedResidualValueAttention>("learned_residual_value_attention")
      .template add<Attention<ComputedScores, ResidualValues<FixedPerHead>>>("per_head_residual_value_attention")
      .template add<Attention<ComputedScores, ResidualValues<LearnedPerHead>>>("learned_per_head_residual_value_attention")
      .template add<Attention<ComputedScores, ResidualValues<SharedSoftmax>>>("shared_softmax_residual_value_attention")
      .template add<CoefficientHolder>("coefficient_holder")
      .template add<Attention<ComputedScores, HistoryValues>>("history_value_attention")
      .template add<Attention<ComputedScores, DenseResidualValues>>("dense_residual_value_attention")
      .template add<SharedValueAttention>("shared_value_attention")
      .template add<Attention<ComputedScores, SharedValues<nearest<values>>>>("anchored_shared_value_attention")
      .template add<ScoreReuseAttention>("score_reuse_attention")
      .template add<ScoreReuseResidualValueAttention>("score_reuse_residual_value_attention")
      .template add<ScoreReuseSharedValueAttention>("score_reuse_shared_value_attention")
      .template add<CrossLayerAttention>("cross_layer_attention")
      .template add<SharedKeyAttention>("shared_key_attention")
      .template add<SharedKeyValueAttention>("shared_key_value_attention")
      .template add<Attention<ComputedScores, ProjectedValues, NormedOutput>>("normed_output_attention")
      .template add<Attention<ComputedScores, ProjectedValues, Neutreno>>("neutreno_attention")
      .template add<Attention<ComputedScores, ResidualValues<Fixed>, Neutreno>>("neutreno_residual_value_attention")
      .template add<CrossAttention>("cross_attention")
      .template add<Mamba>("mamba")
      .template add<Mamba2>("mamba2");
  registry.template add<SwiGlu>("swiglu")
      .template add<GeGlu>("geglu")
      .template add<GatedFeedForward<GeluTanh>>("geglu_tanh")
      .template add<ReGlu>("reglu")
      .template add<FeedForward<Silu>>("silu")
      .template add<FeedForward<Gelu>>("gelu")
      .template add<FeedForward<GeluTanh>>("gelu_tanh")
      .template add<FeedForward<Relu>>("relu")
      .template add<NoFeedForward>("none");
  registry.template add<RmsNorm>("rms_norm").template add<LayerNorm>("layer_norm").template add<NoNorm>("none");
}

/// Everything on the menu. Pairs are built of any two mixers: "side_by_side" on heads of their own, "in_parallel" on all.
template <class Scalar>
Registry<Scalar> standard_registry() {
  Registry<Scalar> registry;
  add_menu(registry);
  return registry;
}

}  // namespace heed::inline HEED_ABI
