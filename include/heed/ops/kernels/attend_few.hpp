// Attention of few query rows over many keys: decoding.
//
//   S [rows x keys] = Q K^T       dot products along E
//   O [rows x E_v] += P V         along E_v
//
// In tiles, whose lanes are query rows, most lanes would idle here. So the lanes go along the head: K and V are read once,
// row after row, for all query rows that share them, which is all that decoding costs.
#pragma once

#include "attend_tiles.hpp"

namespace heed::inline HEED_ABI::detail {

/// At least half of a packet's lanes would idle.
template <class Scalar>
constexpr bool are_few(Index stacked_rows) {
  return 2 * stacked_rows <= Index(full_width<Scalar>);
}

/// The largest of x and `least`; NaN is passed over.
template <class Scalar>
Scalar highest(const Scalar* x, Index n, Scalar least) {
  constexpr Index width = full_width<Scalar>;
  Lanes<Scalar> m = Lanes<Scalar>::all(least);
  Index i = 0;
  for (; i + width <= n; i += width) m = maximum(m, Lanes<Scalar>::load(x + i));
  Scalar lanes[static_cast<std::size_t>(full_width<Scalar>)];
  m.store(lanes);
  for (Scalar lane : lanes) least = (std::max)(least, lane);
  for (; i < n; ++i) least = (std::max)(least, x[i]);
  return least;
}

// `packets` packets of columns. One row of output is one chain of multiply-adds, whose latency would be all one sees: four
// keys run side by side, and are added up last.
template <int packets, class Scalar>
void add_weighted_columns(Scalar* o, const Scalar* weights, const Scalar* v, Index stride, Index keys) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>;
  constexpr std::size_t n = std::size_t(packets);
  Packet sum[4][n];
  for (std::size_t p = 0; p < n; ++p) {
    sum[0][p] = Packet::load(o + Index(p) * width);
    for (std::size_t phase = 1; phase < 4; ++phase) sum[phase][p] = Packet::all(Scalar(0));
  }
  const auto add = [&](std::size_t phase, Index key) {
    const Packet weight = Packet::all(weights[key]);
    for (std::size_t p = 0; p < n; ++p)
      sum[phase][p] = multiply_add(weight, Packet::load(v + key * stride + Index(p) * width), sum[phase][p]);
  };
  Index key = 0;
  for (; key + 4 <= keys; key += 4) add(0, key), add(1, key + 1), add(2, key + 2), add(3, key + 3);
  for (; key < keys; ++key) add(0, key);
  for (std::size_t p = 0; p < n; ++p) ((sum[0][p] + sum[1][p]) + (sum[2][p] + sum[3][p])).store(o + Index(p) * width);
}

/// o [width] += weights [keys] v [keys x width], for one row
template <class Scalar>
void add_weighted_rows(Scalar* o, const Scalar* weights, const Scalar* v, Index stride, Index width, Index keys) {
  constexpr Index packet = full_width<Scalar>;
  Index e = 0;
  for (; e + 4 * packet <= width; e += 4 * packet) add_weighted_columns<4>(o + e, weights, v + e, stride, keys);
  for (; e + packet <= width; e += packet) add_weighted_columns<1>(o + e, weights, v + e, stride, keys);
  if (e < width) accumulate(o + e, width, Strided<Scalar>{weights, 0, 1}, v + e, stride, 1, width - e, keys);
}

/// The part of a group's scores and values that belongs to one interval of keys: their columns lie from `column` on.
struct FewColumns {
  Interval keys;
  Index column;
};

/// S[:, columns] = Q K^T, altered. q is [heads*T x E], scaled; scores are [heads*T x n]. Tile by tile, so that all rows
/// find a tile's keys where the first has brought them.
template <class Scalar>
void score_few(Scalar* scores, Index n, const QueryGroup<Scalar>& group, const FewColumns& part, const Scalar* q,
               Arena& scratch) {
  const Arena::Scope scope(scratch);
  const HeadRows<Scalar>& k = group.k;
  const Index rows = group.heads * group.rows;
  Scalar* buffer = take_buffer(k, scratch);
  for (Index key = part.keys.begin; key < part.keys.end; key += attend_tile_keys) {
    const Interval tile{key, (std::min)(key + attend_tile_keys, part.keys.end)};
    const Strided<Scalar> of_tile = rows_in(k, tile, buffer);
    accumulate_dots(scores + part.column + key - part.keys.begin, n, q, k.width, of_tile.data, of_tile.row, rows,
                    tile.size(), k.width);
  }
  if (!group.alters_logits()) return;
  Scalar* distance = group.slopes == nullptr ? nullptr : scratch.take<Scalar>(part.keys.size());
  for (Index i = 0; i < group.rows; ++i) {
    for (Index j = 0; distance != nullptr && j < part.keys.size(); ++j) {
      const Index ahead = part.keys.begin + j - (group.past + i);
      distance[j] = static_cast<Scalar>(ahead < 0 ? -ahead : ahead);
    }
    for (Index h = 0; h < group.heads; ++h)
      alter_row(scores + (h * group.rows + i) * n + part.column, group, h, i, part.keys, distance);
  }
}

/// Writes -inf where row i does not see the keys; z are the row's scores of the part.
template <class Scalar>
void hide_few(Scalar* z, const QueryGroup<Scalar>& group, Index i, Interval keys) {
  Index hidden = keys.begin;  // from here to the next key that is seen
  const auto hide_until = [&](Index key) {
    if (hidden < key) std::fill(z + hidden - keys.begin, z + key - keys.begin, -std::numeric_limits<Scalar>::infinity());
  };
  for (const Interval seen : group.mask.visible(group.past + i, group.k.rows).cut(keys.begin, keys.end)) {
    if (seen.empty()) continue;
    hide_until(seen.begin);
    hidden = seen.end;
  }
  hide_until(keys.end);
}

/// O [heads*T x E_v] += P[:, columns] V. Each row takes exactly the values it sees: those that all see together, the rest
/// by itself.
template <class Scalar>
void add_few_values(Scalar* o, const Scalar* p, Index n, const QueryGroup<Scalar>& group, const FewColumns& part,
                    Arena& scratch) {
  const Arena::Scope scope(scratch);
  const HeadRows<Scalar>& v = group.v;
  const Index rows = group.heads * group.rows, fours = rows / 4 * 4;
  Scalar* buffer = take_buffer(v, scratch);
  const auto seen_by = [&](Index i) { return group.mask.visible(group.past + i, group.k.rows); };
  Interval common = part.keys;  // seen by every row
  for (Index i = 0; i < group.rows; ++i) common = common.cut(seen_by(i).parts[1].begin, seen_by(i).parts[1].end);

  for (Index begin = part.keys.begin; begin < part.keys.end; begin += attend_tile_keys) {
    const Interval tile{begin, (std::min)(begin + attend_tile_keys, part.keys.end)};
    const Strided<Scalar> values = rows_in(v, tile, buffer);
    const auto value_of = [&](Index key) { return values.data + (key - tile.begin) * values.row; };
    const auto weight_of = [&](Index row, Index key) { return p + row * n + part.column + (key - part.keys.begin); };
    const auto add_to_row = [&](Index row, Interval keys) {
      if (!keys.empty())
        add_weighted_rows(o + row * v.width, weight_of(row, keys.begin), value_of(keys.begin), values.row, v.width,
                          keys.size());
    };
    if (group.bias != nullptr && !is_finite(values.data, values.row, v.width, Interval{0, tile.size()})) {
      for (Index row = 0; row < rows; ++row)
        for (const Interval seen : seen_by(row % group.rows).cut(tile.begin, tile.end))
          for (Index key = seen.begin; key < seen.end; ++key)
            if (!group.hides(row / group.rows, row % group.rows, key)) add_to_row(row, Interval{key, key + 1});
      continue;
    }
    const Interval together = common.cut(tile.begin, tile.end);
    if (!together.empty()) {
      accumulate(o, v.width, Strided<Scalar>{weight_of(0, together.begin), n, 1}, value_of(together.begin), values.row,
                 fours, v.width, together.size());
      for (Index row = fours; row < rows; ++row) add_to_row(row, together);
    }
    if (together == tile) continue;
    for (Index row = 0; row < rows; ++row)
      for (const Interval seen : seen_by(row % group.rows).cut(tile.begin, tile.end)) {
        if (common.empty()) {
          add_to_row(row, seen);
          continue;
        }
        add_to_row(row, Interval{seen.begin, (std::min)(seen.end, common.begin)});
        add_to_row(row, Interval{(std::max)(seen.begin, common.end), seen.end});
      }
  }
}

/// All rows of every head of the group over `keys`, which hold every key of theirs that some row sees. The logits of kept
/// heads are left in their storage.
template <class Scalar>
void attend_few(const QueryGroup<Scalar>& group, const Intervals& keys, Partial<Scalar> out, Arena& scratch) {
  const Index n = keys.size(), rows = group.heads * group.rows, width = group.k.width;
  const FewColumns parts[] = {{keys.parts[0], 0}, {keys.parts[1], keys.parts[0].size()}};
  Scalar* q = scratch.take<Scalar>(rows * width);          // [heads*T x E], scaled
  Scalar* scores = scratch.take_zeroed<Scalar>(rows * n);  // [heads*T x n]
  for (Index h = 0; h < group.heads; ++h)
    for (Index i = 0; i < group.rows; ++i)
      transform(
          width, q + (h * group.rows + i) * width, [&](auto x) { return group.scale * x; },
          group.q + i * group.q_stride + h * width);
  for (const FewColumns& part : parts) score_few(scores, n, group, part, q, scratch);

  for (Index h = 0; h < group.heads; ++h)
    for (Index i = 0; i < group.rows; ++i) {
      const Index row = h * group.rows + i;
      Scalar* s = scores + row * n;
      for (const FewColumns& part : parts) {
        hide_few(s + part.column, group, i, part.keys);
        if (group.keeps(h))
          for (Index j = 0; j < part.keys.size(); ++j)
            group.kept[h].by_key()[(part.keys.begin + j) * group.rows + i] = s[part.column + j];
      }
      const Scalar m = highest(s, n, std::numeric_limits<Scalar>::lowest());
      transform(
          n, s, [&](auto x) { return exponential(x - Lanes<Scalar>::all(m)); }, s);
      out.maximum[row] = m;
      out.sum[row] = sum_over(
          n, [](auto x) { return x; }, s);
    }

  std::fill_n(out.o, rows * group.v.width, Scalar(0));
  for (const FewColumns& part : parts) add_few_values(out.o, scores, n, group, part, scratch);
}

}  // namespace heed::inline HEED_ABI::detail
