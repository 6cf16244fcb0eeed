// Signals: what a layer publishes for the layers above it. Tags and lists of tags; nothing here knows matrices.
#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "../core/abi.hpp"

namespace heed::inline HEED_ABI {

/// How the heads of a reader find their entries in the table of the layer it reads from.
enum class Alignment {
  kv_heads,          ///< an entry per kv head; a reader's kv head g reads the source's kv head g
  heads_from_first,  ///< an entry per query head; a reader's heads read the source's heads 0, 1, ...
  layer,             ///< one entry for the whole layer
};

/// The value rows that a layer attended over, after mixing: [S x E_v] per kv head.
struct values {
  static constexpr std::string_view name = "values";
  static constexpr Alignment alignment = Alignment::kv_heads;
};

/// The key rows that a layer attended to, as its cache holds them: turned, [S x E] per kv head.
struct keys {
  static constexpr std::string_view name = "keys";
  static constexpr Alignment alignment = Alignment::kv_heads;
};

/// The values of a layer's new rows before they were mixed, and through them those of all layers below: [T_b x E_v] per kv
/// head and layer.
struct value_history {
  static constexpr std::string_view name = "value_history";
  static constexpr Alignment alignment = Alignment::kv_heads;
};

/// Learned numbers that several layers share: [1 x n] for the layer.
struct coefficients {
  static constexpr std::string_view name = "coefficients";
  static constexpr Alignment alignment = Alignment::layer;
};

/// The probabilities that a layer attended with: [T x S] per query head.
struct scores {
  static constexpr std::string_view name = "scores";
  static constexpr Alignment alignment = Alignment::heads_from_first;
};

/// The rows of another sequence for every sequence, [S_m x D_m]: what an encoder has made. It may come from outside the
/// stack, when no layer below publishes it.
struct memory {
  static constexpr std::string_view name = "memory";
  static constexpr Alignment alignment = Alignment::layer;
  static constexpr bool from_outside = true;
};

/// A list of signals (what a mixer publishes) or of taps (what it consumes).
template <class... Tags>
struct signals {
  static constexpr std::size_t size = sizeof...(Tags);
  template <class Tag>
  static constexpr bool contains = (std::same_as<Tag, Tags> || ...);

  /// The place of a tag in the list.
  template <class Tag>
  static constexpr std::size_t index_of = [] {
    std::size_t index = 0;
    static_cast<void>(((std::same_as<Tag, Tags> || (++index, false)) || ...));
    return index;
  }();
};

namespace detail {

template <class A, class B>
struct join_two;
template <class... A>
struct join_two<signals<A...>, signals<>> {
  using type = signals<A...>;
};
template <class... A, class B, class... Rest>
struct join_two<signals<A...>, signals<B, Rest...>> {
  using grown = std::conditional_t<signals<A...>::template contains<B>, signals<A...>, signals<A..., B>>;
  using type = typename join_two<grown, signals<Rest...>>::type;
};

}  // namespace detail

/// The list of a mixer whose signals are known at run time only.
struct runtime_signals {};

namespace detail {

template <>
struct join_two<runtime_signals, runtime_signals> {
  using type = runtime_signals;
};

}  // namespace detail

/// The union of two lists, each tag once.
template <class A, class B>
using join = typename detail::join_two<A, B>::type;

/// One layer's table of one signal with its entry type erased: what a stack hands from layer to layer.
struct SignalTable {
  void* entries = nullptr;  // [sequences][heads], `stride` entries from sequence to sequence
  std::ptrdiff_t sequences = 0;
  std::ptrdiff_t heads = 0;
  std::ptrdiff_t stride = 0;
  const unsigned char* wanted = nullptr;  // [heads] 1 where a layer above reads the head
  Alignment alignment = Alignment::layer;
  std::size_t entry_bytes = 0;
};

/// What a stack must know of a published signal to make its table.
struct SignalInfo {
  std::string_view name;
  Alignment alignment;
  std::size_t entry_bytes;
  void (*construct)(void* entries, std::ptrdiff_t count);  // default-constructs the entries
};

}  // namespace heed::inline HEED_ABI
