// How attention knows where rows stand.
//
//   Rotary        queries and keys turn by angles that grow with the position (ops/rotary.hpp)
//   Alibi         scores lose what their distance costs, at a rate of each head (ops/alibi.hpp)
//   NoPositions   by nothing but the mask: a causal row sees how many rows are before it
// Source: Su et al. 2021 (arXiv 2104.09864); Press et al. 2021 (arXiv 2108.12409); without positions: Haviv et al. 2022
// (arXiv 2203.16634).
#pragma once

#include <string_view>
#include <variant>

#include "../core/pass.hpp"
#include "../ops/alibi.hpp"
#include "../ops/rotary.hpp"

namespace heed::inline HEED_ABI {

struct NoPositions {
  static constexpr std::string_view name = "none";
};

/// The slopes are those of as many heads as the mixer has.
struct Alibi {
  static constexpr std::string_view name = "alibi";
};

using Positions = std::variant<Rotary, NoPositions, Alibi>;

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

/// The slope of every head, in the arena, if scores depend on distances; none otherwise.
template <class Scalar>
const Scalar* slopes_of(const Positions& positions, Index heads, Arena& arena) {
  if (!std::holds_alternative<Alibi>(positions)) return nullptr;
  Scalar* slopes = arena.take<Scalar>(heads);
  for (Index h = 0; h < heads; ++h) slopes[h] = static_cast<Scalar>(alibi_slope(h, heads));
  return slopes;
}

}  // namespace heed::inline HEED_ABI
