// Attention over one block of query rows, tile of keys by tile of keys.
//
//   S^T [keys x lanes] = K Q^T          the tile's logits             lanes are query rows, so that
//   m, l [lanes]                        running maximum and sum       - maxima and sums need no horizontal reductions,
//   O^T [E_v x lanes] += V^T P^T        unnormalised output           - K and V are broadcast from where they lie, unpacked
//
// A block stacks `rows` consecutive positions of all the query heads that share the kv head: a tile of K and V is fetched
// once for all of them. Scores never leave the tile.
// Source: Dao 2023 (arXiv 2307.08691), algorithms 1 and 2, transposed.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "attend_logits.hpp"

namespace heed::inline HEED_ABI::detail {

/// f(keys, coverage) for every tile of `keys` in which some row sees some key.
template <class F>
void for_each_tile(const Stacked& s, const Intervals& keys, F&& f) {
  for (const Interval part : keys)
    for (Index begin = part.begin; begin < part.end; begin += attend_tile_keys) {
      const Interval tile{begin, (std::min)(begin + attend_tile_keys, part.end)};
      const Coverage coverage = s.coverage(tile);
      if (coverage != Coverage::none) f(tile, coverage);
    }
}

/// f(i, e) for i < rows, e < width: eight rows at a time, since a column of many far-apart rows falls out of the cache
/// before its neighbour is asked for.
template <class F>
void in_strips(Index rows, Index width, F&& f) {
  Index begin = 0;
  for (; begin + 8 <= rows; begin += 8)
    for (Index e = 0; e < width; ++e)
      for (Index i = 0; i < 8; ++i) f(begin + i, e);
  for (Index e = 0; begin < rows && e < width; ++e)
    for (Index i = begin; i < rows; ++i) f(i, e);
}

/// packed [width x lanes] = factor x^T, where x has the heads' columns side by side; padding is zero.
template <class Scalar>
void pack_lanes(Scalar* packed, const Stacked& s, const Scalar* x, Index stride, Index width, Scalar factor) {
  for (Index h = 0; h < s.heads; ++h)
    in_strips(s.rows, width, [&, lanes = packed + h * s.rows, head = x + h * width](Index i, Index e) {
      lanes[e * s.lanes + i] = factor * head[i * stride + e];
    });
  for (Index e = 0; e < width; ++e)
    std::fill(packed + e * s.lanes + s.heads * s.rows, packed + (e + 1) * s.lanes, Scalar(0));
}

/// x += packed^T; row i of head h lies at x + i row_stride + h head_stride.
template <class Scalar>
void add_lanes(Scalar* x, Index row_stride, Index head_stride, const Stacked& s, const Scalar* packed, Index width) {
  for (Index h = 0; h < s.heads; ++h)
    in_strips(s.rows, width, [&, lanes = packed + h * s.rows, head = x + h * head_stride](Index i, Index e) {
      head[i * row_stride + e] += lanes[e * s.lanes + i];
    });
}

/// Writes `value` at every pair of the tile [keys x lanes] that the mask hides.
template <class Scalar>
void hide(Scalar* tile, const Stacked& s, Interval keys, Scalar value) {
  for (Index key = keys.begin; key < keys.end; ++key) {
    const Interval seen = s.seen_by(key);
    Scalar* row = tile + (key - keys.begin) * s.lanes;
    for (Index h = 0; h < s.heads; ++h, row += s.rows) {
      std::fill(row, row + seen.begin, value);
      std::fill(row + seen.end, row + s.rows, value);
    }
  }
}

/// tile [keys x lanes] = x [keys x width]  packed [width x lanes]
template <class Scalar>
void product_tile(Scalar* tile, Strided<Scalar> x, Index keys, Index width, const Scalar* packed, Index lanes) {
  std::fill_n(tile, keys * lanes, Scalar(0));
  accumulate(tile, lanes, x, packed, lanes, keys, lanes, width);
}

/// No NaN and no infinity among rows [begin, end) of x.
template <class Scalar>
bool is_finite(const Scalar* x, Index stride, Index width, Interval rows) {
  Scalar zero = 0;
  for (Index i = rows.begin; i < rows.end; ++i)
    zero += sum_over(
        width, [](auto x_e) { return Scalar(0) * x_e; }, x + i * stride);
  return zero == Scalar(0);
}

/// O^T [E_v x lanes] += V^T P^T, where v is [keys x width] and p [keys x lanes], with or without the padding.
///
/// A hidden pair has P = 0, but 0 NaN = NaN: if V is not finite where `coverage` is not all, only visible pairs are
/// multiplied, so that what a row does not see cannot reach it. hides(h, i, key) tells what is hidden beside the mask.
template <class Scalar, class Hides>
void add_values(Scalar* o, const View<Scalar>& p, const Stacked& s, Strided<Scalar> v, Index width, Interval keys,
                Coverage coverage, Hides&& hides) {
  if (coverage == Coverage::all || is_finite(v.data, v.row, width, Interval{0, keys.size()})) {
    accumulate(o, s.lanes, Strided<Scalar>{v.data, 1, v.row}, p.data(), p.outerStride(), width, p.cols(), keys.size());
    return;
  }
  for (Index key = keys.begin; key < keys.end; ++key) {
    const Interval seen = s.seen_by(key);
    const Scalar* v_j = v.data + (key - keys.begin) * v.row;
    for (Index h = 0; h < s.heads; ++h)
      for (Index i = seen.begin; i < seen.end; ++i) {
        if (hides(h, i, key)) continue;
        const Index lane = h * s.rows + i;
        for (Index e = 0; e < width; ++e) o[e * s.lanes + lane] += p(key - keys.begin, lane) * v_j[e];
      }
  }
}

// `packets` packets of lanes, from column 0 of the pointers on.
template <int packets, class Scalar>
void softmax_lanes(Scalar* tile, Index keys, Index lanes, Scalar* highest, Scalar* sum, Scalar* rescale) {
  using Packet = Lanes<Scalar>;
  constexpr Index width = full_width<Scalar>;
  Packet m[std::size_t(packets)];
  Packet l[std::size_t(packets)];
  for (int p = 0; p < packets; ++p) m[p] = Packet::load(highest + p * width);
  for (Index j = 0; j < keys; ++j)
    for (int p = 0; p < packets; ++p) m[p] = maximum(m[p], Packet::load(tile + j * lanes + p * width));
  for (int p = 0; p < packets; ++p) {
    exponential(Packet::load(highest + p * width) - m[p]).store(rescale + p * width);
    m[p].store(highest + p * width);
    l[p] = Packet::all(Scalar(0));
  }
  for (Index j = 0; j < keys; ++j)
    for (int p = 0; p < packets; ++p) {
      Scalar* at = tile + j * lanes + p * width;
      const Packet e = exponential(Packet::load(at) - m[p]);
      e.store(at);
      l[p] = l[p] + e;
    }
  for (int p = 0; p < packets; ++p)
    multiply_add(Packet::load(sum + p * width), Packet::load(rescale + p * width), l[p]).store(sum + p * width);
}

/// tile = exp(tile - m) after m has taken in the tile's maximum; l and what was summed before are brought to the new m:
/// rescale = exp(m before - m).
///
/// m starts at the lowest finite number instead of -inf, so that a row that has seen nothing yet has exp(-inf - m) = 0 and
/// never forms inf - inf. NaN logits are passed over by the maximum and become NaN in P and l.
template <class Scalar>
void softmax_tile(Scalar* tile, Index keys, Index lanes, Scalar* m, Scalar* l, Scalar* rescale) {
  constexpr Index width = full_width<Scalar>;
  Index i = 0;
  for (; i + 4 * width <= lanes; i += 4 * width) softmax_lanes<4>(tile + i, keys, lanes, m + i, l + i, rescale + i);
  for (; i < lanes; i += width) softmax_lanes<1>(tile + i, keys, lanes, m + i, l + i, rescale + i);
}

/// Rows [row, row + count) of every head of the group over `keys`. The logits of kept heads are left in their storage.
template <class Scalar>
void attend_tiled(const QueryGroup<Scalar>& group, Index row, Index count, const Intervals& keys, Partial<Scalar> out,
                  Arena& scratch) {
  const Stacked s = stacked<Scalar>(group.heads, count, group.past + row, group.mask);
  const Index width = group.k.width, value_width = group.v.width;
  Scalar* q = scratch.take<Scalar>(width * s.lanes);                // [E x lanes], scaled
  Scalar* tile = scratch.take<Scalar>(attend_tile_keys * s.lanes);  // [keys x lanes]
  Scalar* o = scratch.take_zeroed<Scalar>(value_width * s.lanes);   // [E_v x lanes]
  Scalar* m = scratch.take<Scalar>(s.lanes);
  Scalar* l = scratch.take_zeroed<Scalar>(s.lanes);
  Scalar* rescale = scratch.take<Scalar>(s.lanes);
  Scalar* k_buffer = take_buffer(group.k, scratch);
  Scalar* v_buffer = take_buffer(group.v, scratch);
  const auto lanes = LaneSlopes<Scalar>::make(group, s, scratch);
  std::fill_n(m, s.lanes, std::numeric_limits<Scalar>::lowest());
  pack_lanes(q, s, group.q + row * group.q_stride, group.q_stride, width, group.scale);

  bool first = true;
  for_each_tile(s, keys, [&](Interval in_tile, Coverage coverage) {
    product_tile(tile, rows_in(group.k, in_tile, k_buffer), in_tile.size(), width, q, s.lanes);
    if (group.alters_logits()) alter_tile(tile, group, s, row, in_tile, lanes);
    if (coverage == Coverage::partial) hide(tile, s, in_tile, -std::numeric_limits<Scalar>::infinity());
    for (Index h = 0; h < group.heads; ++h)
      if (group.keeps(h))
        for (Index key = in_tile.begin; key < in_tile.end; ++key)
          std::copy_n(tile + (key - in_tile.begin) * s.lanes + h * count, count,
                      group.kept[h].by_key() + key * group.rows + row);
    softmax_tile(tile, in_tile.size(), s.lanes, m, l, rescale);
    if (!first)
      for (Index e = 0; e < value_width; ++e)
        transform(
            s.lanes, o + e * s.lanes, [](auto x, auto y) { return x * y; }, o + e * s.lanes, rescale);
    first = false;
    add_values(o, view_of<Scalar>(tile, in_tile.size(), s.lanes, s.lanes), s, rows_in(group.v, in_tile, v_buffer),
               value_width, in_tile, group.bias == nullptr ? coverage : Coverage::partial,
               [&](Index h, Index i, Index key) { return group.hides(h, row + i, key); });
  });

  std::copy_n(m, group.heads * count, out.maximum);
  std::copy_n(l, group.heads * count, out.sum);
  std::fill_n(out.o, group.heads * count * value_width, Scalar(0));
  add_lanes(out.o, value_width, count * value_width, s, o, value_width);
}

}  // namespace heed::inline HEED_ABI::detail
