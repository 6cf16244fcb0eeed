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

/// All rows of every head of the group over `keys`, which hold every key of theirs that some row sees. The logits of kept
/// heads are left in their storage.
template <class Scalar>
void attend_few(const QueryGroup<Scalar>& group, Interval keys, Partial<Scalar> out, Arena& scratch) {
  const HeadRows<Scalar>&k = group.k, &v = group.v;
  const Index n = keys.size(), rows = group.heads * group.rows;
  Scalar* q = scratch.take<Scalar>(rows * k.width);        // [heads*T x E], scaled
  Scalar* scores = scratch.take_zeroed<Scalar>(rows * n);  // [heads*T x n]
  for (Index h = 0; h < group.heads; ++h)
    for (Index i = 0; i < group.rows; ++i)
      transform(
          k.width, q + (h * group.rows + i) * k.width, [&](auto x) { return group.scale * x; },
          group.q + i * group.q_stride + h * k.width);
  // Tile by tile, so that all rows find a tile's keys, and later its values, where the first has brought them.
  for (Index j = 0; j < n; j += attend_tile_keys)
    accumulate_dots(scores + j, n, q, k.width, k.data + (keys.begin + j) * k.stride, k.stride, rows,
                    (std::min)(attend_tile_keys, n - j), k.width);

  const auto seen_by = [&](Index i) {  // within `keys`, from its begin
    const Interval seen = group.mask.visible(group.past + i, k.rows).cut(keys.begin, keys.end);
    return Interval{seen.begin - keys.begin, seen.end - keys.begin};
  };
  Interval common{0, n};  // seen by every row
  for (Index i = 0; i < group.rows; ++i) common = common.cut(seen_by(i).begin, seen_by(i).end);
  for (Index h = 0; h < group.heads; ++h)
    for (Index i = 0; i < group.rows; ++i) {
      const Index row = h * group.rows + i;
      Scalar* s = scores + row * n;
      std::fill(s, s + seen_by(i).begin, -std::numeric_limits<Scalar>::infinity());
      std::fill(s + seen_by(i).end, s + n, -std::numeric_limits<Scalar>::infinity());
      if (group.keeps(h))
        for (Index j = 0; j < n; ++j) group.kept[h].by_key()[(keys.begin + j) * group.rows + i] = s[j];
      const Scalar m = highest(s, n, std::numeric_limits<Scalar>::lowest());
      transform(
          n, s, [&](auto x) { return exponential(x - Lanes<Scalar>::all(m)); }, s);
      out.maximum[row] = m;
      out.sum[row] = sum_over(
          n, [](auto x) { return x; }, s);
    }

  // Each row takes exactly the values it sees: those that all see together, the rest, at the edges, by itself.
  const Scalar* values = v.data + keys.begin * v.stride;
  const Index fours = rows / 4 * 4;
  std::fill_n(out.o, rows * v.width, Scalar(0));
  const auto add_to_row = [&](Index row, Index begin, Index end) {
    if (begin < end)
      add_weighted_rows(out.o + row * v.width, scores + row * n + begin, values + begin * v.stride, v.stride, v.width,
                        end - begin);
  };
  for (Index j = common.begin; j < common.end; j += attend_tile_keys) {
    const Index end = (std::min)(j + attend_tile_keys, common.end);
    accumulate(out.o, v.width, Strided<Scalar>{scores + j, n, 1}, values + j * v.stride, v.stride, fours, v.width, end - j);
    for (Index row = fours; row < rows; ++row) add_to_row(row, j, end);
  }
  for (Index row = 0; row < rows; ++row) {
    const Interval seen = seen_by(row % group.rows);
    add_to_row(row, seen.begin, (std::min)(seen.end, common.begin));
    add_to_row(row, (std::max)(seen.begin, common.end), seen.end);
  }
}

}  // namespace heed::inline HEED_ABI::detail
