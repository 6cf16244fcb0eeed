// Which keys a query row sees, by its position p:
//
//   begin(p) <= j < end(p)   and   (j >= p - left   or   j < sinks)
//
//   begin(p) = max(0, chunk floor(p / chunk), where p's document begins)
//   end(p)   = min(max(p + right + 1, prefix), length, where p's document ends)
//
// That is at most two intervals: the sinks, and the band around p. The position of new row i is i + past with past = S - T
// (bottom-right), so a position may be negative: that row sees nothing under a causal mask.
//
// Every edge grows with p. So the rows that see one key are one interval, and whether a tile is hidden, seen or cut through
// is known from its corners. Whoever needs a mask's shape asks `visible`, `seen_by` and `coverage`, each O(1), and nothing
// else.
#pragma once

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

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
  constexpr bool contains(Index i) const { return begin <= i && i < end; }
  /// Cut to [lower, upper); an empty interval comes back empty and inside.
  constexpr Interval cut(Index lower, Index upper) const {
    const Index from = (std::clamp)(begin, lower, (std::max)(lower, upper));
    return {from, (std::clamp)(end, from, (std::max)(from, upper))};
  }
  friend constexpr bool operator==(Interval, Interval) = default;
};

/// Two intervals, ascending and disjoint. The first is empty unless there are two.
struct Intervals {
  std::array<Interval, 2> parts = {};

  constexpr const Interval* begin() const { return parts.data(); }
  constexpr const Interval* end() const { return parts.data() + parts.size(); }
  constexpr Index size() const { return parts[0].size() + parts[1].size(); }
  constexpr bool empty() const { return size() == 0; }
  constexpr bool contains(Index i) const { return parts[0].contains(i) || parts[1].contains(i); }
  constexpr Intervals cut(Index lower, Index upper) const {
    return {{parts[0].cut(lower, upper), parts[1].cut(lower, upper)}};
  }
  /// Elements [from, to), counted through both.
  constexpr Intervals slice(Index from, Index to) const {
    const auto of = [&](Interval part, Index before) {
      return Interval{part.begin + from - before, part.begin + to - before}.cut(part.begin, part.end);
    };
    return {{of(parts[0], 0), of(parts[1], parts[0].size())}};
  }
  friend constexpr bool operator==(const Intervals&, const Intervals&) = default;
};

/// How much of a tile, rows x keys, a mask lets through.
enum class Coverage { none, partial, all };

struct Mask {
  Index left = unbounded;               ///< keys seen before the row's own position
  Index right = 0;                      ///< keys seen after it
  Index sinks = 0;                      ///< keys [0, sinks) are seen from any distance
  Index prefix = 0;                     ///< keys [0, prefix) are seen by the rows before them too
  Index chunk = 0;                      ///< > 0: nothing before the row's own chunk of so many positions is seen
  Index length = unbounded;             ///< keys from here on are hidden
  const Interval* documents = nullptr;  ///< [documented] each position's document; see ops/documents.hpp
  Index documented = 0;                 ///< positions beyond are in no document, and see nothing

  /// Whether a row may see a key behind it.
  constexpr bool sees_ahead() const { return right > 0 || prefix > 1; }
  /// How many of a sequence's first rows have to come in one call, because they may see one another: all, where a row sees
  /// to its right; a prefix; or none in particular.
  constexpr Index whole_rows() const { return right > 0 ? unbounded : prefix > 1 ? (std::min)(prefix, unbounded) : 0; }

  /// Raises Error unless counts are 0 or more, at most `unbounded`, and the window holds a key: right may be below 0 where
  /// left reaches farther. With right = -1 a row does not see itself.
  template <class Error>
  constexpr void check(std::string_view where) const {
    const auto expects_count = [&](std::string_view member, Index count) {
      HEED_EXPECTS(Error, count >= 0 && count <= unbounded, where, ": mask: ", member,
                   ": expected 0 or more, up to unbounded, found ", count);
    };
    expects_count("sinks", sinks);
    expects_count("prefix", prefix);
    expects_count("chunk", chunk);
    expects_count("length", length);
    const bool bounded = -unbounded <= left && left <= unbounded && -unbounded <= right && right <= unbounded;
    HEED_EXPECTS(Error, bounded && left + right >= 0, where,
                 ": mask: left, right: expected a window of one key or more, found ", left, " keys before the row and ",
                 right, " after it");
  }

  /// The keys of [0, keys) that the row at `position` sees.
  constexpr Intervals visible(Index position, Index keys) const { return visible(position, position, keys); }

  /// Holds every key of [0, keys) that a row at one of the positions [first, last] sees.
  constexpr Intervals visible(Index first, Index last, Index keys) const {
    const Interval all = Interval{begin(first), end(last)}.cut(0, keys);
    const Index near = first - left;
    if (near <= (std::max)(all.begin, sinks)) return {{Interval{all.begin, all.begin}, all}};
    const Index edge = (std::min)(near, all.end);
    return {{all.cut(0, (std::min)(sinks, edge)), Interval{edge, all.end}}};
  }

  /// The positions of [first, last] that see `key`.
  constexpr Interval seen_by(Index key, Index first, Index last) const {
    Interval positions{key < prefix ? first : key - right, key < sinks ? last + 1 : key + left + 1};
    if (chunk > 0) positions.end = (std::min)(positions.end, chunk_begin(key) + chunk);
    if (documents != nullptr) positions = positions.cut(document(key).begin, document(key).end);
    if (key >= length) positions.end = positions.begin;
    return positions.cut(first, last + 1);
  }

  /// Of the tile of positions [first_position, last_position] and keys [first_key, last_key]. A tile without a visible pair
  /// may count as partial if left or right is negative.
  constexpr Coverage coverage(Index first_position, Index last_position, Index first_key, Index last_key) const {
    if (last_position < first_position || last_key < first_key) return Coverage::none;
    const Index lowest = begin(first_position), stop = (std::min)(end(last_position), last_key + 1);
    const bool no_band = (std::max)(lowest, first_position - left) >= stop;
    const bool no_sink = (std::max)(lowest, first_key) >= (std::min)(sinks, stop);
    if (first_key >= stop || (no_band && no_sink)) return Coverage::none;
    const bool between = begin(last_position) <= first_key && last_key < end(first_position);
    if (between && (last_key < sinks || last_position - left <= (std::max)(first_key, sinks))) return Coverage::all;
    return Coverage::partial;
  }

  friend constexpr bool operator==(const Mask&, const Mask&) = default;

  // Documents are a table of the caller's, and no member.
  template <class F, class C>
  static void fields(F&& f, C& mask) {
    f("left", mask.left);
    f("right", mask.right);
    f("sinks", mask.sinks);
    f("prefix", mask.prefix);
    f("chunk", mask.chunk);
    f("length", mask.length);
  }
  template <class Place>
  static void check_described(const Mask& mask, const Place& place) {
    if (mask.documents != nullptr)
      place.member("documents").refuse("expected none, as their table cannot be described, found one of ", mask.documented);
  }

 private:
  constexpr Index chunk_begin(Index i) const { return (i >= 0 ? i / chunk : -((chunk - 1 - i) / chunk)) * chunk; }
  constexpr Interval document(Index position) const {
    if (position < 0) return {0, 0};
    return position < documented ? documents[position] : Interval{documented, documented};
  }
  constexpr Index begin(Index position) const {
    Index begin = 0;
    if (chunk > 0) begin = (std::max)(begin, chunk_begin(position));
    return documents == nullptr ? begin : (std::max)(begin, document(position).begin);
  }
  constexpr Index end(Index position) const {
    const Index end = (std::min)((std::max)(position + right + 1, prefix), length);
    return documents == nullptr ? end : (std::min)(end, document(position).end);
  }
};

/// Every key up to the row's own position: j <= p.
constexpr Mask causal() {
  return {};
}

/// Every key.
constexpr Mask bidirectional() {
  return {.right = unbounded};
}

/// The last w keys, the row's own among them: p - w < j <= p. ConfigError unless w >= 1.
constexpr Mask window(Index w) {
  HEED_EXPECTS(ConfigError, w >= 1, "window: expected 1 visible key or more (the row itself), found ", w);
  return {.left = (std::min)(w - 1, unbounded)};
}

/// p - left <= j <= p + right. ConfigError unless both are 0 or more; `unbounded` is.
///   source  Beltagy et al. 2020 (arXiv 2004.05150), section 3.1
constexpr Mask window(Index left, Index right) {
  HEED_EXPECTS(ConfigError, left >= 0 && right >= 0, "window: expected 0 keys or more on both sides, found ", left, " and ",
               right);
  return {.left = (std::min)(left, unbounded), .right = (std::min)(right, unbounded)};
}

/// The last w keys and the first `sinks` ones: j <= p and (j > p - w or j < sinks). ConfigError unless w >= 1, sinks >= 0.
///   source  Xiao et al. 2023 (arXiv 2309.17453), section 3.2
constexpr Mask streaming(Index sinks, Index w) {
  HEED_EXPECTS(ConfigError, sinks >= 0, "streaming: expected 0 sinks or more, found ", sinks);
  Mask mask = window(w);
  if (mask.left < unbounded) mask.sinks = sinks;
  return mask;
}

/// A prefix whose rows see one another, and causal rows behind it: j <= p or j < m. ConfigError unless m >= 0.
///   source  Raffel et al. 2019 (arXiv 1910.10683), section 3.2.1
constexpr Mask prefix_lm(Index m) {
  HEED_EXPECTS(ConfigError, m >= 0, "prefix_lm: expected a prefix of 0 keys or more, found ", m);
  return {.prefix = m};
}

/// The keys of the row's own chunk up to itself: size floor(p / size) <= j <= p. ConfigError unless size >= 1.
constexpr Mask chunked(Index size) {
  HEED_EXPECTS(ConfigError, size >= 1, "chunked: expected chunks of 1 position or more, found ", size);
  return {.chunk = size};
}

/// The first n keys: j < n. For keys that are padded, or not there yet. ConfigError unless n >= 0.
constexpr Mask key_length(Index n) {
  HEED_EXPECTS(ConfigError, n >= 0, "key_length: expected 0 keys or more, found ", n);
  return {.right = unbounded, .length = n};
}

/// What both let through. ConfigError if that is not a mask of this kind: of two windows one has to be inside the other
/// with its sinks, and inside the other with its prefix, of two chunks one has to divide the other, and documents are the
/// same.
constexpr Mask operator&(const Mask& a, const Mask& b) {
  // A side without an edge lets everything through, as if all keys were sinks, or prefix.
  const auto sinks = [](const Mask& mask) { return mask.left < unbounded ? mask.sinks : unbounded; };
  const auto prefix = [](const Mask& mask) { return mask.right < unbounded ? mask.prefix : unbounded; };
  const bool a_left = a.left <= b.left && sinks(a) <= sinks(b), b_left = b.left <= a.left && sinks(b) <= sinks(a);
  HEED_EXPECTS(ConfigError, a_left || b_left, "masks: expected of two windows with sinks one inside the other, found ",
               a.left, " keys to the left with ", a.sinks, " sinks, and ", b.left, " with ", b.sinks);
  const bool a_right = a.right <= b.right && prefix(a) <= prefix(b), b_right = b.right <= a.right && prefix(b) <= prefix(a);
  HEED_EXPECTS(ConfigError, a_right || b_right, "masks: expected of two windows with a prefix one inside the other, found ",
               a.right, " keys to the right with a prefix of ", a.prefix, ", and ", b.right, " with ", b.prefix);
  const Index small = (std::min)(a.chunk, b.chunk), large = (std::max)(a.chunk, b.chunk);
  HEED_EXPECTS(ConfigError, small == 0 || large % small == 0,
               "masks: expected of two chunks one to divide the other, found ", small, " and ", large);
  HEED_EXPECTS(
      ConfigError,
      a.documents == nullptr || b.documents == nullptr || (a.documents == b.documents && a.documented == b.documented),
      "masks: expected the same documents in both, found two tables");
  const Mask& left = a_left ? a : b;
  const Mask& right = a_right ? a : b;
  const Mask& documents = a.documents != nullptr ? a : b;
  return {left.left,
          right.right,
          left.sinks,
          right.prefix,
          small > 0 ? small : large,
          (std::min)(a.length, b.length),
          documents.documents,
          documents.documented};
}

}  // namespace heed::inline HEED_ABI
