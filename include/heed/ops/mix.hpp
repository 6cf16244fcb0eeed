// v = l_first v_first + l_own v_own
//
//   v, v_own [T x G E]   the new rows of all sequences     v_first   per (sequence, kv head) the last T_b of its [S x E]
//   rows
// Source: Zhou et al. 2024 (arXiv 2410.17897), ResFormer, eq. 7 and its weighted form.
#pragma once

#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "lanes.hpp"

namespace heed::inline HEED_ABI {

/// v = l_first v_first + l_own v_own. v may be v_own.
template <class Scalar>
void mix(Scalar l_first, const HeadTable<HeadRows<Scalar>>& v_first, Scalar l_own, const View<Scalar>& v_own, Division rows,
         MutableView<Scalar> v, Workers& workers) {
  using Packet = detail::Lanes<Scalar>;
  workers.run(v_first.sequences * v_first.heads, [&](Index job, Arena&) {
    const Index b = job / v_first.heads;
    const Index g = job % v_first.heads;
    const HeadRows<Scalar>& first = v_first.at(b, g);
    const Index past = first.rows - rows.rows(b);
    for (Index t = 0; t < rows.rows(b); ++t) {
      const Index at = (rows.begin(b) + t) * v_own.outerStride() + g * first.width;
      Scalar* out = v.data() + (rows.begin(b) + t) * v.outerStride() + g * first.width;
      const auto l_1 = Packet::all(l_first);
      const auto l_2 = Packet::all(l_own);
      detail::transform(
          first.width, out, [&](auto v_1, auto v_n) { return multiply_add(l_1, v_1, l_2 * v_n); },
          first.data + (past + t) * first.stride, v_own.data() + at);
    }
  });
}

/// d_l_first and d_l_own.
template <class Scalar>
struct MixGradients {
  Scalar first;
  Scalar own;
};

/// Adds to the gradients of v_first and to d_v_own; returns those of the two coefficients. Sequences are whole.
template <class Scalar>
MixGradients<Scalar> mix_backward(Scalar l_first, const HeadTable<HeadRows<Scalar>>& v_first, Scalar l_own,
                                  const View<Scalar>& v_own, Division rows, const View<Scalar>& d_v,
                                  MutableView<Scalar> d_v_own, Arena& scratch, Workers& workers) {
  const Arena::Scope scope(scratch);
  const Index jobs = v_first.sequences * v_first.heads;
  auto* partial = scratch.take_zeroed<MixGradients<Scalar>>(jobs);
  workers.run(jobs, [&](Index job, Arena&) {
    const Index b = job / v_first.heads;
    const Index g = job % v_first.heads;
    const HeadRows<Scalar>& first = v_first.at(b, g);
    for (Index t = 0; t < rows.rows(b); ++t) {
      const Index row = rows.begin(b) + t;
      const Scalar* d = d_v.data() + row * d_v.outerStride() + g * first.width;
      const Scalar* v_1 = first.data + t * first.stride;
      const Scalar* v_n = v_own.data() + row * v_own.outerStride() + g * first.width;
      // v = l_first v_first + l_own v_own
      partial[job].own += detail::dot(d, v_n, first.width);
      detail::add_scaled(d_v_own.data() + row * d_v_own.outerStride() + g * first.width, l_own, d, first.width);
      partial[job].first += detail::dot(d, v_1, first.width);
      detail::add_scaled(first.gradient + t * first.gradient_stride, l_first, d, first.width);
    }
  });
  MixGradients<Scalar> sum{};
  for (Index job = 0; job < jobs; ++job) {
    sum.first += partial[job].first;
    sum.own += partial[job].own;
  }
  return sum;
}

}  // namespace heed::inline HEED_ABI
