// Layers from a list: the same stack, wired while it is built.
//
//   auto model = DynamicStack<float>::build({.width = 64, .heads = 4}, {{choose<StandardAttention>()},
//                                                                       {choose<SharedValueAttention>()}});
//
// What else a block is made of is chosen beside its mixer, or all at once, as a type:
//
//   {choose<StandardAttention>(), choose_feed_forward<GeGlu>(), choose_norm<LayerNorm>(), BlockForm::post_norm}
//   {choose_block<Block<StandardAttention, GeGlu, LayerNorm, PostNorm>>()}
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "../mixers/any_mixer.hpp"
#include "any_feed_forward.hpp"
#include "any_norm.hpp"
#include "layered.hpp"

namespace heed::inline HEED_ABI {

/// The forms of blocks by number: the order of the kinds of a DynamicStack.
enum class BlockForm { pre_norm, post_norm, parallel, sandwich };
constexpr std::array<std::pair<std::string_view, BlockForm>, 4> value_names(BlockForm) {
  return {{{PreNorm::name, BlockForm::pre_norm},
           {PostNorm::name, BlockForm::post_norm},
           {ParallelForm::name, BlockForm::parallel},
           {Sandwich::name, BlockForm::sandwich}}};
}

namespace detail {

template <class Form>
struct form_number;
template <>
struct form_number<PreNorm> {
  static constexpr BlockForm value = BlockForm::pre_norm;
};
template <>
struct form_number<PostNorm> {
  static constexpr BlockForm value = BlockForm::post_norm;
};
template <>
struct form_number<ParallelForm> {
  static constexpr BlockForm value = BlockForm::parallel;
};
template <>
struct form_number<Sandwich> {
  static constexpr BlockForm value = BlockForm::sandwich;
};

template <class Scalar, class Form>
using AnyBlock = Block<AnyMixer<Scalar>, AnyFeedForward<Scalar>, AnyNorm<Scalar>, Form>;
template <class Scalar>
using AnyLayers = Layered<Scalar, AnyBlock<Scalar, PreNorm>, AnyBlock<Scalar, PostNorm>, AnyBlock<Scalar, ParallelForm>,
                          AnyBlock<Scalar, Sandwich>>;

}  // namespace detail

/// A block of types and its config, before the scalar is known.
template <class BlockType>
struct BlockChoice {
  typename BlockType::Config config;
};
template <class BlockType>
BlockChoice<BlockType> choose_block(typename BlockType::Config config = {}) {
  return {std::move(config)};
}

template <class Scalar>
class DynamicStack : public detail::AnyLayers<Scalar> {
  using Base = detail::AnyLayers<Scalar>;

 public:
  /// The config of one layer, from choices.
  struct Layer {
    template <class Chosen>
    requires requires(const Chosen& chosen) { chosen.template erased<Scalar>(); }
    Layer(const Chosen& chosen, SwiGlu::Config feed_forward = {}, RmsNorm::Config norm = {})  // NOLINT: a choice is a layer
        : Layer(chosen, choose_feed_forward<SwiGlu>(feed_forward), choose_norm<RmsNorm>(norm)) {}

    template <class Chosen, class FeedForwardType, class Norm = RmsNorm>
    Layer(const Chosen& chosen, const FeedForwardChoice<FeedForwardType>& feed_forward,
          const NormChoice<Norm>& norm = choose_norm<Norm>(), BlockForm form_in = BlockForm::pre_norm)
        : Layer({chosen.template erased<Scalar>(), feed_forward.template erased_feed_forward<Scalar>(),
                 norm.template erased_norm<Scalar>()},
                form_in) {}

    template <class Mixer, class FeedForwardType, class Norm, class Form>
    Layer(const BlockChoice<Block<Mixer, FeedForwardType, Norm, Form>>& block)  // NOLINT: a choice is a layer
        : Layer(choose<Mixer>(block.config.mixer), choose_feed_forward<FeedForwardType>(block.config.feed_forward),
                choose_norm<Norm>(block.config.norm), detail::form_number<Form>::value) {}

    using Config = typename detail::AnyBlock<Scalar, PreNorm>::Config;
    Layer(Config config_in, BlockForm form_in) : config(std::move(config_in)), form(form_in) {}

    Config config;
    BlockForm form;
  };

  /// Raises ConfigError, naming the layer and the tap, for wrong wiring, heads that a source does not publish and sizes
  /// that do not fit together. Weights are initialised with seed 0.
  static DynamicStack build(const Sizes& sizes, const std::vector<Layer>& layers) {
    auto [places, configs] = placed(layers);
    return DynamicStack(sizes, std::move(places), std::move(configs));
  }
  /// The layers of such a stack and their wiring, checked the same way, without its weights.
  static typename Base::Plan make_plan(const Sizes& sizes, const std::vector<Layer>& layers) {
    auto [places, configs] = placed(layers);
    return typename Base::Plan(sizes.shape(), std::move(places), std::move(configs));
  }

  /// The layers of a description, by the names of a registry (model/registry.hpp). ConfigError, naming the place in the
  /// description, for what does not fit there; else as above.
  template <class Description, class Registry>
  static DynamicStack build(const Description& description, const Registry& registry) {
    const auto [sizes, layers] = registry.stack(description);
    return build(sizes, layers);
  }

  /// What a layer was chosen to be.
  Layer layer(std::size_t number) const {
    typename Layer::Config config;
    const auto form = static_cast<BlockForm>(this->plan().place(number).kind);
    this->plan().at(number, [&]<std::size_t kind>(std::size_t index) {
      const auto& of_kind = this->plan().template config<kind>(index);
      config = {of_kind.mixer, of_kind.feed_forward, of_kind.norm};
    });
    return Layer(std::move(config), form);
  }

 private:
  using Base::Base;

  static constexpr std::size_t forms = std::tuple_size_v<typename Base::Plan::Configs>;

  static std::pair<std::vector<typename Base::Plan::Place>, typename Base::Plan::Configs> placed(
      const std::vector<Layer>& layers) {
    std::pair<std::vector<typename Base::Plan::Place>, typename Base::Plan::Configs> all;
    for (const Layer& layer : layers) add(layer, all.first, all.second, std::make_index_sequence<forms>());
    return all;
  }
  template <std::size_t... K>
  static void add(const Layer& layer, std::vector<typename Base::Plan::Place>& places,
                  typename Base::Plan::Configs& configs, std::index_sequence<K...>) {
    const auto form = static_cast<std::size_t>(layer.form);
    const auto add_as = [&](std::size_t kind, auto& of_kind) {
      if (kind != form) return;
      places.push_back({kind, of_kind.size()});
      of_kind.push_back({layer.config.mixer, layer.config.feed_forward, layer.config.norm});
    };
    (add_as(K, std::get<K>(configs)), ...);
  }
};

}  // namespace heed::inline HEED_ABI
