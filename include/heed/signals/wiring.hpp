// Wiring: which layer every tap of every layer reads from. One constexpr function serves both kinds of stack.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "tap.hpp"

namespace heed::inline HEED_ABI {

/// A tap as a value: its names and its function.
struct TapInfo {
  std::string_view name;
  std::string_view signal;
  int (*source)(std::span<const bool> publishes);
  bool from_outside = false;  // may find no layer, and is fed from outside the stack then
};

/// The tap as a value.
template <class Tap>
constexpr TapInfo tap_info() {
  return {Tap::name, Tap::signal::name, &Tap::source, requires {Tap::signal::from_outside;
}
};
}

/// What one layer consumes and publishes.
struct LayerSignals {
  std::span<const TapInfo> consumes;
  std::span<const std::string_view> publishes;

  constexpr bool publishes_signal(std::string_view signal) const {
    for (const std::string_view name : publishes)
      if (name == signal) return true;
    return false;
  }
};

namespace detail {

template <class List>
struct list_info;
template <class... Tags>
struct list_info<signals<Tags...>> {
  static constexpr std::array<std::string_view, sizeof...(Tags)> names() { return {Tags::name...}; }
  static constexpr std::array<TapInfo, sizeof...(Tags)> taps() { return {tap_info<Tags>()...}; }
};

/// The taps of a consumes list, and the names of a publishes list, as tables that live as long as the program.
template <class Consumes>
inline constexpr auto taps_of = list_info<Consumes>::taps();
template <class Publishes>
inline constexpr auto signal_names_of = list_info<Publishes>::names();

// n booleans, in a constant expression too.
class Flags {
 public:
  constexpr explicit Flags(std::size_t n) : data_(new bool[n == 0 ? 1 : n]()), size_(n) {}
  constexpr ~Flags() { delete[] data_; }
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;
  constexpr bool& operator[](std::size_t i) { return data_[i]; }
  constexpr operator std::span<const bool>() const { return {data_, size_}; }  // NOLINT(google-explicit-constructor)

 private:
  bool* data_;
  std::size_t size_;
};

}  // namespace detail

/// The signals of a mixer or block whose lists are types.
template <class Component>
constexpr LayerSignals layer_signals() {
  return {detail::taps_of<typename Component::consumes>, detail::signal_names_of<typename Component::publishes>};
}

/// The layer that `tap` of layer `layer` reads from, or `nowhere`.
constexpr int source_of(std::span<const LayerSignals> layers, std::size_t layer, const TapInfo& tap) {
  detail::Flags publishes(layer);
  for (std::size_t below = 0; below < layer; ++below) publishes[below] = layers[below].publishes_signal(tap.signal);
  return tap.source(publishes);
}

/// The first tap that finds no source: {layer, index of the tap}; layer is `nowhere` if all are wired.
struct Unwired {
  int layer = nowhere;
  std::size_t tap = 0;
};
constexpr Unwired first_unwired(std::span<const LayerSignals> layers) {
  for (std::size_t layer = 0; layer < layers.size(); ++layer)
    for (std::size_t tap = 0; tap < layers[layer].consumes.size(); ++tap)
      if (const TapInfo& info = layers[layer].consumes[tap];
          !info.from_outside && source_of(layers, layer, info) == nowhere)
        return {static_cast<int>(layer), tap};
  return {};
}

}  // namespace heed::inline HEED_ABI
