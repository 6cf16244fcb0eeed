// v = l_first v_first + l_own v_own
//
//   v, v_own [T x G E_v]   the new rows of all sequences
//   v_first                per (sequence, kv head) the last T_b of its rows [S x E_v]
//   l_first, l_own         [1 x 1] one for all, [1 x G] one a head, or [T x G] one a row and head
// Source: Zhou et al. 2024 (arXiv 2410.17897), ResFormer, eq. 7 and its weighted forms.
#pragma once

#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "lanes.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

namespace detail {

/// Where the coefficient of a row and head is.
template <class Coefficients>
Index coefficient_at(const Coefficients& l, Index row, Index head) {
  return (l.rows() == 1 ? 0 : row * l.outerStride()) + (l.cols() == 1 ? 0 : head);
}

/// Where the gradients of coefficients are added. What several rows or heads share is summed by job, and then in the order
/// of the jobs.
template <class Scalar>
class CoefficientSums {
 public:
  CoefficientSums(MutableView<Scalar> d_l, Index jobs, Arena& scratch)
      : d_l_(d_l), jobs_(d_l.rows() == 1 ? jobs : 0), sums_(scratch.take_zeroed<Scalar>(jobs_)) {}

  Scalar& at(Index job, Index row, Index head) {
    return d_l_.rows() == 1 ? sums_[job] : d_l_.data()[coefficient_at(d_l_, row, head)];
  }
  /// heads: the head of job j is j mod heads.
  void add_up(Index heads) {
    for (Index job = 0; job < jobs_; ++job) d_l_.data()[coefficient_at(d_l_, 0, job % heads)] += sums_[job];
  }

 private:
  MutableView<Scalar> d_l_;
  Index jobs_;
  Scalar* sums_;  // [jobs]
};

/// f(b, g, job, arena) for every (sequence, head) of the table.
template <class Scalar, class F>
void for_heads(const HeadTable<HeadRows<Scalar>>& table, Workers& workers, F&& f) {
  workers.run(table.sequences * table.heads,
              [&](Index job, Arena& arena) { f(job / table.heads, job % table.heads, job, arena); });
}

}  // namespace detail

template <class Scalar>
struct MixInputs {
  View<Scalar> l_first;                 // [1 x 1], [1 x G] or [T x G]
  HeadTable<HeadRows<Scalar>> v_first;  // per (sequence, kv head): [S x E_v], of which the last T_b are mixed
  View<Scalar> l_own;                   // [1 x 1], [1 x G] or [T x G]
  View<Scalar> v_own;                   // [T x G E_v]
};

/// v = l_first v_first + l_own v_own. v may be v_own.
template <class Scalar>
void mix(const MixInputs<Scalar>& in, Division rows, MutableView<Scalar> v, Workers& workers) {
  detail::for_heads(in.v_first, workers, [&](Index b, Index g, Index, Arena& arena) {
    const Arena::Scope scope(arena);
    const HeadRows<Scalar>& first = in.v_first.at(b, g);
    Scalar* widened = arena.take<Scalar>(first.width);
    const Index past = first.rows - rows.rows(b);
    MutableView<Scalar> out = v;
    for (Index t = 0; t < rows.rows(b); ++t) {
      const Index row = rows.begin(b) + t;
      const auto l_first = detail::Lanes<Scalar>::all(in.l_first.data()[detail::coefficient_at(in.l_first, row, g)]);
      const auto l_own = detail::Lanes<Scalar>::all(in.l_own.data()[detail::coefficient_at(in.l_own, row, g)]);
      detail::transform(
          first.width, detail::row_of(out, row) + g * first.width,
          [&](auto v_first, auto v_own) { return multiply_add(l_first, v_first, l_own * v_own); },
          first.row(past + t, widened), detail::row_of(in.v_own, row) + g * first.width);
    }
  });
}

/// v += l v_below      l as l_first, v_below as v_first
template <class Scalar>
void mix_in(const View<Scalar>& l, const HeadTable<HeadRows<Scalar>>& v_below, Division rows, MutableView<Scalar> v,
            Workers& workers) {
  detail::for_heads(v_below, workers, [&](Index b, Index g, Index, Arena& arena) {
    const Arena::Scope scope(arena);
    const HeadRows<Scalar>& below = v_below.at(b, g);
    Scalar* widened = arena.take<Scalar>(below.width);
    const Index past = below.rows - rows.rows(b);
    MutableView<Scalar> out = v;
    for (Index t = 0; t < rows.rows(b); ++t) {
      const Index row = rows.begin(b) + t;
      detail::add_scaled(detail::row_of(out, row) + g * below.width, l.data()[detail::coefficient_at(l, row, g)],
                         below.row(past + t, widened), below.width);
    }
  });
}

/// Adds to d_l and to the gradients of v_below. Sequences are whole.
template <class Scalar>
void mix_in_backward(const View<Scalar>& l, const HeadTable<HeadRows<Scalar>>& v_below, Division rows,
                     const View<Scalar>& d_v, MutableView<Scalar> d_l, Arena& scratch, Workers& workers) {
  const Arena::Scope scope(scratch);
  detail::CoefficientSums<Scalar> sums(d_l, v_below.sequences * v_below.heads, scratch);
  detail::for_heads(v_below, workers, [&](Index b, Index g, Index job, Arena&) {
    const HeadRows<Scalar>& below = v_below.at(b, g);
    for (Index t = 0; t < rows.rows(b); ++t) {
      const Index row = rows.begin(b) + t;
      const Scalar* d = detail::row_of(d_v, row) + g * below.width;
      // v += l v_below   =>   d_l += d_v . v_below,  d_v_below += l d_v
      sums.at(job, row, g) += detail::dot(d, below.data + t * below.stride, below.width);
      detail::add_scaled(below.gradient + t * below.gradient_stride, l.data()[detail::coefficient_at(l, row, g)], d,
                         below.width);
    }
  });
  sums.add_up(v_below.heads);
}

template <class Scalar>
struct MixGradients {
  MutableView<Scalar> l_first;  // as in MixInputs
  MutableView<Scalar> l_own;
  MutableView<Scalar> v_own;
};

/// Adds to these gradients and to those of v_first. Sequences are whole.
template <class Scalar>
void mix_backward(const MixInputs<Scalar>& in, Division rows, const View<Scalar>& d_v, const MixGradients<Scalar>& d,
                  Arena& scratch, Workers& workers) {
  const Arena::Scope scope(scratch);
  detail::CoefficientSums<Scalar> sums(d.l_own, in.v_first.sequences * in.v_first.heads, scratch);
  detail::for_heads(in.v_first, workers, [&](Index b, Index g, Index job, Arena&) {
    const Index width = in.v_first.at(b, g).width;
    MutableView<Scalar> d_v_own = d.v_own;
    for (Index t = 0; t < rows.rows(b); ++t) {
      const Index row = rows.begin(b) + t;
      const Scalar* d_row = detail::row_of(d_v, row) + g * width;
      // v = l_first v_first + l_own v_own   =>   d_l_own += d_v . v_own,  d_v_own += l_own d_v
      sums.at(job, row, g) += detail::dot(d_row, detail::row_of(in.v_own, row) + g * width, width);
      detail::add_scaled(detail::row_of(d_v_own, row) + g * width,
                         in.l_own.data()[detail::coefficient_at(in.l_own, row, g)], d_row, width);
    }
  });
  sums.add_up(in.v_first.heads);
  mix_in_backward(in.l_first, in.v_first, rows, d_v, d.l_first, scratch, workers);
}

}  // namespace heed::inline HEED_ABI
