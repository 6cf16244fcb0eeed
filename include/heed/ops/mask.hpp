// Which keys a query row sees: the interval [p - left, p + right] around its position p, cut to the keys that exist.
//
//   causal()           j <= p                       left = unbounded, right = 0
//   window(w)          p - w < j <= p               left = w - 1,     right = 0
//   bidirectional()    every j                      left = right = unbounded
//
// The position p of new row i is i + past with past = S - T (bottom-right), so a position may be negative: that row sees
// nothing under a causal mask. Whoever needs a mask's shape asks `visible`, `seen_by` and `coverage`, each O(1), and
// nothing else.
#pragma once

#include <algorithm>
#include <limits>

#include "../core/matrix.hpp"

namespace heed::inline HEED_ABI {

/// Farther than any key; small enough to be added to a position.
inline constexpr Index unbounded = (std::numeric_limits<Index>::max)() / 4;

/// [begin, end)
struct Interval {
  Index begin = 0;
  Index end = 0;

  constexpr bool empty() const { return end <= begin; }
  constexpr Index size() const { return empty() ? 0 : end - begin; }
  /// Cut to [lower, upper); an empty interval comes back empty and inside.
  constexpr Interval cut(Index lower, Index upper) const {
    const Index from = (std::clamp)(begin, lower, (std::max)(lower, upper));
    return {from, (std::clamp)(end, from, (std::max)(from, upper))};
  }
  friend constexpr bool operator==(Interval, Interval) = default;
};

/// How much of a tile, rows x keys, a mask lets through.
enum class Coverage { none, partial, all };

struct Mask {
  Index left = unbounded;  ///< keys seen before the row's own position
  Index right = 0;         ///< keys seen after it

  constexpr bool sees_ahead() const { return right > 0; }

  /// The keys of [0, keys) that the row at `position` sees.
  constexpr Interval visible(Index position, Index keys) const {
    return Interval{position - left, position + right + 1}.cut(0, keys);
  }

  /// The positions of [first, last] that see `key`.
  constexpr Interval seen_by(Index key, Index first, Index last) const {
    return Interval{key - right, key + left + 1}.cut(first, last + 1);
  }

  /// Of the tile of positions [first_position, last_position] and keys [first_key, last_key].
  constexpr Coverage coverage(Index first_position, Index last_position, Index first_key, Index last_key) const {
    if (last_position < first_position || last_key < first_key) return Coverage::none;
    if (last_key < first_position - left || first_key > last_position + right) return Coverage::none;
    if (first_key >= last_position - left && last_key <= first_position + right) return Coverage::all;
    return Coverage::partial;
  }

  friend constexpr bool operator==(const Mask&, const Mask&) = default;
};

/// Every key up to the row's own position.
constexpr Mask causal() {
  return {unbounded, 0};
}

/// The last w keys, the row's own among them. ConfigError unless w >= 1.
constexpr Mask window(Index w) {
  HEED_EXPECTS(ConfigError, w >= 1, "window: expected 1 visible key or more (the row itself), found ", w);
  return {(std::min)(w - 1, unbounded), 0};
}

/// Every key.
constexpr Mask bidirectional() {
  return {unbounded, unbounded};
}

}  // namespace heed::inline HEED_ABI
