// A chunk of rows of the recurrence of Mamba-2, as a masked attention without softmax; and what the heads of a group share.
//
// With x'_s = dt_s x_s and decay_{ts} = exp(dt_{s+1} a) ... exp(dt_t a), s before t, both in the chunk:
//
//   scores_{ts} = decay_{ts} (c_t . b_s)                               s <= t
//   y_t = start_t c_t S + sum_{s <= t} scores_{ts} x'_s + d x_t         S from before the chunk, start_t its decay up to t
//   S  <- start_last S + sum_s decay_{last,s} b_s^T x'_s
//
// Decays are products of what lies between two rows, as the recurrence has them, not quotients of products from the start,
// which would lose everything where the decay is strong. A product too small for a normal number is zero.
//
// source: Dao and Gu 2024 (arXiv 2405.21060), section 6
#pragma once

#include <algorithm>
#include <limits>

#include "../../core/arena.hpp"
#include "../transpose.hpp"
#include "product_block.hpp"
#include "ssd_row.hpp"

namespace heed::inline HEED_ABI::detail {

/// So many heads of a sequence at most are computed together, so that those of a group share c_t . b_s.
inline constexpr Index ssd_heads_together = 6;

/// to_r = factors_r from_r for every row r, where they may be the same.
template <class Scalar>
void assign_scaled_rows(Scalar* to, Index to_row, const Scalar* factors, Index step, const Scalar* from, Index from_row,
                        Index rows, Index columns) {
  constexpr Index width = full_width<Scalar>;
  for (Index r = 0; r < rows; ++r) {
    const auto factor = Lanes<Scalar>::all(factors[r * step]);
    Scalar* to_r = to + r * to_row;
    const Scalar* from_r = from + r * from_row;
    Index i = 0;
    for (; i + width <= columns; i += width) (factor * Lanes<Scalar>::load(from_r + i)).store(to_r + i);
    if (i < columns) store_first(to_r + i, factor * load_first(from_r + i, columns - i), columns - i);
  }
}

/// A product of decays, or zero where it would be too small for a normal number: denormal numbers are slow.
template <class Scalar>
Lanes<Scalar> decayed(Lanes<Scalar> product) {
  using Packet = typename Lanes<Scalar>::Packet;
  const Packet least = Eigen::internal::pset1<Packet>((std::numeric_limits<Scalar>::min)());
  const Packet zero = Eigen::internal::pset1<Packet>(Scalar(0));
  return {Eigen::internal::pselect(Eigen::internal::pcmp_lt(product.raw, least), zero, product.raw)};
}

/// The pairs of rows of a chunk of one group.
template <class Scalar>
struct SsdPairs {
  Index row;     // elements between rows of the transposed and of the dots: Q in whole lanes
  Scalar* b_t;   // [N x row]
  Scalar* dots;  // [Q x row]  c_t . b_s for s <= t; what lies beyond may hold anything

  SsdPairs(Index Q, Index N, Arena& arena)
      : row(whole_lanes<Scalar>(Q)), b_t(arena.take_zeroed<Scalar>(N * row)), dots(arena.take_zeroed<Scalar>(Q * row)) {}
  static std::size_t bytes(Index Q, Index N) {
    const Index row = whole_lanes<Scalar>(Q);
    return Arena::bytes_of<Scalar>(N * row) + Arena::bytes_of<Scalar>(Q * row);
  }

  void assign(const SsdHead<Scalar>& in) {
    const Index n = in.b.rows(), N = in.b.cols();
    transpose(b_t, row, in.b.data(), in.b.outerStride(), n, N);
    assign_lower_product(dots, row, in.c.data(), in.c.outerStride(), b_t, row, n, N);
  }

  /// out_ts = a_t . b_s for s <= t, from the transposed of b [K x row]
  static void assign_lower_product(Scalar* out, Index out_row, const Scalar* a, Index a_row, const Scalar* b_t, Index row,
                                   Index n, Index K) {
    for_blocks<Scalar>(n, whole_lanes<Scalar>(n), [&](auto block, Index i, Index j) {
      if (j >= i + block.rows) return;
      block.set_zero();
      block.add({a + i * a_row, a_row, 1}, b_t + j, row, K);
      block.store(out + i * out_row + j, out_row);
    });
  }
};

/// The decays of a chunk of one head.
template <class Scalar>
struct SsdDecays {
  Scalar* one;     // [1 x Q]  exp(dt_t a)
  Scalar* start;   // [1 x Q]  from before the chunk to t
  Scalar* to_row;  // [1 x Q]  from s to the row where the walk is; at its end, to the last row
  Index n = 0;

  SsdDecays(Index Q, Arena& arena)
      : one(arena.take_zeroed<Scalar>(whole_lanes<Scalar>(Q))),
        start(arena.take_zeroed<Scalar>(whole_lanes<Scalar>(Q))),
        to_row(arena.take_zeroed<Scalar>(whole_lanes<Scalar>(Q))) {}
  static std::size_t bytes(Index Q) { return 3 * Arena::bytes_of<Scalar>(whole_lanes<Scalar>(Q)); }

  void assign(const SsdHead<Scalar>& in) {
    n = in.x.rows();
    Scalar sum = 0;
    for (Index t = 0; t < n; ++t) {
      one[t] = in.dt(t, 0) * in.a;
      start[t] = sum += one[t];
    }
    const auto exponentials = [](auto z) { return exponential(z); };
    transform(n, one, exponentials, one);
    // Of sums: the state takes the last of them over and over, and a product of n roundings would grow with every chunk.
    transform(n, start, exponentials, start);
  }
  /// visit(t, s, decays): the decays from rows s, s + 1, ... to t as Lanes, for t = 0, 1, ... and the whole lanes up to t.
  /// Lanes beyond t are zero, or not a number where a step is none.
  template <class F>
  void walk(F&& visit) {
    constexpr Index width = full_width<Scalar>;
    Scalar unit[static_cast<std::size_t>(2 * width)] = {};
    unit[width] = Scalar(1);  // from unit + width - i on, the lane i is one
    std::fill_n(to_row, whole_lanes<Scalar>(n), Scalar(0));
    for (Index t = 0; t < n; ++t) {
      const auto factor = Lanes<Scalar>::all(one[t]);
      const Index diagonal = t / width * width;
      for (Index s = 0; s < diagonal; s += width) {
        const Lanes<Scalar> decay = decayed(factor * Lanes<Scalar>::load(to_row + s));
        decay.store(to_row + s);
        visit(t, s, decay);
      }
      const Lanes<Scalar> last = decayed(
          multiply_add(factor, Lanes<Scalar>::load(to_row + diagonal), Lanes<Scalar>::load(unit + width - (t - diagonal))));
      last.store(to_row + diagonal);
      visit(t, diagonal, last);
    }
  }
};

template <class Scalar>
struct SsdChunkScratch {
  SsdPairs<Scalar> pairs;
  SsdDecays<Scalar> decays;
  Scalar* scores;  // [Q x row]
  Scalar* input;   // [Q x P]  x'

  SsdChunkScratch(Index Q, Index P, Index N, Arena& arena)
      : pairs(Q, N, arena), decays(Q, arena), scores(arena.take<Scalar>(Q * pairs.row)), input(arena.take<Scalar>(Q * P)) {}
  static std::size_t bytes(Index Q, Index P, Index N) {
    return SsdPairs<Scalar>::bytes(Q, N) + SsdDecays<Scalar>::bytes(Q) +
           Arena::bytes_of<Scalar>(Q * whole_lanes<Scalar>(Q)) + Arena::bytes_of<Scalar>(Q * P);
  }
};

/// The rows of a chunk of one head. scratch.pairs are those of the head's group. `state` [N x P] is the one before the
/// chunk, which is zero if `empty`, and then the one after it if that is `wanted`.
template <class Scalar>
void ssd_chunk(const SsdHead<Scalar>& in, bool empty, Scalar* state, bool wanted, MutableView<Scalar> y,
               SsdChunkScratch<Scalar>& scratch) {
  const Index n = in.x.rows(), P = in.x.cols(), N = in.b.cols(), row = scratch.pairs.row;
  const Index x_row = in.x.outerStride(), c_row = in.c.outerStride(), y_row = y.outerStride();
  const Scalar *x = in.x.data(), *c = in.c.data(), *dots = scratch.pairs.dots;
  Scalar *scores = scratch.scores, *input = scratch.input;
  SsdDecays<Scalar>& decays = scratch.decays;
  assign_scaled_rows(input, P, in.dt.data(), in.dt.outerStride(), x, x_row, n, P);
  decays.assign(in);
  decays.walk([&](Index t, Index s, Lanes<Scalar> decay) {
    (decay * Lanes<Scalar>::load(dots + t * row + s)).store(scores + t * row + s);
  });

  for_blocks<Scalar>(n, P, [&](auto block, Index t, Index p) {
    block.set_zero();
    if (!empty) {
      block.add({c + t * c_row, c_row, 1}, state + p, P, N);
      block.scale_rows(decays.start + t, 1);
    }
    block.add_lower({scores + t * row, row, 1}, input + p, P, t);
    using Packet = typename decltype(block)::Packet;
    constexpr Index width = Index(sizeof(Packet) / sizeof(Scalar));
    Packet skip[block.packets];
    for (Index q = 0; q < block.packets; ++q) skip[q] = in.template skip<Packet>(p + q * width);
    block.add_scaled(skip, x + t * x_row + p, x_row);
    block.store(y.data() + t * y_row + p, y_row);
  });

  if (!wanted) return;
  assign_scaled_rows(input, P, decays.to_row, Index(1), input, P, n, P);
  for_blocks<Scalar>(N, P, [&](auto block, Index i, Index p) {
    Scalar* at = state + i * P + p;
    if (empty) {
      block.set_zero();
    } else {
      block.load(at, P);
      block.scale_rows(decays.start + n - 1, 0);
    }
    block.add({scratch.pairs.b_t + i * row, row, 1}, input + p, P, n);
    block.store(at, P);
  });
}

}  // namespace heed::inline HEED_ABI::detail
