// Attention of few query rows over many keys: decoding.
//
//   S [rows x keys] = Q K^T          of a stretch of keys, in a buffer that stays in the first cache
//   m, l [rows]                      running maximum and sum
//   O [rows x E_v] = f O + P V       f = e^(m before - m)
//
// In tiles whose lanes are query rows most lanes would idle here. So the lanes go along the head: K and V are read once,
// row after row, for all query rows that share them, which is all that decoding costs. Memory comes fastest in long runs: a
// stretch of many tiles is scored, then its values are added up, and what lies next is asked for a tile ahead. Source: Dao
// 2023 (arXiv 2307.08691), algorithm 1, with all query rows in one block.
#pragma once

#include "attend_tiles.hpp"
#include "few_products.hpp"

namespace heed::inline HEED_ABI::detail {

/// f(rows): rows [keys] of x as they are stored, or, where lanes cannot widen, widened into buffer [keys x width].
template <class Scalar, class F>
void with_stored(const HeadRows<Scalar>& x, Interval keys, [[maybe_unused]] Scalar* buffer, F&& f) {
  if (x.storage == Storage::arithmetic) return f(PlainRows<Scalar>{x.data + keys.begin * x.stride, x.stride});
  if constexpr (widens_in_lanes<Scalar>) {
    if (x.storage == Storage::bfloat16) return f(BfloatRows<Scalar>{x.narrow + keys.begin * x.stride, x.stride});
    f(HalfRows<Scalar>{x.narrow + keys.begin * x.stride, x.stride});
  } else {
    const Strided<Scalar> rows = rows_in(x, keys, buffer);
    f(PlainRows<Scalar>{rows.data, rows.row});
  }
}

/// No more than the lanes of a packet.
template <class Scalar>
constexpr bool are_few(Index stacked_rows) {
  return stacked_rows <= Index(full_width<Scalar>);
}

/// Rows go over K and V in blocks of four, two and one: so many of them need no more than one pass.
constexpr bool are_one_pass(Index rows) {
  return rows == 1 || rows == 2 || rows == 4;
}

/// Keys of a tile, at most.
inline constexpr Index few_tile_most = 1024;

/// Keys of a tile. Where several passes go over it: 16 KiB of K and of V, half of the first cache each. Else the tile is
/// how far ahead memory is asked for, and what goes unasked for may be long.
template <class Scalar>
Index few_tile_keys(Index rows, Index width) {
  constexpr Index lanes = whole_lanes<Scalar>(16);
  const Index bytes = !are_one_pass(rows) ? 16384 : width > columns_at_once<Scalar> ? 65536 : 262144;
  const Index keys = bytes / Index(sizeof(Scalar)) / (std::max)(width, Index(1)) / lanes * lanes;
  return (std::clamp)(keys, lanes, few_tile_most);
}

/// Scores of a stretch: 16 KiB of them, but whole tiles.
template <class Scalar>
inline constexpr Index few_scores = 16384 / Index(sizeof(Scalar));

/// Keys of a stretch.
template <class Scalar>
Index few_stretch_keys(Index rows, Index tile_keys) {
  return (std::max)(few_scores<Scalar> / (std::max)(rows, Index(1)) / tile_keys, Index(1)) * tile_keys;
}

/// m takes in the maximum of s [n]; what was summed is brought to the new m by the factor that is returned: l [lanes] here.
/// n is a multiple of full lanes. As in softmax_tile, m starts at the lowest finite number, and NaN is passed over by the
/// maximum.
template <class Scalar>
Scalar raise_maximum(const Scalar* s, Index n, Scalar& m, Scalar* l) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>;
  Packet highest = Packet::all(m), also = highest;  // two, so that they need not wait for each other
  Index j = 0;
  for (; j + width < n; j += 2 * width) {
    highest = maximum(highest, Packet::load(s + j));
    also = maximum(also, Packet::load(s + j + width));
  }
  if (j < n) highest = maximum(highest, Packet::load(s + j));
  const Scalar before = m;
  m = maximum(highest, also).highest();
  const Scalar factor = m == before ? Scalar(1) : falling_exponential(Packet::all(before - m)).first();
  (Packet::all(factor) * Packet::load(l)).store(l);
  return factor;
}

/// No NaN and no infinity among the rows.
template <class Rows>
bool are_finite(Rows x, Index keys, Index width) {
  using Scalar = typename Rows::Scalar;
  Lanes<Scalar> zero = Lanes<Scalar>::all(Scalar(0));
  const auto add = [&](const auto& loaded) {
    for (const Lanes<Scalar>& packet : loaded) zero = zero + Scalar(0) * packet;
  };
  for (Index j = 0; j < keys; ++j) {
    const auto* row = x.data + j * x.stride;
    Index e = 0;
    for (; e + load_width<Rows> <= width; e += load_width<Rows>) add(Rows::load(row + e));
    if (e < width) add(load_last<Rows>(row + e, width - e));
  }
  return zero.sum() == Scalar(0);
}

/// All rows of a group, row i of head h at h T + i, while they go from tile to tile.
template <class Scalar>
struct FewRows {
  const QueryGroup<Scalar>& group;
  Index count;       // heads*T
  Index tile_keys;   // at most
  Index stretch;     // keys, at most
  Index q_stride;    // whole loads
  Index o_stride;    // whole loads
  Scalar* q;         // [heads*T x E], scaled, arranged as the lanes of K
  Scalar* scores;    // [heads*T x stretch], then the weights
  Scalar* o;         // [heads*T x E_v], arranged as the lanes of V
  Scalar* m;         // [heads*T]
  Scalar* l;         // [heads*T x lanes], to be summed
  Scalar* factor;    // [heads*T]
  Scalar* distance;  // [tile_keys] |p - j|, where there are slopes
  Scalar* k_buffer;  // see with_stored
  Scalar* v_buffer;

  static FewRows make(const QueryGroup<Scalar>& group, Arena& scratch) {
    const Index count = group.heads * group.rows,
                tile_keys = few_tile_keys<Scalar>(count, (std::max)(group.k.width, group.v.width));
    const Index stretch = few_stretch_keys<Scalar>(count, tile_keys);
    const Index q_stride = whole_loads<Scalar>(group.k.width), o_stride = whole_loads<Scalar>(group.v.width);
    const auto buffer = [&](const HeadRows<Scalar>& x) {
      const bool needed = x.storage != Storage::arithmetic && !widens_in_lanes<Scalar>;
      return needed ? scratch.take<Scalar>(tile_keys * x.width) : nullptr;
    };
    FewRows rows{group,
                 count,
                 tile_keys,
                 stretch,
                 q_stride,
                 o_stride,
                 scratch.take_zeroed<Scalar>(count * q_stride),
                 scratch.take<Scalar>(count * stretch),
                 scratch.take_zeroed<Scalar>(count * o_stride),
                 scratch.take<Scalar>(count),
                 scratch.take_zeroed<Scalar>(count * full_width<Scalar>),
                 scratch.take<Scalar>(count),
                 group.slopes == nullptr ? nullptr : scratch.take<Scalar>(tile_keys),
                 buffer(group.k),
                 buffer(group.v)};
    std::fill_n(rows.m, count, std::numeric_limits<Scalar>::lowest());
    with_stored(group.k, {0, 0}, rows.k_buffer, [&]<class Rows>(Rows) {
      for (Index h = 0; h < group.heads; ++h)
        for (Index i = 0; i < group.rows; ++i)
          for (Index e = 0; e < group.k.width; ++e)
            rows.q[(h * group.rows + i) * q_stride + place_of<Rows>(e)] =
                group.scale * group.q[i * group.q_stride + h * group.k.width + e];
    });
    return rows;
  }
  /// What a job of up to so many rows takes from the arena, at most. Of those with long tiles four take most.
  static std::size_t bytes(Index count, Index width, Index value_width) {
    return (std::max)(bytes_with(count, width, value_width), bytes_with(4, width, value_width));
  }
  static std::size_t bytes_with(Index count, Index width, Index value_width) {
    const auto of = [](Index n) { return Arena::bytes_of<Scalar>(n); };
    const Index tile_keys = few_tile_keys<Scalar>(count, (std::max)(width, value_width));
    return of(count * whole_loads<Scalar>(width)) + of((std::max)(few_scores<Scalar>, count * tile_keys)) +
           2 * of(count * whole_loads<Scalar>(value_width)) + 2 * of(count) + of(count * full_width<Scalar>) +
           of(tile_keys) + of(tile_keys * width) + 2 * of(tile_keys * value_width);
  }

  /// Row `row` from key `at` of the stretch on.
  Scalar* scores_of(Index row, Index at) const { return scores + row * stretch + at; }

  /// The logits of the tile, altered, -inf where they are hidden and behind the tile's end. `at`: where in the stretch.
  void score(Interval tile, Index at, Coverage coverage, Soon soon) const {
    const Index padded = whole_lanes<Scalar>(tile.size());
    const auto fill = [&](Index row, Index from) {
      std::fill(scores_of(row, at + from), scores_of(row, at + padded), -std::numeric_limits<Scalar>::infinity());
    };
    for (Index row = 0; row < count; ++row) fill(row, coverage == Coverage::none ? 0 : tile.size());
    if (coverage == Coverage::none) return;
    with_stored(group.k, tile, k_buffer, [&](auto k) {
      score_few(scores_of(0, at), stretch, q, q_stride, count, k, tile.size(), group.k.width, soon);
    });
    if (group.alters_logits()) alter(tile, at);
    if (coverage == Coverage::partial)
      for (Index row = 0; row < count; ++row) hide(scores_of(row, at), row % group.rows, tile);
    for (Index h = 0; h < group.heads; ++h)
      if (group.keeps(h))
        keep_logits(group, h, Index(0), group.rows, tile, scores_of(h * group.rows, at), Index(1), stretch);
  }

  void alter(Interval tile, Index at) const {
    for (Index i = 0; i < group.rows; ++i) {
      for (Index j = 0; distance != nullptr && j < tile.size(); ++j) {
        const Index ahead = tile.begin + j - (group.past + i);
        distance[j] = static_cast<Scalar>(ahead < 0 ? -ahead : ahead);
      }
      for (Index h = 0; h < group.heads; ++h) alter_row(scores_of(h * group.rows + i, at), group, h, i, tile, distance);
    }
  }

  /// Writes -inf where row i does not see the keys; z are the row's logits of the tile.
  void hide(Scalar* z, Index i, Interval tile) const {
    Index hidden = tile.begin;  // from here to the next key that is seen
    const auto hide_until = [&](Index key) {
      if (hidden < key) std::fill(z + hidden - tile.begin, z + key - tile.begin, -std::numeric_limits<Scalar>::infinity());
    };
    for (const Interval seen : group.mask.visible(group.past + i, group.k.rows).cut(tile.begin, tile.end)) {
      if (seen.empty()) continue;
      hide_until(seen.begin);
      hidden = seen.end;
    }
    hide_until(tile.end);
  }

  /// P = e^(S - m), l += P, O = f O + P V over the tile. A hidden pair has P = 0, but 0 NaN = NaN: if V is not finite where
  /// a pair may be hidden, zeros stand for what a row does not see, which gives it the bits that any other finite values
  /// would.
  void add_values(Interval tile, Index at, Coverage coverage, Soon soon, Arena& scratch) const {
    with_stored(group.v, tile, v_buffer, [&]<class Rows>(Rows v) {
      const Index width = group.v.width;
      const Exponentials<Scalar> weights{scores_of(0, at), stretch, m, l};
      const auto add = [&](Scalar* to, auto from, Rows values) {
        add_few(to, o_stride, factor, from, count, values, tile.size(), width, soon);
      };
      if ((coverage == Coverage::all && group.bias == nullptr) || are_finite(v, tile.size(), width))
        return add(o, weights, v);
      for (Index row = 0; row < count; ++row)
        for (Index key = 0; key < tile.size(); key += full_width<Scalar>) weights.from_row(row).template make<1>(key);
      const Arena::Scope scope(scratch);
      auto* seen = scratch.take<typename Rows::Element>(tile.size() * width);
      Scalar* sum = scratch.take<Scalar>(count * o_stride);
      for (Index row = 0; row < count; ++row) {
        const Index h = row / group.rows, i = row % group.rows;
        const Intervals visible = group.mask.visible(group.past + i, group.k.rows);
        for (Index key = tile.begin; key < tile.end; ++key) {
          auto* to = seen + (key - tile.begin) * width;
          if (visible.contains(key) && !group.hides(h, i, key))
            std::copy_n(v.data + (key - tile.begin) * v.stride, width, to);
          else
            std::fill_n(to, width, typename Rows::Element(0));
        }
        std::copy_n(o, count * o_stride, sum);
        add(sum, Weights<Scalar>{weights.data, stretch}, Rows{seen, width});
        std::copy_n(sum + row * o_stride, o_stride, o + row * o_stride);
      }
    });
  }

  void write(Partial<Scalar> out) const {
    std::copy_n(m, count, out.maximum);
    for (Index row = 0; row < count; ++row) out.sum[row] = Lanes<Scalar>::load(l + row * full_width<Scalar>).sum();
    with_stored(group.v, {0, 0}, v_buffer, [&]<class Rows>(Rows) {
      for (Index row = 0; row < count; ++row)
        for (Index e = 0; e < group.v.width; ++e) out.o[row * group.v.width + e] = o[row * o_stride + place_of<Rows>(e)];
    });
  }

  /// Rows of x from `key` on, if they touch and are there. Short ones that one row reads come in order well enough.
  Soon soon(const HeadRows<Scalar>& x, Index key) const {
    const bool in_order = count == 1 && x.width * bytes_of<Scalar>(x.storage) <= 256;
    if (in_order || x.stride != x.width || key >= x.rows) return {};
    if (x.storage != Storage::arithmetic) return {reinterpret_cast<const char*>(x.narrow + key * x.stride), true};
    return {reinterpret_cast<const char*>(x.data + key * x.stride), true};
  }
};

/// All rows of every head of the group over `keys`, which hold every key of theirs that some row sees. The logits of kept
/// heads are left in their storage.
template <class Scalar>
void attend_few(const QueryGroup<Scalar>& group, const Intervals& keys, Partial<Scalar> out, Arena& scratch) {
  const auto rows = FewRows<Scalar>::make(group, scratch);
  const Stacked s = stacked<Scalar>(group.heads, group.rows, group.past, group.mask);
  for (const Interval part : keys)
    for (Index begin = part.begin; begin < part.end; begin += rows.stretch) {
      const Index end = (std::min)(begin + rows.stretch, part.end);
      // f(tile, where in the stretch, coverage, what to ask for): of x, and at the end what `then` says
      const auto each_tile = [&](const HeadRows<Scalar>& x, Soon then, auto&& f) {
        for (Index at = begin; at < end; at += rows.tile_keys) {
          const Interval tile{at, (std::min)(at + rows.tile_keys, end)};
          f(tile, at - begin, s.coverage(tile), tile.end < end ? rows.soon(x, tile.end) : then);
        }
      };
      each_tile(group.k, rows.soon(group.v, begin),
                [&](Interval tile, Index at, Coverage coverage, Soon soon) { rows.score(tile, at, coverage, soon); });
      for (Index row = 0; row < rows.count; ++row)
        rows.factor[row] = raise_maximum(rows.scores_of(row, 0), whole_lanes<Scalar>(end - begin), rows.m[row],
                                         rows.l + row * full_width<Scalar>);
      each_tile(group.v, rows.soon(group.k, end), [&](Interval tile, Index at, Coverage coverage, Soon soon) {
        if (coverage == Coverage::none) return;
        rows.add_values(tile, at, coverage, soon, scratch);
        std::fill_n(rows.factor, rows.count, Scalar(1));
      });
    }
  rows.write(out);
}

}  // namespace heed::inline HEED_ABI::detail
