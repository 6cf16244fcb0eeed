// Attention of few query rows over many keys: decoding.
//
//   s [heads x keys] = q K^T       dot products along E
//   o [heads x E_v] += p V         along E_v
//
// In tiles, whose lanes are query rows, most lanes would idle here. So the lanes go along the head: K and V are read once,
// row after row, for all query heads that share them, which is all that decoding costs. One position at a time sees exactly
// its keys, so nothing is masked.
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

/// All rows of every head of the group over `keys`. The logits of kept heads are left in their storage.
template <class Scalar>
void attend_few(const QueryGroup<Scalar>& group, Interval keys, Partial<Scalar> out, Arena& scratch) {
  const HeadRows<Scalar>&k = group.k, &v = group.v;
  Scalar* scores = scratch.take<Scalar>(group.heads * keys.size());  // [heads x seen keys]
  std::fill_n(out.o, group.heads * group.rows * v.width, Scalar(0));
  for (Index i = 0; i < group.rows; ++i) {
    const Interval seen = group.mask.visible(group.past + i, k.rows).cut(keys.begin, keys.end);
    const Index n = seen.size();
    std::fill_n(scores, group.heads * n, Scalar(0));
    accumulate_dots(scores, n, group.q + i * group.q_stride, k.width, k.data + seen.begin * k.stride, k.stride, group.heads,
                    n, k.width);
    for (Index h = 0; h < group.heads; ++h) {
      Scalar* s = scores + h * n;
      transform(
          n, s, [&](auto x) { return group.scale * x; }, s);
      if (group.keeps(h)) {
        Scalar* kept = group.kept[h].by_key() + i;
        for (Index key = keys.begin; key < keys.end; ++key)
          kept[key * group.rows] =
              key >= seen.begin && key < seen.end ? s[key - seen.begin] : -std::numeric_limits<Scalar>::infinity();
      }
      const Scalar m = highest(s, n, std::numeric_limits<Scalar>::lowest());
      transform(
          n, s, [&](auto x) { return exponential(x - Lanes<Scalar>::all(m)); }, s);
      out.maximum[h * group.rows + i] = m;
      out.sum[h * group.rows + i] = sum_over(
          n, [](auto x) { return x; }, s);
    }
    accumulate(out.o + i * v.width, group.rows * v.width, Strided<Scalar>{scores, n, 1}, v.data + seen.begin * v.stride,
               v.stride, group.heads, v.width, n);
  }
}

}  // namespace heed::inline HEED_ABI::detail
