// One head of a sequence in the recurrence of Mamba-2, and its single row (decoding) by the recurrence itself.
//
//   S_t = exp(dt_t a) S_{t-1} + dt_t b_t^T x_t       S [N x P], b_t, c_t [1 x N], x_t, y_t [1 x P]
//   y_t = c_t S_t + d x_t
//
// The state is read once and written once; nothing else is large.
#pragma once

#include <utility>

#include "../lanes.hpp"

namespace heed::inline HEED_ABI::detail {

// Rows of one head of one sequence.
template <class Scalar>
struct SsdHead {
  View<Scalar> x;   // [T x P]
  View<Scalar> dt;  // [T x 1]
  View<Scalar> b;   // [T x N]
  View<Scalar> c;   // [T x N]
  Scalar a;
  View<Scalar> d;  // [1 x 1], or [1 x P]: one for each column

  // d of the columns from this one on.
  template <class Packet>
  Packet skip(Index column) const {
    return d.cols() == 1 ? Packet::all(d(0, 0)) : Packet::load(d.data() + column);
  }
};

// One row: the recurrence itself, `width` times as many columns of S as I has elements.
template <int width, class Scalar, std::size_t... I>
void ssd_step_columns(std::index_sequence<I...>, const SsdHead<Scalar>& in, Scalar decay, const Scalar* before,
                      Scalar* after, Scalar* y, Index column) {
  using Packet = Lanes<Scalar, width>;
  const Index N = in.b.cols(), P = in.x.cols();
  const Index at[] = {(column + Index(I) * width)...};
  const Packet x[] = {Packet::load(in.x.data() + at[I])...};
  const Packet input[] = {(in.dt(0, 0) * x[I])...};
  const Packet kept = Packet::all(decay);
  Packet sum[] = {(in.template skip<Packet>(at[I]) * x[I])...};
  for (Index n = 0; n < N; ++n) {
    const Packet b = Packet::all(in.b.data()[n]), c = Packet::all(in.c.data()[n]);
    const Packet state[] = {multiply_add(kept, Packet::load(before + n * P + at[I]), b * input[I])...};
    (state[I].store(after + n * P + at[I]), ...);
    ((sum[I] = multiply_add(c, state[I], sum[I])), ...);
  }
  (sum[I].store(y + at[I]), ...);
}

template <int width, class Scalar>
void ssd_step_from(Index column, const SsdHead<Scalar>& in, Scalar decay, const Scalar* before, Scalar* after, Scalar* y) {
  const Index P = in.x.cols();
  for (; column + 4 * width <= P; column += 4 * width)
    ssd_step_columns<width>(std::make_index_sequence<4>(), in, decay, before, after, y, column);
  for (; column + width <= P; column += width)
    ssd_step_columns<width>(std::make_index_sequence<1>(), in, decay, before, after, y, column);
  if constexpr (width > 1)
    if (column < P) ssd_step_from<narrower_width<Scalar, width>>(column, in, decay, before, after, y);
}

// T = 1. after may be before.
template <class Scalar>
void ssd_row(const SsdHead<Scalar>& in, const Scalar* before, Scalar* after, MutableView<Scalar> y) {
  Scalar decay = in.dt(0, 0) * in.a;
  transform(
      Index(1), &decay, [](auto z) { return exponential(z); }, &decay);
  ssd_step_from<full_width<Scalar>>(Index(0), in, decay, before, after, y.data());
}

}  // namespace heed::inline HEED_ABI::detail
