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

#include "attend_kept.hpp"
#include "attend_logits.hpp"

namespace heed::inline HEED_ABI::detail {

/// f(keys, coverage) for every tile of `size` of the `keys` in which some row sees some key.
template <class F>
void for_each_tile(const Stacked& s, const Intervals& keys, Index size, F&& f) {
  for (const Interval part : keys)
    for (Index begin = part.begin; begin < part.end; begin += size) {
      const Interval tile{begin, (std::min)(begin + size, part.end)};
      const Coverage coverage = s.coverage(tile);
      if (coverage != Coverage::none) f(tile, coverage);
    }
}
template <class F>
void for_each_tile(const Stacked& s, const Intervals& keys, F&& f) {
  for_each_tile(s, keys, attend_tile_keys, f);
}

/// to [cols x rows] = factor from^T, where row i begins at from(i): packet by packet of rows, since a column of far-apart
/// rows falls out of the cache before its neighbour is asked for.
template <class Scalar, class From>
void gather_transposed(Scalar* to, Index to_stride, From&& from, Index rows, Index cols, Scalar factor) {
  constexpr Index width = full_width<Scalar>;
  using Packet = typename Lanes<Scalar>::Packet;
  for (Index i = 0; i < rows; i += width) {
    const Index count = (std::min)(width, rows - i);
    Index e = 0;
    if constexpr (width > 1)
      for (; count == width && e + width <= cols; e += width) {
        for (Index r = 0; r < width; ++r)  // rows lie far apart: they are asked for before their turn
          ask_for(from((std::min)(i + width + r, rows - 1)) + e);
        Eigen::internal::PacketBlock<Packet, int(width)> block;
        for (Index r = 0; r < width; ++r) block.packet[r] = Lanes<Scalar>::load(from(i + r) + e).raw;
        Eigen::internal::ptranspose(block);
        for (Index c = 0; c < width; ++c) (factor * Lanes<Scalar>{block.packet[c]}).store(to + (e + c) * to_stride + i);
      }
    for (; e < cols; ++e)
      for (Index r = 0; r < count; ++r) to[e * to_stride + i + r] = factor * from(i + r)[e];
  }
}

/// packed [width x lanes] = factor x^T, where x has the heads' columns side by side; padding is zero. Of the lanes in
/// `part` alone, whose rows are then `part.size()` apart.
template <class Scalar>
void pack_lanes(Scalar* packed, const Stacked& s, Interval part, const Scalar* x, Index stride, Index width,
                Scalar factor) {
  const Index filled = (std::min)(part.end, s.heads * s.rows) - part.begin;
  gather_transposed(
      packed, part.size(),
      [&](Index i) {
        const Index lane = part.begin + i;
        return x + lane / s.heads * stride + lane % s.heads * width;
      },
      filled, width, factor);
  for (Index e = 0; e < width; ++e) std::fill(packed + e * part.size() + filled, packed + (e + 1) * part.size(), Scalar(0));
}
template <class Scalar>
void pack_lanes(Scalar* packed, const Stacked& s, const Scalar* x, Index stride, Index width, Scalar factor) {
  pack_lanes(packed, s, Interval{0, s.lanes}, x, stride, width, factor);
}

/// x += packed^T; row i of head h lies at x + i row_stride + h head_stride. packed has the lanes in `part`.
template <class Scalar>
void add_lanes(Scalar* x, Index row_stride, Index head_stride, const Stacked& s, Interval part, const Scalar* packed,
               Index width) {
  constexpr Index step = full_width<Scalar>;
  Scalar row[std::size_t(step * step)];
  for (Index lane = part.begin; lane < (std::min)(part.end, s.heads * s.rows); lane += step) {
    const Index count = (std::min)(step, s.heads * s.rows - lane);
    for (Index e = 0; e < width; e += step) {
      const Index columns = (std::min)(step, width - e);
      const Scalar* from = packed + e * part.size() + lane - part.begin;
      gather_transposed(
          row, step, [&](Index c) { return from + c * part.size(); }, columns, step, Scalar(1));
      for (Index i = 0; i < count; ++i) {
        const Index at = lane + i;
        Scalar* to = x + at / s.heads * row_stride + at % s.heads * head_stride + e;
        if (columns == step)
          (Lanes<Scalar>::load(to) + Lanes<Scalar>::load(row + i * step)).store(to);
        else
          for (Index c = 0; c < columns; ++c) to[c] += row[i * step + c];
      }
    }
  }
}
template <class Scalar>
void add_lanes(Scalar* x, Index row_stride, Index head_stride, const Stacked& s, const Scalar* packed, Index width) {
  add_lanes(x, row_stride, head_stride, s, Interval{0, s.lanes}, packed, width);
}

/// Writes `value` at every pair of the tile [keys x part.size()] that the mask hides from the lanes in `part`. Its rows are
/// `stride` apart.
template <class Scalar>
void hide(Scalar* tile, Index stride, const Stacked& s, Interval part, Interval keys, Scalar value) {
  for (Index key = keys.begin; key < keys.end; ++key, tile += stride) {
    const Interval seen = s.lanes_that_see(key).cut(part.begin, part.end);
    std::fill(tile, tile + seen.begin - part.begin, value);
    std::fill(tile + seen.end - part.begin, tile + part.size(), value);
  }
}
template <class Scalar>
void hide(Scalar* tile, const Stacked& s, Interval keys, Scalar value) {
  hide(tile, s.lanes, s, Interval{0, s.lanes}, keys, value);
}

/// tile [keys x lanes] = x [keys x width]  packed [width x lanes], of `lanes` lanes from the pointers on; rows of tile and
/// packed are `stride` apart.
template <class Scalar>
void product_tile(Scalar* tile, Index stride, Strided<Scalar> x, Index keys, Index width, const Scalar* packed,
                  Index lanes) {
  for (Index j = 0; j < keys; ++j) std::fill_n(tile + j * stride, lanes, Scalar(0));
  accumulate(tile, stride, x, packed, stride, keys, lanes, width);
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

/// O^T [E_v x part] += V^T P^T where V is not finite: pair by pair, those that are visible. Rows of p and o are as far
/// apart as given. hides(lane, key) tells what is hidden beside the mask.
template <class Scalar, class Hides>
void add_visible_values(Scalar* o, Index o_stride, const Scalar* p, Index p_stride, const Stacked& s, Interval part,
                        Strided<Scalar> v, Index width, Interval keys, Hides&& hides) {
  for (Index key = keys.begin; key < keys.end; ++key, v.data += v.row, p += p_stride) {
    const Interval seen = s.lanes_that_see(key).cut(part.begin, part.end);
    for (Index begin = seen.begin, end = begin; begin < seen.end; begin = end + 1) {  // to the next that is hidden
      for (end = begin; end < seen.end && !hides(end, key);) ++end;
      const Index at = begin - part.begin;
      for (Index e = 0; e < width; ++e) add_scaled(o + e * o_stride + at, v.data[e], p + at, end - begin);
    }
  }
}

/// O^T [E_v x lanes] += V^T P^T, where v is [keys x width] and p [keys x lanes], with or without the padding.
///
/// A hidden pair has P = 0, but 0 NaN = NaN: if V is not finite where `coverage` is not all, only visible pairs are
/// multiplied, so that what a row does not see cannot reach it.
template <class Scalar, class Hides>
void add_values(Scalar* o, const View<Scalar>& p, const Stacked& s, Strided<Scalar> v, Index width, Interval keys,
                Coverage coverage, Hides&& hides) {
  if (coverage == Coverage::all || is_finite(v.data, v.row, width, Interval{0, keys.size()}))
    accumulate(o, s.lanes, Strided<Scalar>{v.data, 1, v.row}, p.data(), p.outerStride(), width, p.cols(), keys.size());
  else
    add_visible_values(o, s.lanes, p.data(), p.outerStride(), s, Interval{0, p.cols()}, v, width, keys, hides);
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

/// Maxima and sums [lanes] to the partial; its output is zero so far.
template <class Scalar>
void leave_partial(Partial<Scalar> out, const Stacked& s, const Scalar* m, const Scalar* l, Index value_width) {
  for (Index h = 0; h < s.heads; ++h)
    for (Index i = 0; i < s.rows; ++i) {
      out.maximum[h * s.rows + i] = m[s.lane(h, i)];
      out.sum[h * s.rows + i] = l[s.lane(h, i)];
    }
  std::fill_n(out.o, s.heads * s.rows * value_width, Scalar(0));
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
    product_tile(tile, s.lanes, rows_in(group.k, in_tile, k_buffer), in_tile.size(), width, q, s.lanes);
    if (group.alters_logits()) alter_tile(tile, group, s, Interval{0, s.lanes}, row, in_tile, lanes);
    if (coverage == Coverage::partial) hide(tile, s, in_tile, -std::numeric_limits<Scalar>::infinity());
    keep_logits(tile, group, s, Interval{0, s.lanes}, row, in_tile);
    softmax_tile(tile, in_tile.size(), s.lanes, m, l, rescale);
    if (!first)
      for (Index e = 0; e < value_width; ++e)
        transform(
            s.lanes, o + e * s.lanes, [](auto x, auto y) { return x * y; }, o + e * s.lanes, rescale);
    first = false;
    add_values(o, view_of<Scalar>(tile, in_tile.size(), s.lanes, s.lanes), s, rows_in(group.v, in_tile, v_buffer),
               value_width, in_tile, group.bias == nullptr ? coverage : Coverage::partial,
               [&](Index lane, Index key) { return group.hides(lane % s.heads, row + lane / s.heads, key); });
  });

  leave_partial(out, s, m, l, value_width);
  add_lanes(out.o, value_width, count * value_width, s, o, value_width);
}

}  // namespace heed::inline HEED_ABI::detail
