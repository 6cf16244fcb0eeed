// Taps: from which layer below a signal is read.
//
// A tap is a type with a signal and one function: source(publishes), where publishes[i] says whether layer i below
// publishes the signal; it returns a layer or `nowhere`. The same function wires static stacks while compiling and dynamic
// ones while building.
#pragma once

#include <cstddef>
#include <span>

#include "signal.hpp"

namespace heed::inline HEED_ABI {

inline constexpr int nowhere = -1;

/// Reads Signal from the lowest layer that publishes it.
template <class Signal>
struct first {
  using signal = Signal;
  static constexpr std::string_view name = "first";
  static constexpr int source(std::span<const bool> publishes) {
    for (std::size_t layer = 0; layer < publishes.size(); ++layer)
      if (publishes[layer]) return static_cast<int>(layer);
    return nowhere;
  }
};

/// Reads Signal from the closest layer below that publishes it.
template <class Signal>
struct nearest {
  using signal = Signal;
  static constexpr std::string_view name = "nearest";
  static constexpr int source(std::span<const bool> publishes) {
    for (std::size_t above = publishes.size(); above > 0; --above)
      if (publishes[above - 1]) return static_cast<int>(above - 1);
    return nowhere;
  }
};

/// Reads Signal from layer N.
template <int N, class Signal>
struct at {
  static_assert(N >= 0, "heed: at<N, Signal> counts layers from 0: N >= 0");
  using signal = Signal;
  static constexpr std::string_view name = "at";
  static constexpr int source(std::span<const bool> publishes) {
    return N < static_cast<int>(publishes.size()) && publishes[std::size_t(N)] ? N : nowhere;
  }
};

}  // namespace heed::inline HEED_ABI
