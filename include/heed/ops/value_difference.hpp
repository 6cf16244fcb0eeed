// out_h = o_h + lambda (v_first - v)      for every query head h, with the rows of its kv head
//
//   o, out [T x H E_v]     v_first, v   per (sequence, kv head) the last T_b of their rows [S x E_v]
// Source: Zhou et al. 2024 (arXiv 2410.17897), eq. 8 (NeuTRENO).
#pragma once

#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct ValueDifference {
  Scalar lambda;
  HeadTable<HeadRows<Scalar>> v_first;  // per (sequence, kv head): [S x E_v], of which the last T_b are read
  HeadTable<HeadRows<Scalar>> v;
};

/// out = o + lambda (v_first - v), the difference repeated for the query heads of a group. out may be o.
template <class Scalar>
void add_value_difference(const ValueDifference<Scalar>& in, Division rows, const View<Scalar>& o, MutableView<Scalar> out,
                          Workers& workers) {
  const Index G = in.v.heads;
  workers.run(in.v.sequences * G, [&](Index job, Arena& arena) {
    const Arena::Scope scope(arena);
    const Index b = job / G, g = job % G;
    const HeadRows<Scalar>&first = in.v_first.at(b, g), &own = in.v.at(b, g);
    const Index width = own.width, group = o.cols() / (G * width), past = own.rows - rows.rows(b);
    const Index past_first = first.rows - rows.rows(b);
    Scalar* first_row = arena.take<Scalar>(width);
    Scalar* own_row = arena.take<Scalar>(width);
    MutableView<Scalar> target = out;
    const auto lambda = detail::Lanes<Scalar>::all(in.lambda);
    for (Index t = 0; t < rows.rows(b); ++t)
      for (Index h = g * group; h < (g + 1) * group; ++h) {
        const Index row = rows.begin(b) + t;
        detail::transform(
            width, detail::row_of(target, row) + h * width,
            [&](auto o_h, auto v_first, auto v) { return multiply_add(lambda, v_first - v, o_h); },
            detail::row_of(o, row) + h * width, first.row(past_first + t, first_row), own.row(past + t, own_row));
      }
  });
}

/// Adds to the gradients of v_first and v; that of o is d_out. Sequences are whole.
template <class Scalar>
void add_value_difference_backward(const ValueDifference<Scalar>& in, Division rows, const View<Scalar>& d_out,
                                   Workers& workers) {
  const Index G = in.v.heads;
  workers.run(in.v.sequences * G, [&](Index job, Arena&) {
    const Index b = job / G, g = job % G;
    const HeadRows<Scalar>&first = in.v_first.at(b, g), &own = in.v.at(b, g);
    const Index width = own.width, group = d_out.cols() / (G * width);
    for (Index t = 0; t < rows.rows(b); ++t)
      for (Index h = g * group; h < (g + 1) * group; ++h) {
        const Scalar* d = detail::row_of(d_out, rows.begin(b) + t) + h * width;
        // out_h = o_h + lambda (v_first - v)   =>   d_v -= lambda d_out_h,  d_v_first += lambda d_out_h
        detail::add_scaled(own.gradient + t * own.gradient_stride, -in.lambda, d, width);
        detail::add_scaled(first.gradient + t * first.gradient_stride, in.lambda, d, width);
      }
  });
}

}  // namespace heed::inline HEED_ABI
