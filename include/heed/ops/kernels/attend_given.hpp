// Kept probabilities times values, for one query head, and the backward of that.
//
//   O^T [E_v x rows] += V^T P^T      P^T [keys x rows] lies in the storage as it is needed, key-major
#pragma once

#include "attend_tiles.hpp"

namespace heed::inline HEED_ABI::detail {

/// Rows [row, row + count) of the head over `keys`: out += A V, rows of out `out_stride` apart.
template <class Scalar>
void give_tiled(const Probabilities<Scalar>& a, const HeadRows<Scalar>& v, Index row, Index count, const Intervals& keys,
                Scalar* out, Index out_stride, Arena& scratch) {
  const Arena::Scope scope(scratch);
  const Stacked s = stacked<Scalar>(1, count, a.past() + row, a.mask());
  Scalar* o = scratch.take_zeroed<Scalar>(v.width * s.lanes);  // [E_v x lanes]
  Scalar* buffer = take_buffer(v, scratch);
  const Interval cut = keys.parts[1];  // of one interval
  for_each_tile(s, s.visible(a.keys()).cut(cut.begin, cut.end), [&](Interval in_tile, Coverage coverage) {
    const Scalar* p = a.by_key() + in_tile.begin * a.rows() + row;
    add_values(o, view_of(p, in_tile.size(), count, a.rows()), s, rows_in(v, in_tile, buffer), v.width, in_tile,
               a.bias().empty() ? coverage : Coverage::partial,
               [&](Index lane, Index key) { return a.bias().hides(row + lane, key); });
  });
  add_lanes(out, out_stride, 0, s, o, v.width);
}

/// All rows, each over exactly the keys it sees. For few rows: lanes go along the head, as in attend_few.
template <class Scalar>
void give_few(const Probabilities<Scalar>& a, const HeadRows<Scalar>& v, const Intervals& keys, Scalar* out,
              Index out_stride, Arena& scratch) {
  const Arena::Scope scope(scratch);
  Scalar* buffer = take_buffer(v, scratch);
  const auto add = [&](Index i, Strided<Scalar> values, Interval seen) {
    accumulate(out + i * out_stride, out_stride, Strided<Scalar>{a.by_key() + seen.begin * a.rows() + i, 0, a.rows()},
               values.data, values.row, 1, v.width, seen.size());
  };
  const Index step = buffer == nullptr && a.bias().empty() ? (std::max)(Index(1), keys.size()) : attend_tile_keys;
  for (const Interval part : keys)
    for (Index begin = part.begin; begin < part.end; begin += step) {
      const Interval tile{begin, (std::min)(begin + step, part.end)};
      const Strided<Scalar> values = rows_in(v, tile, buffer);
      const bool whole = a.bias().empty() || is_finite(values.data, values.row, v.width, Interval{0, tile.size()});
      for (Index i = 0; i < a.rows(); ++i)
        for (const Interval seen : a.visible(i).cut(tile.begin, tile.end)) {
          const auto from = [&](Index key) {
            return Strided<Scalar>{values.data + (key - tile.begin) * values.row, values.row, 1};
          };
          if (whole)
            add(i, from(seen.begin), seen);
          else
            for (Index key = seen.begin; key < seen.end; ++key)
              if (!a.bias().hides(i, key)) add(i, from(key), Interval{key, key + 1});
        }
    }
}

/// out = A V  =>  dV += A^T d_out, dA += d_out V^T where A is visible
template <class Scalar>
void give_block_backward(const Probabilities<Scalar>& a, const HeadRows<Scalar>& v, Index row, Index count,
                         const Scalar* d_out, Index d_out_stride, Arena& scratch) {
  const Arena::Scope scope(scratch);
  const Stacked s = stacked<Scalar>(1, count, a.past() + row, a.mask());
  Scalar* packed = scratch.take<Scalar>(v.width * s.lanes);         // d_out^T [E_v x lanes]
  Scalar* tile = scratch.take<Scalar>(attend_tile_keys * s.lanes);  // dA^T [keys x lanes]
  Scalar* buffer = take_buffer(v, scratch);
  pack_lanes(packed, s, d_out, d_out_stride, v.width, Scalar(1));
  const bool finite_rows = is_finite(d_out, d_out_stride, v.width, Interval{0, count});
  for_each_tile(s, s.visible(a.keys()), [&](Interval keys, Coverage coverage) {
    const Scalar* p = a.by_key() + keys.begin * a.rows() + row;
    Scalar* d_v = v.gradient + keys.begin * v.gradient_stride;
    product_tile(tile, rows_in(v, keys, buffer), keys.size(), v.width, packed, s.lanes);
    const bool whole = finite_rows || (coverage == Coverage::all && a.bias().empty());
    if (whole)
      accumulate(d_v, v.gradient_stride, Strided<Scalar>{p, a.rows(), 1}, d_out, d_out_stride, keys.size(), v.width, count);
    for (Index j = 0; j < keys.size(); ++j) {
      const Index key = keys.begin + j;
      const Interval seen = s.seen_by(key);
      Scalar* d_a = a.gradient_by_key() + key * a.rows() + row;
      for (Index i = seen.begin; i < seen.end; ++i) {
        if (a.bias().hides(row + i, key)) continue;
        d_a[i] += tile[j * s.lanes + i];
        if (!whole) add_scaled(d_v + j * v.gradient_stride, p[j * a.rows() + i], d_out + i * d_out_stride, v.width);
      }
    }
  });
}

}  // namespace heed::inline HEED_ABI::detail
