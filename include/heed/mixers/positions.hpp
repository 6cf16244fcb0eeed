// How attention knows where rows stand.
//
//   Rotary        queries and keys turn by angles that grow with the position (ops/rotary.hpp)
//   NoPositions   by nothing but the mask: a causal row sees how many rows are before it
// Source: Su et al. 2021 (arXiv 2104.09864); without positions: Haviv et al. 2022 (arXiv 2203.16634).
#pragma once

#include <string_view>
#include <variant>

#include "../core/pass.hpp"
#include "../ops/rotary.hpp"

namespace heed::inline HEED_ABI {

struct NoPositions {
  static constexpr std::string_view name = "none";
};

using Positions = std::variant<Rotary, NoPositions>;

/// Raises ConfigError if heads of this width cannot have these positions.
inline void check_positions(const Positions& positions, Index head_width, std::string_view layer) {
  if (const auto* rotary = std::get_if<Rotary>(&positions)) check_rotary(*rotary, head_width, layer);
}

/// Turns the new rows of queries or keys in place, if positions are rotary.
///   x   [T x heads E]
template <class Scalar>
void turn(const Positions& positions, const Pass& pass, Index head_width, MutableView<Scalar> x) {
  if (const auto* rotary = std::get_if<Rotary>(&positions))
    apply_rotary(*rotary, pass.rows, pass.past, head_width, x, pass.workers);
}

/// Turns their gradient in place, back by the same angles.
template <class Scalar>
void turn_backward(const Positions& positions, const Pass& pass, Index head_width, MutableView<Scalar> d_x) {
  if (const auto* rotary = std::get_if<Rotary>(&positions))
    apply_rotary_backward(*rotary, pass.rows, pass.past, head_width, d_x, pass.workers);
}

}  // namespace heed::inline HEED_ABI
