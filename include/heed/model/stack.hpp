// Layers as types: wrong wiring does not compile.
//
//   Stack<float, Block<StandardAttention>, Repeat<4, Block<ResidualValueAttention>>, Block<ScoreReuseAttention>>
#pragma once

#include "layered.hpp"

namespace heed::inline HEED_ABI {

/// The same layer n times. An array, so depth costs no compile time.
template <int n, class Layer>
struct Repeat {};

namespace detail {

template <class Layer>
struct repeated {
  static constexpr std::size_t count = 1;
  using type = Layer;
};
template <int n, class Layer>
struct repeated<Repeat<n, Layer>> {
  static constexpr std::size_t count = n < 0 ? 0 : n;
  using type = Layer;
};

template <class Layer>
inline constexpr bool repeatable = true;
template <int n, class Layer>
inline constexpr bool repeatable<Repeat<n, Layer>> = n >= 0;

/// The layers of a stack by number, computed once from the short list of the type.
template <class... Layers>
struct LayerList {
  using Kinds = join<signals<>, signals<typename repeated<Layers>::type...>>;  // each kind once
  static constexpr std::size_t size = (repeated<Layers>::count + ... + 0);

  struct Entry {
    std::size_t kind;
    std::size_t index;  // among the layers of the kind
  };
  static constexpr auto entries = [] {
    std::array<Entry, size> list{};
    std::array<std::size_t, Kinds::size + 1> used{};
    std::size_t layer = 0;
    [[maybe_unused]] const auto add = [&](std::size_t kind, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) list[layer++] = {kind, used[kind]++};
    };
    (add(Kinds::template index_of<typename repeated<Layers>::type>, repeated<Layers>::count), ...);
    return list;
  }();
  static constexpr auto layer_signals = [] {
    std::array<LayerSignals, size> list{};
    std::size_t layer = 0;
    [[maybe_unused]] const auto add = [&](const LayerSignals& of_layer, std::size_t count) {
      for (std::size_t i = 0; i < count; ++i) list[layer++] = of_layer;
    };
    (add(heed::layer_signals<typename repeated<Layers>::type>(), repeated<Layers>::count), ...);
    return list;
  }();
};

/// Fails where the stack is named. The number of the layer, and of its tap, stand in the type.
template <int layer, std::size_t tap>
struct WiringCheck {
  static_assert(layer == nowhere,
                "heed: a layer of this Stack consumes a signal that no layer below it publishes (see layer and tap of "
                "WiringCheck<layer, tap>)");
};

template <class Scalar, class Kinds>
struct layered_of;
template <class Scalar, class... Kinds>
struct layered_of<Scalar, signals<Kinds...>> {
  using type = Layered<Scalar, Kinds...>;
  using configs = std::tuple<std::vector<typename Kinds::Config>...>;
};

}  // namespace detail

template <class Scalar, class... Layers>
class Stack : private detail::WiringCheck<first_unwired(detail::LayerList<Layers...>::layer_signals).layer,
                                          first_unwired(detail::LayerList<Layers...>::layer_signals).tap>,
              public detail::layered_of<Scalar, typename detail::LayerList<Layers...>::Kinds>::type {
  static_assert((detail::repeatable<Layers> && ...), "heed: Repeat<n, Layer> needs n >= 0");

  using list = detail::LayerList<Layers...>;
  using layered = detail::layered_of<Scalar, typename list::Kinds>;

  static typename layered::configs default_configs() {
    typename layered::configs configs;
    resize(configs, std::make_index_sequence<std::tuple_size_v<typename layered::configs>>());
    return configs;
  }
  // One config for every layer. (A constructor, because GCC 12 cannot call the function in a default of Config.)
  struct DefaultConfigs : layered::configs {
    DefaultConfigs() : layered::configs(default_configs()) {}
  };

 public:
  /// What all layers share, and what a layer has of its own: config.layer<3>().mixer...
  struct Config {
    Index width = 0;        // D
    Index heads = 0;        // H
    Index kv_heads = 0;     // G; 0: H
    Index head_width = 0;   // E, of queries and keys; 0: D / H
    Index value_width = 0;  // E_v, of values; 0: E
    Index hidden = 0;       // F, inside the feed-forward; 0: 8 D / 3 rounded up to a multiple of 16
    DefaultConfigs by_kind = {};

    Sizes sizes() const { return {width, heads, kv_heads, head_width, value_width, hidden}; }
    template <std::size_t number>
    auto& layer() {
      static_assert(number < list::size, "heed: this Stack has no layer of that number");
      constexpr auto entry = list::entries[number < list::size ? number : 0];  // or a page of errors would follow
      return std::get<entry.kind>(by_kind)[entry.index];
    }
  };

  /// Raises ConfigError for sizes that do not fit together and for heads that a source does not publish. Weights are
  /// initialised with seed 0.
  explicit Stack(const Config& config) : layered::type(config.sizes(), places(), config.by_kind) {}

  /// The layer that Tap of layer `layer` reads from.
  template <std::size_t layer, class Tap>
  static constexpr int source = source_of(list::layer_signals, layer, tap_info<Tap>());

 private:
  static std::vector<typename layered::type::Plan::Place> places() {
    std::vector<typename layered::type::Plan::Place> all;
    for (const auto& entry : list::entries) all.push_back({entry.kind, entry.index});
    return all;
  }
  template <std::size_t... K>
  static void resize(typename layered::configs& configs, std::index_sequence<K...>) {
    std::array<std::size_t, sizeof...(K) + 1> count{};
    for (const auto& entry : list::entries) ++count[entry.kind];
    (std::get<K>(configs).resize(count[K]), ...);
  }
};

}  // namespace heed::inline HEED_ABI
