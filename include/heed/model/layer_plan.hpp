// Which layers a stack has, of which kinds, and who reads whom. Made once; it holds no weights.
//
// Layers are kept by kind, so that 24 layers of 3 kinds instantiate 3 layers: a layer is a place, {kind, index in the
// kind}.
#pragma once

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../mixers/reach.hpp"

namespace heed::inline HEED_ABI {

/// How one layer is connected: where each of its taps reads, and which heads of its signals are read above.
struct LayerWiring {
  struct Source {
    int layer;           // nowhere: from outside the stack
    std::size_t signal;  // index in the publishes list of that layer
  };

  LayerWiring(const LayerSignals& layer_signals, std::span<const SignalInfo> signal_infos, const Shape& shape)
      : signals(layer_signals), infos(signal_infos) {
    for (const SignalInfo& info : infos)
      wanted.emplace_back(static_cast<std::size_t>(own_heads(info.alignment, shape).count));
  }

  std::size_t index_of(std::string_view signal) const {
    std::size_t index = 0;
    while (infos[index].name != signal) ++index;
    return index;
  }
  /// Query heads whose probabilities a layer above reads.
  Index wanted_scores() const {
    Index count = 0;
    for (std::size_t signal = 0; signal < infos.size(); ++signal)
      if (infos[signal].name == scores::name) count += std::count(wanted[signal].begin(), wanted[signal].end(), 1);
    return count;
  }

  LayerSignals signals;
  std::span<const SignalInfo> infos;
  std::vector<Source> taps;                        // by tap
  std::vector<std::vector<unsigned char>> wanted;  // by signal: [heads]
};

template <class Scalar, class... Kinds>
class LayerPlan {
 public:
  struct Place {
    std::size_t kind;
    std::size_t index;  // among the layers of the kind
  };
  using Configs = std::tuple<std::vector<typename Kinds::Config>...>;
  template <std::size_t kind>
  using Kind = std::tuple_element_t<kind, std::tuple<Kinds...>>;

  LayerPlan() = default;
  /// Raises ConfigError for sizes that do not fit, taps that find no layer, heads that a source does not publish, and
  /// sources that do not hold as much as a reader says.
  LayerPlan(const Shape& shape_in, std::vector<Place> places, Configs configs)
      : shape(shape_in), places_(std::move(places)), configs_(std::move(configs)) {
    for_each([&]<class K>(std::size_t layer, const auto& config) {
      check_config<K>(shape, config, "layer " + std::to_string(layer));
    });
    std::vector<LayerSignals> all;
    for_each([&]<class K>(std::size_t, const auto& config) {
      all.push_back(signals_of<K>(config));
      wiring.push_back(LayerWiring(all.back(), signal_infos_of<K, Scalar>(config), shape));
      whole_rows = (std::max)(whole_rows, heed::whole_rows<K>(config));
    });
    for (std::size_t layer = 0; layer < all.size(); ++layer)
      for (const TapInfo& tap : all[layer].consumes) connect(all, layer, tap);
    for (const LayerWiring& layer : wiring) wanted_scores += layer.wanted_scores();
  }

  std::size_t layers() const { return places_.size(); }
  /// Whether layer by layer both have the same kind.
  bool same_kinds(const LayerPlan& other) const {
    return std::equal(places_.begin(), places_.end(), other.places_.begin(), other.places_.end(),
                      [](const Place& a, const Place& b) { return a.kind == b.kind; });
  }
  Place place(std::size_t layer) const { return places_[layer]; }
  template <std::size_t kind>
  const auto& config(std::size_t index) const {
    return std::get<kind>(configs_)[index];
  }

  /// `f.operator()<kind>(index)`: the layer's kind, and its index in the kind.
  template <class F>
  void at(std::size_t layer, F&& f) const {
    at_kind(places_[layer], f, std::index_sequence_for<Kinds...>());
  }
  /// `f.operator()<Kind>(layer, config)` for every layer, from the lowest.
  template <class F>
  void for_each(F&& f) const {
    for (std::size_t layer = 0; layer < places_.size(); ++layer)
      at(layer,
         [&]<std::size_t kind>(std::size_t index) { f.template operator()<Kind<kind>>(layer, config<kind>(index)); });
  }

  /// A readable name of the layer's mixer.
  std::string describe(std::size_t layer) const {
    std::string name;
    at(layer, [&]<std::size_t kind>(std::size_t index) { name = heed::describe<Kind<kind>>(config<kind>(index)); });
    return name;
  }
  /// What the cache of a layer keeps.
  CachePlan cache(std::size_t layer) const {
    CachePlan plan;
    at(layer, [&]<std::size_t kind>(std::size_t index) { plan = Kind<kind>::plan(shape, config<kind>(index)); });
    return plan;
  }
  /// Floating-point operations of one new row in a layer, besides its products with matrices that are learned.
  Index flops(std::size_t layer, Index keys) const {
    Index count = 0;
    at(layer,
       [&]<std::size_t kind>(std::size_t index) { count = heed::flops<Kind<kind>>(shape, config<kind>(index), keys); });
    return count;
  }
  /// Whether a layer keeps recurrent states.
  bool stateful() const {
    bool any = false;
    for (std::size_t layer = 0; layer < layers(); ++layer) any = any || cache(layer).per_state > 0;
    return any;
  }
  /// A generous bound on the bytes that one layer takes from an arena for so many rows. What is never touched costs
  /// nothing.
  std::size_t scratch_bytes(Index rows) const {
    Index extra = 0;
    for_each(
        [&]<class K>(std::size_t, const auto& config) { extra = (std::max)(extra, scratch_per_row<K>(shape, config)); });
    const Index per_row = 8 * shape.width + 8 * (std::max)(shape.q_width(), shape.o_width()) +
                          8 * (std::max)(shape.k_width(), shape.v_width()) + 6 * shape.hidden + 4 * shape.heads.count +
                          extra;
    return static_cast<std::size_t>(rows * per_row) * sizeof(Scalar) + (std::size_t(1) << 16);
  }
  /// Bytes that layers keep for those above at inference, besides probabilities, for so many rows.
  std::size_t kept_bytes(Index rows) const {
    std::size_t bytes = 0;
    for_each([&]<class K>(std::size_t, const auto& config) {
      bytes += static_cast<std::size_t>(rows * kept_per_row<K>(shape, config)) * sizeof(Scalar) + 4 * Arena::alignment;
    });
    return bytes;
  }
  /// Bytes that the jobs of any layer take from a worker's arena at most, beyond those of products.
  std::size_t job_bytes(const CallSize& size) const {
    std::size_t bytes = 0;
    for_each([&]<class K>(std::size_t, const auto& config) {
      bytes = (std::max)(bytes, heed::job_bytes<K, Scalar>(shape, config, size));
    });
    return bytes;
  }
  /// Bytes of the probabilities that layers above read, for one pair of positions.
  Index score_bytes_per_pair(Storage storage) const { return wanted_scores * bytes_of<Scalar>(storage); }

  Shape shape;
  std::vector<LayerWiring> wiring;  // by layer
  Index wanted_scores = 0;          // query heads whose probabilities some layer above reads
  Index whole_rows = 0;             // of a sequence, from its first, that have to come in one call

 private:
  template <class F, std::size_t... K>
  static void at_kind([[maybe_unused]] Place place, [[maybe_unused]] F&& f, std::index_sequence<K...>) {
    ((place.kind == K ? f.template operator()<K>(place.index) : void()), ...);
  }

  // Finds the source of a tap, checks that it publishes the heads that are read and what they hold, and marks them as
  // wanted.
  void connect(std::span<const LayerSignals> all, std::size_t layer, const TapInfo& tap) {
    const int source = source_of(all, layer, tap);
    if (source == nowhere && tap.from_outside) {
      wiring[layer].taps.push_back({nowhere, 0});
      return;
    }
    const std::string reader = "layer " + std::to_string(layer) + " (" + describe(layer) + ")";
    HEED_EXPECTS(ConfigError, source != nowhere, reader, " consumes ", tap.name, "<", tap.signal,
                 ">, which no layer below it publishes");
    const auto below = static_cast<std::size_t>(source);
    const std::size_t signal = wiring[below].index_of(tap.signal);
    const Alignment alignment = wiring[below].infos[signal].alignment;
    std::vector<unsigned char>& wanted = wiring[below].wanted[signal];
    std::vector<unsigned char> published(wanted.size());
    std::vector<unsigned char> read(wanted.size());
    at(below, [&]<std::size_t kind>(std::size_t index) {
      mark_published<Kind<kind>>(tap.signal, alignment, shape, config<kind>(index), published);
    });
    at(layer, [&]<std::size_t kind>(std::size_t index) {
      mark_read<Kind<kind>>(tap, alignment, shape, config<kind>(index), read);
    });
    for (std::size_t h = 0; h < read.size(); ++h) {
      HEED_EXPECTS(ConfigError, !read[h] || published[h], reader, " reads head ", h, " of ", tap.name, "<", tap.signal,
                   "> from layer ", source, ", which does not publish that head");
      wanted[h] = wanted[h] | read[h];
    }
    std::vector<Index> counts(wanted.size(), unsaid);
    at(below, [&]<std::size_t kind>(std::size_t index) {
      count_published<Kind<kind>>(tap.signal, alignment, shape, config<kind>(index), counts);
    });
    at(layer, [&]<std::size_t kind>(std::size_t index) {
      check_read<Kind<kind>>(tap, alignment, shape, config<kind>(index), counts, reader);
    });
    wiring[layer].taps.push_back({source, signal});
  }

  std::vector<Place> places_;
  Configs configs_;
};

}  // namespace heed::inline HEED_ABI
