// Kept probabilities times values, for the query heads of one kv head, and the backward of that.
//
//   O [rows x E_v] += P V        P^T [keys x 16] is a panel as it lies: its numbers are broadcast, one after another
//   dP^T = V dO^T                dV += P^T dO
//
// A tile of V stays in the first cache while the panels of a block's rows, and of all heads that share it, pass by. A panel
// is read once, in order, tile by tile; the next one is asked for ahead. Under the edge of a mask rows are told apart one
// by one, so that no pair is multiplied that is not seen.
#pragma once

#include "attend_plan.hpp"
#include "attend_tiles.hpp"

namespace heed::inline HEED_ABI::detail {

inline constexpr Index give_block_rows = 64;
inline constexpr Index give_tile_keys = 64;

/// The blocks of rows of given probabilities; rows that are one block are cut along their keys.
template <class Scalar>
AttendPlan plan_given(Index rows, Index keys) {
  AttendPlan plan;
  plan.rows = rows;
  if (rows == 0) return plan;
  plan.block = (std::min)(rows, give_block_rows);
  plan.blocks = (rows + plan.block - 1) / plan.block;
  plan.keys = bidirectional().visible(0, keys);
  if (plan.blocks == 1) plan.cuts = (std::max)(Index(1), (keys + attend_cut_keys - 1) / attend_cut_keys);
  return plan;
}

/// The keys that all rows from `first` to `last` see, where these are the visible ones of either: every edge of a mask
/// grows with the position.
inline Intervals seen_by_both(const Intervals& first, const Intervals& last) {
  return {{first.parts[0].cut(last.parts[0].begin, last.parts[0].end),
           first.parts[1].cut(last.parts[1].begin, last.parts[1].end)}};
}

/// f(keys) for what of `keys` is not in `without`.
template <class F>
void for_each_beside(Interval keys, const Intervals& without, F&& f) {
  const auto call = [&](Interval part) {
    if (!part.empty()) f(part);
  };
  Index from = keys.begin;
  for (const Interval part : without) {
    if (part.empty()) continue;
    call(Interval{from, (std::min)(keys.end, part.begin)});
    from = (std::max)(from, part.end);
  }
  call(Interval{from, keys.end});
}

/// o [rows x E_v] += P V for the panel's rows over `keys`, of one interval of it.
///   p        [keys x rows]
///   values   [keys x E_v]
template <class Scalar>
void give_panel(Scalar* o, Index o_stride, const Probabilities<Scalar>& a,
                const typename Probabilities<Scalar>::Panel& panel, const Scalar* p, Strided<Scalar> values, Index width,
                Interval keys) {
  const auto add = [&](Index i, Index rows, Interval seen) {
    accumulate(o + i * o_stride, o_stride, Strided<Scalar>{p + (seen.begin - keys.begin) * panel.rows + i, 1, panel.rows},
               values.data + (seen.begin - keys.begin) * values.row, values.row, rows, width, seen.size());
  };
  if (!a.bias().empty() && !is_finite(values.data, values.row, width, Interval{0, keys.size()})) {
    for (Index i = 0; i < panel.rows; ++i)
      for (const Interval part : a.visible(panel.row + i).cut(keys.begin, keys.end))
        for (Index key = part.begin; key < part.end; ++key)
          if (!a.bias().hides(panel.row + i, key)) add(i, Index(1), Interval{key, key + 1});
    return;
  }
  const auto common_of = [&](Index i, Index rows) {
    return seen_by_both(a.visible(panel.row + i), a.visible(panel.row + i + rows - 1)).cut(keys.begin, keys.end);
  };
  if (common_of(0, panel.rows).size() == keys.size()) return add(0, panel.rows, keys);
  for (Index i = 0; i < panel.rows; i += product_rows) {
    const Index rows = (std::min)(Index(product_rows), panel.rows - i);
    const Intervals common = common_of(i, rows);
    for (const Interval part : common)
      if (!part.empty()) add(i, rows, part);
    for (Index r = i; r < i + rows; ++r)
      for (const Interval part : a.visible(panel.row + r).cut(keys.begin, keys.end))
        for_each_beside(part, common, [&](Interval alone) { add(r, Index(1), alone); });
  }
}

/// Rows [row, row + count) of the group's heads over `keys`: o_h += A_h V.
///   a     [heads], those without rows add nothing; row is the first of a panel
///   out   row i of head h at out + i row_stride + h head_stride
template <class Scalar>
void give_block(const Probabilities<Scalar>* a, Index heads, const HeadRows<Scalar>& v, Index row, Index count,
                const Intervals& keys, Scalar* out, Index row_stride, Index head_stride, Arena& scratch) {
  constexpr Index panel_rows = Probabilities<Scalar>::panel_rows;
  const Arena::Scope scope(scratch);
  Scalar* o = scratch.take_zeroed<Scalar>(heads * count * v.width);  // [heads x count x E_v]
  Scalar* buffer = take_buffer(v, scratch);
  Scalar widened[std::size_t(give_tile_keys * panel_rows)];
  for (const Interval part : keys)
    for (Index begin = part.begin; begin < part.end; begin += give_tile_keys) {
      const Interval tile{begin, (std::min)(begin + give_tile_keys, part.end)};
      bool is_read = false;
      Strided<Scalar> values{};
      for (Index h = 0; h < heads; ++h)
        if (a[h].kept())
          a[h].for_each_panel(row, count, [&](const auto& panel, Index first, Index) {
            for (const Interval stored : panel.keys) {
              const Interval of_panel = stored.cut(tile.begin, tile.end);
              if (of_panel.empty()) continue;
              if (!is_read) values = rows_in(v, tile, buffer), is_read = true;
              give_panel(o + (h * count + first) * v.width, v.width, a[h], panel, a[h].tile(panel, of_panel, widened),
                         values.from(of_panel.begin - tile.begin, 0), v.width, of_panel);
            }
          });
    }
  for (Index h = 0; h < heads; ++h)
    for (Index i = 0; i < count && a[h].kept(); ++i)
      add_scaled(out + i * row_stride + h * head_stride, Scalar(1), o + (h * count + i) * v.width, v.width);
}

/// out = A V  =>  dV += A^T d_out, dA += d_out V^T where A is visible; for rows [row, row + count) of one head
template <class Scalar>
void give_block_backward(const Probabilities<Scalar>& a, const HeadRows<Scalar>& v, Index row, Index count,
                         const Scalar* d_out, Index d_out_stride, Arena& scratch) {
  constexpr Index panel_rows = Probabilities<Scalar>::panel_rows;
  const Arena::Scope scope(scratch);
  Scalar* packed = scratch.take<Scalar>(v.width * count);  // d_out^T, for each panel [E_v x rows]
  Scalar* buffer = take_buffer(v, scratch);
  Scalar widened[std::size_t(give_tile_keys * panel_rows)];
  a.for_each_panel(row, count, [&](const auto& panel, Index first, Index) {
    for (Index e = 0; e < v.width; ++e)
      for (Index i = 0; i < panel.rows; ++i)
        packed[first * v.width + e * panel.rows + i] = d_out[(first + i) * d_out_stride + e];
  });
  const bool finite_rows = is_finite(d_out, d_out_stride, v.width, Interval{0, count});
  for (Index begin = 0; begin < a.keys(); begin += give_tile_keys) {
    const Interval tile{begin, (std::min)(begin + give_tile_keys, a.keys())};
    bool is_read = false;
    Strided<Scalar> values{};
    a.for_each_panel(row, count, [&](const auto& panel, Index first, Index) {
      const Scalar* d_rows = d_out + first * d_out_stride;
      for (const Interval stored : panel.keys) {
        const Interval keys = stored.cut(tile.begin, tile.end);
        if (keys.empty()) continue;
        if (!is_read) values = rows_in(v, tile, buffer), is_read = true;
        Scalar* d_a = a.gradient_tile(panel, keys.begin);
        const Scalar* p = a.tile(panel, keys, widened);
        Scalar* d_v = v.gradient + keys.begin * v.gradient_stride;
        accumulate(d_a, panel.rows, values.from(keys.begin - tile.begin, 0), packed + first * v.width, panel.rows,
                   keys.size(), panel.rows, v.width);
        hide_panel(a, d_a, panel.rows, panel.row, panel.rows, keys);
        const Index last = a.past() + panel.row + panel.rows - 1;
        const bool whole =
            a.bias().empty() && a.mask().coverage(a.past() + panel.row, last, keys.begin, keys.end - 1) == Coverage::all;
        if (finite_rows || whole)
          accumulate(d_v, v.gradient_stride, Strided<Scalar>{p, panel.rows, 1}, d_rows, d_out_stride, keys.size(), v.width,
                     panel.rows);
        for (Index i = 0; i < panel.rows && !whole; ++i)
          for (Index key = keys.begin; key < keys.end; ++key) {
            const Index at = (key - keys.begin) * panel.rows + i;
            if (a.bias().hides(panel.row + i, key))
              d_a[at] = Scalar(0);
            else if (!finite_rows && a.visible(panel.row + i).contains(key))
              add_scaled(d_v + (key - keys.begin) * v.gradient_stride, p[at], d_rows + i * d_out_stride, v.width);
          }
      }
    });
  }
}

}  // namespace heed::inline HEED_ABI::detail
