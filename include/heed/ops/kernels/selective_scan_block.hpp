// Some channels of one sequence of the recurrence of Mamba-1: its rows one after another, and their gradient.
//
//   h_tn = exp(dt_t a_n) h_{t-1,n} + dt_t x_t b_tn       channels are the lanes; n runs over the states
//   y_t  = sum_n c_tn h_tn + d x_t
//
// source: Gu and Dao 2023 (arXiv 2312.00752), algorithm 2
#pragma once

#include <algorithm>
#include <utility>

#include "../../core/arena.hpp"
#include "../lanes.hpp"

namespace heed::inline HEED_ABI::detail {

// Of a job: wide enough that a row of them repays its start, narrow enough that their states stay near.
inline constexpr Index scan_channels = 256;

template <class Scalar>
struct ScanBlock {
  View<Scalar> x;   // [T x w]
  View<Scalar> dt;  // [T x w]
  View<Scalar> a;   // [N x w]
  View<Scalar> b;   // [T x N]
  View<Scalar> c;   // [T x N]
  const Scalar* d;  // [1 x w]
};

/// Null: absent. Rows are `row` apart.
template <class Scalar>
struct ScanBlockStates {
  const Scalar* before;  // [N x w]
  Scalar* after;         // [N x w]
  Scalar* kept;          // [states x N x w]
  Index row;
};

// The rows of a job are short and far apart, so that hardware does not see what comes next. Always inlined: see ask_for.
template <class... Views>
EIGEN_ALWAYS_INLINE void prefetch_rows(Index begin, Index end, const Views&... views) {
  for (Index t = begin; t < end; ++t) (ask_for_row(views.data() + t * views.outerStride(), views.cols()), ...);
}

template <class Scalar>
void copy_rows(Scalar* to, Index to_row, const Scalar* from, Index from_row, Index rows, Index width) {
  if (to == from) return;
  for (Index i = 0; i < rows; ++i) std::copy_n(from + i * from_row, width, to + i * to_row);
}

/// e^(dt a) for dt a <= 0: of the lanes `step`, which are dt times `scale`, and a. In float with SIMD as a power of two,
/// exactly 1 where dt is zero and exactly 0 where it would be too small to be a normal number:
///   2^x = 2^n 2^r,   n = x rounded,   2^r = 1 + r P(r) for |r| <= 1/2 to 0.8 eps
template <class Scalar>
struct ScanDecay {
  static constexpr bool in_powers_of_two = sizeof(Scalar) == 4 && full_width<Scalar> > 1;
  static constexpr double log2_e = 1.44269504088896340736;
  static constexpr Scalar scale = static_cast<Scalar>(in_powers_of_two ? log2_e : 1.0);

  static Lanes<Scalar> of(Lanes<Scalar> step, Lanes<Scalar> a) {
    if constexpr (!in_powers_of_two)
      return exponential(step * a);
    else
      return power_of_two(step * a);
  }

 private:
  static Lanes<Scalar> power_of_two(Lanes<Scalar> x) {
    using Packet = Lanes<Scalar>;
    using Integers = typename Eigen::internal::unpacket_traits<typename Packet::Packet>::integer_packet;
    const auto constant = [](double value) { return Packet::all(static_cast<Scalar>(value)); };
    // Added to it, x is rounded to n, and the lowest bits of the sum are n + 126. Shifted to the place of the exponent they
    // are 2^(n-1), and exactly zero for the least n; the other factor 2 is in the polynomial.
    const Packet rounding = constant(12582912.0 + 126.0);
    const Packet near = maximum(x, constant(-126.0));
    const Packet shifted = near + rounding;
    const Packet r = near - (shifted - rounding);
    Packet twice = multiply_add(constant(2 * 0.0013264728998618), r, constant(2 * 0.0096715143109669));
    twice = multiply_add(twice, r, constant(2 * 0.05550733754256));
    twice = multiply_add(twice, r, constant(2 * 0.24022242059741));
    twice = multiply_add(twice, r, constant(2 * 0.69314697758364));
    twice = multiply_add(twice, r, constant(2.0));
    const auto half_power = Eigen::internal::plogical_shift_left<23>(Eigen::internal::preinterpret<Integers>(shifted.raw));
    return twice * Packet{Eigen::internal::preinterpret<typename Packet::Packet>(half_power)};
  }
};

/// Rows that are `apart` from each other.
template <class Scalar>
struct ScanRows {
  const Scalar* first;
  Index apart;

  const Scalar* operator[](Index i) const { return first + i * apart; }
  ScanRows from(Index column) const { return {first + column, apart}; }
};

/// Some rows of one packet of channels. Rows of step, dt_x and y are `row` apart.
template <class Scalar>
struct ScanStrip {
  Index rows;
  const Scalar* step;  // [rows x lanes]  dt ScanDecay::scale
  const Scalar* dt_x;  // [rows x lanes]
  Scalar* y;           // [rows x lanes]  added to
  Index row;
  ScanRows<Scalar> a;       // [N x lanes]
  ScanRows<Scalar> b;       // [rows x N]
  ScanRows<Scalar> c;       // [rows x N]
  ScanRows<Scalar> before;  // [N x lanes]
  Scalar* after;            // [N x lanes], rows as far apart as those of before; may be before
};

// Few enough that the states stay in registers, beside what a step needs.
template <class Scalar>
inline constexpr int scan_states_at_once = sizeof(Scalar) == 4 ? EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS / 2 : 4;

// h_n <- exp(dt a_n) h_n + dt x b_n,   y += sum_n c_n h_n        for the states n0 + n
template <class Scalar, Index... n>
void scan_states(std::integer_sequence<Index, n...>, ScanStrip<Scalar> at, Index n0) {
  using Packet = Lanes<Scalar>;
  Packet h[] = {Packet::load(at.before[n0 + n])...};
  for (Index t = 0; t < at.rows; ++t) {
    const Packet step = Packet::load(at.step + t * at.row), dt_x = Packet::load(at.dt_x + t * at.row);
    const Scalar* b = at.b[t] + n0;
    const Scalar* c = at.c[t] + n0;
    Packet y = Packet::load(at.y + t * at.row);
    ((h[n] = multiply_add(ScanDecay<Scalar>::of(step, Packet::load(at.a[n0 + n])), h[n], dt_x * Packet::all(b[n])),
      y = multiply_add(Packet::all(c[n]), h[n], y)),
     ...);
    y.store(at.y + t * at.row);
  }
  (h[n].store(at.after + (n0 + n) * at.before.apart), ...);
}

// f(states, n0) for all N states, as many at once as there are; the rest by halves.
template <int states, class F>
void in_blocks_of_states(Index N, Index n0, F&& f) {
  for (; n0 + states <= N; n0 += states) f(std::make_integer_sequence<Index, states>(), n0);
  if constexpr (states > 1) in_blocks_of_states<states / 2>(N, n0, f);
}

/// Without rows the state stays what it was.
template <class Scalar>
void scan_no_rows(const ScanBlockStates<Scalar>& states, Index N, Index w) {
  if (states.after == nullptr) return;
  if (states.before != nullptr) return copy_rows(states.after, states.row, states.before, states.row, N, w);
  for (Index n = 0; n < N; ++n) std::fill_n(states.after + n * states.row, w, Scalar(0));
}

// Of a tile: what is copied of x and dt, and y, stay near while the states pass over them one packet of channels after
// another.
inline constexpr Index scan_tile_rows = 32;

/// The rows of a sequence, one or more. y is assigned. Several rows work on copies of a and h, whose rows touch: where C is
/// a power of two, rows C apart fall on the same few places of a cache.
template <class Scalar>
void scan_rows(const ScanBlock<Scalar>& in, Index chunk, const ScanBlockStates<Scalar>& states, MutableView<Scalar> y,
               Arena& scratch) {
  const Index T = in.x.rows(), w = in.x.cols(), N = in.a.rows(), W = whole_lanes<Scalar>(w);
  const Index tile = (std::min)(T, scan_tile_rows);
  const bool in_place = T == 1 && w == W && states.before != nullptr && states.after != nullptr;
  Scalar* step = scratch.take_zeroed<Scalar>(tile * W);  // [tile x W]
  Scalar* dt_x = scratch.take_zeroed<Scalar>(tile * W);  // [tile x W]
  Scalar* sums = scratch.take_zeroed<Scalar>(tile * W);  // [tile x W]  rows of y
  ScanRows<Scalar> a{in.a.data(), in.a.outerStride()}, before{states.before, states.row};
  Scalar* h = states.after;
  if (!in_place) {
    Scalar* own_a = scratch.take_zeroed<Scalar>(N * W);  // [N x W]
    h = scratch.take_zeroed<Scalar>(N * W);              // [N x W]
    copy_rows(own_a, W, a.first, a.apart, N, w);
    if (states.before != nullptr) copy_rows(h, W, states.before, states.row, N, w);
    a = {own_a, W}, before = {h, W};
  }

  const auto row = [](const auto& view, Index t) { return view.data() + t * view.outerStride(); };
  const auto product = [](auto p, auto q) { return p * q; };
  const auto scaled = [](auto dt) { return ScanDecay<Scalar>::scale * dt; };
  Scalar* kept = states.kept;
  Index rows = 0;
  for (Index begin = 0; begin < T; begin += rows) {
    rows = (std::min)(tile, T - begin);
    if (kept != nullptr) {
      rows = (std::min)(rows, chunk - begin % chunk);
      if (begin > 0 && begin % chunk == 0) {
        copy_rows(kept, states.row, h, W, N, w);
        kept += N * states.row;
      }
    }
    for (Index t = 0; t < rows; ++t) {
      transform(w, step + t * W, scaled, row(in.dt, begin + t));
      transform(w, dt_x + t * W, product, row(in.dt, begin + t), row(in.x, begin + t));
      transform(w, sums + t * W, product, in.d, row(in.x, begin + t));
    }
    for (Index i = 0; i < W; i += full_width<Scalar>) {
      // While this tile is computed, a part of the next is fetched, and of where this one goes.
      const Index first = begin + rows * i / W, last = begin + rows * (i + full_width<Scalar>) / W;
      prefetch_rows(first, last, y);
      prefetch_rows(first + rows, (std::min)(last + rows, T), in.x, in.dt);
      const ScanStrip<Scalar> strip{.rows = rows,
                                    .step = step + i,
                                    .dt_x = dt_x + i,
                                    .y = sums + i,
                                    .row = W,
                                    .a = a.from(i),
                                    .b = {row(in.b, begin), in.b.outerStride()},
                                    .c = {row(in.c, begin), in.c.outerStride()},
                                    .before = before.from(i),
                                    .after = h + i};
      in_blocks_of_states<scan_states_at_once<Scalar>>(N, 0, [&](auto n, Index n0) { scan_states(n, strip, n0); });
    }
    copy_rows(y.data() + begin * y.outerStride(), y.outerStride(), sums, W, rows, w);
  }
  if (states.after != nullptr && !in_place) copy_rows(states.after, states.row, h, W, N, w);
}

/// Where the gradients are added; those of b and c are assigned, their rows touch.
template <class Scalar>
struct ScanBlockGradients {
  MutableView<Scalar> x;   // [T x w]
  MutableView<Scalar> dt;  // [T x w]
  MutableView<Scalar> a;   // [N x w]
  Scalar* d;               // [1 x w]
  Scalar* b;               // [T x N]
  Scalar* c;               // [T x N]
};

/// Some rows of one packet of channels.
template <class Scalar>
struct ScanStripBackward {
  Index rows;
  // Rows `row` apart.
  Index row;
  const Scalar* step;  // [rows x lanes]  dt ScanDecay::scale
  const Scalar* dt;    // [rows x lanes]
  const Scalar* dt_x;  // [rows x lanes]
  const Scalar* d_y;   // [rows x lanes]
  Scalar* d_h_b;       // [rows x lanes]  added to: what dt x takes
  Scalar* d_decay_a;   // [rows x lanes]  added to: what dt takes through the decay
  // Rows `state` apart.
  Index state;
  const Scalar* a;       // [N x lanes]
  const Scalar* before;  // [N x lanes]  h before the rows
  Scalar* d_h;           // [N x lanes]  in: of h after the rows; out: of h before them
  Scalar* d_a;           // [N x lanes]  added to
  // Rows `sums` apart; added to, over channels as far apart as a packet is wide.
  Index sums;
  Scalar* d_b;  // [rows x N x lanes]
  Scalar* d_c;  // [rows x N x lanes]

  ScanRows<Scalar> b;  // [rows x N]
  ScanRows<Scalar> c;  // [rows x N]
  Scalar* h;           // [rows+1 x states x lanes] room
  Scalar* decay;       // [rows x states x lanes] room
};

/// One state of one row and packet.
template <class Scalar>
struct ScanStateBackward {
  const Scalar* a;
  Scalar b, c;
  const Scalar* decay;     // exp(dt a)
  const Scalar* h_before;  // h_{t-1}
  const Scalar* h_after;   // h_t
  Scalar* d_b;             // added to
  Scalar* d_c;             // added to
};

/// What the states of one row and packet share.
template <class Scalar>
struct ScanRowBackward {
  using Packet = Lanes<Scalar>;
  Packet d_y, dt, dt_x;
  Packet d_h_b;      // what dt x takes
  Packet d_decay_a;  // what dt takes through the decay

  /// d_h: in: of h_t through later rows; out: of h_{t-1}. d_a is added to.
  EIGEN_ALWAYS_INLINE void retreat(const ScanStateBackward<Scalar>& n, Packet& d_h, Packet& d_a) {
    // y = sum_n c_n h_n + ...   =>   d_h_n += c_n d_y,  d_c_n += d_y . h_n
    d_h = multiply_add(d_y, Packet::all(n.c), d_h);
    multiply_add(d_y, Packet::load(n.h_after), Packet::load(n.d_c)).store(n.d_c);
    // h_n = exp(dt a_n) h'_n + dt x b_n   =>   d_b_n += d_h_n . (dt x),  d_(dt x) += d_h_n b_n,
    //                                          d_h'_n = exp(dt a_n) d_h_n,
    //                                          d_a_n += dt d_h'_n h'_n,  d_dt += a_n d_h'_n h'_n
    multiply_add(d_h, dt_x, Packet::load(n.d_b)).store(n.d_b);
    d_h_b = multiply_add(d_h, Packet::all(n.b), d_h_b);
    d_h = d_h * Packet::load(n.decay);
    const Packet through_decay = d_h * Packet::load(n.h_before);
    d_a = multiply_add(dt, through_decay, d_a);
    d_decay_a = multiply_add(Packet::load(n.a), through_decay, d_decay_a);
  }
};

// Few enough that their gradients and those of a stay in registers, and the room of a chunk in the first cache.
template <class Scalar>
inline constexpr int scan_states_backward_at_once = sizeof(Scalar) == 4 ? EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS / 4 : 4;

// For the states n0 + n: those of the rows once more, then their gradient.
template <class Scalar, Index... n>
void scan_states_backward(std::integer_sequence<Index, n...>, ScanStripBackward<Scalar> at, Index n0) {
  using Packet = Lanes<Scalar>;
  constexpr Index lanes = full_width<Scalar>, states = sizeof...(n);
  const Scalar* a = at.a + n0 * at.state;
  Packet h[] = {Packet::load(at.before + (n0 + n) * at.state)...};
  (h[n].store(at.h + n * lanes), ...);
  for (Index t = 0; t < at.rows; ++t) {
    const Packet step = Packet::load(at.step + t * at.row), dt_x = Packet::load(at.dt_x + t * at.row);
    const Scalar* b = at.b[t] + n0;
    Packet decay;
    ((decay = ScanDecay<Scalar>::of(step, Packet::load(a + n * at.state)),
      h[n] = multiply_add(decay, h[n], dt_x * Packet::all(b[n])),  //
      decay.store(at.decay + (t * states + n) * lanes), h[n].store(at.h + ((t + 1) * states + n) * lanes)),
     ...);
  }

  Packet d_h[] = {Packet::load(at.d_h + (n0 + n) * at.state)...};
  Packet d_a[] = {Packet::load(at.d_a + (n0 + n) * at.state)...};
  for (Index t = at.rows - 1; t >= 0; --t) {
    const auto load = [&](const Scalar* from) { return Packet::load(from + t * at.row); };
    ScanRowBackward<Scalar> row{load(at.d_y), load(at.dt), load(at.dt_x), load(at.d_h_b), load(at.d_decay_a)};
    const Scalar* b = at.b[t] + n0;
    const Scalar* c = at.c[t] + n0;
    const Scalar* h_before = at.h + t * states * lanes;
    const Scalar* decay = at.decay + t * states * lanes;
    Scalar* d_b = at.d_b + t * at.sums + n0 * lanes;
    Scalar* d_c = at.d_c + t * at.sums + n0 * lanes;
    (row.retreat({.a = a + n * at.state,
                  .b = b[n],
                  .c = c[n],
                  .decay = decay + n * lanes,
                  .h_before = h_before + n * lanes,
                  .h_after = h_before + (states + n) * lanes,
                  .d_b = d_b + n * lanes,
                  .d_c = d_c + n * lanes},
                 d_h[n], d_a[n]),
     ...);
    row.d_h_b.store(at.d_h_b + t * at.row);
    row.d_decay_a.store(at.d_decay_a + t * at.row);
  }
  (d_h[n].store(at.d_h + (n0 + n) * at.state), ...);
  (d_a[n].store(at.d_a + (n0 + n) * at.state), ...);
}

/// kept: the states before the chunks 1, 2, ..., their rows `kept_row` apart. T >= 1.
template <class Scalar>
void scan_rows_backward(const ScanBlock<Scalar>& in, Index chunk, const Scalar* kept, Index kept_row, View<Scalar> d_y,
                        ScanBlockGradients<Scalar> d, Arena& scratch) {
  constexpr Index lanes = full_width<Scalar>;
  constexpr int states = scan_states_backward_at_once<Scalar>;
  const Index T = in.x.rows(), w = in.x.cols(), N = in.a.rows(), Q = (std::min)(chunk, T);
  // A packet more than rows are wide: a column of them would else fall on few places of a cache.
  const Index W = whole_lanes<Scalar>(w), P = W + lanes, M = (N + 1) * lanes;
  const auto of_states = [&] { return scratch.take_zeroed<Scalar>(N * W); };  // [N x W]
  const auto of_rows = [&] { return scratch.take_zeroed<Scalar>(Q * P); };    // [Q x W]
  Scalar *a = of_states(), *before = of_states(), *d_h = of_states(), *d_a = of_states();
  Scalar *step = of_rows(), *dt = of_rows(), *dt_x = of_rows(), *g = of_rows();  // g: d_y
  Scalar *d_h_b = of_rows(), *d_decay_a = of_rows();
  Scalar* d_d = scratch.take_zeroed<Scalar>(W);
  Scalar* d_b = scratch.take<Scalar>(Q * M);                   // [Q x N x lanes]
  Scalar* d_c = scratch.take<Scalar>(Q * M);                   // [Q x N x lanes]
  Scalar* h = scratch.take<Scalar>((Q + 1) * states * lanes);  // [Q+1 x states x lanes]
  Scalar* decay = scratch.take<Scalar>(Q * states * lanes);    // [Q x states x lanes]
  copy_rows(a, W, in.a.data(), in.a.outerStride(), N, w);
  const auto row = [](const auto& view, Index t) { return view.data() + t * view.outerStride(); };
  const auto product = [](auto p, auto q) { return p * q; };
  const auto scaled = [](auto p) { return ScanDecay<Scalar>::scale * p; };

  for (Index index = (T - 1) / chunk; index >= 0; --index) {
    const Index begin = index * chunk, rows = (std::min)(chunk, T - begin);
    if (index > 0)
      copy_rows(before, W, kept + (index - 1) * N * kept_row, kept_row, N, w);
    else
      std::fill_n(before, N * W, Scalar(0));
    for (Index t = 0; t < rows; ++t) {
      std::copy_n(row(in.dt, begin + t), w, dt + t * P);
      std::copy_n(row(d_y, begin + t), w, g + t * P);
      transform(w, step + t * P, scaled, row(in.dt, begin + t));
      transform(w, dt_x + t * P, product, row(in.dt, begin + t), row(in.x, begin + t));
    }
    for (Scalar* sums : {d_h_b, d_decay_a}) std::fill_n(sums, rows * P, Scalar(0));
    for (Scalar* sums : {d_b, d_c}) std::fill_n(sums, rows * M, Scalar(0));

    for (Index i = 0; i < W; i += lanes) {
      // While this chunk is computed, a part of the next is fetched, and of where this one goes.
      const Index first = begin + rows * i / W, last = begin + rows * (i + lanes) / W;
      prefetch_rows(first, last, d.x, d.dt);
      if (index > 0) prefetch_rows(first - rows, last - rows, in.x, in.dt, d_y);
      const ScanStripBackward<Scalar> strip{.rows = rows,
                                            .row = P,
                                            .step = step + i,
                                            .dt = dt + i,
                                            .dt_x = dt_x + i,
                                            .d_y = g + i,
                                            .d_h_b = d_h_b + i,
                                            .d_decay_a = d_decay_a + i,
                                            .state = W,
                                            .a = a + i,
                                            .before = before + i,
                                            .d_h = d_h + i,
                                            .d_a = d_a + i,
                                            .sums = M,
                                            .d_b = d_b,
                                            .d_c = d_c,
                                            .b = {row(in.b, begin), in.b.outerStride()},
                                            .c = {row(in.c, begin), in.c.outerStride()},
                                            .h = h,
                                            .decay = decay};
      in_blocks_of_states<states>(N, 0, [&](auto n, Index n0) { scan_states_backward(n, strip, n0); });
    }

    for (Index t = 0; t < rows; ++t)
      for (Index n = 0; n < N; ++n) {
        d.b[(begin + t) * N + n] = Lanes<Scalar>::load(d_b + t * M + n * lanes).sum();
        d.c[(begin + t) * N + n] = Lanes<Scalar>::load(d_c + t * M + n * lanes).sum();
      }
    for (Index t = 0; t < rows; ++t) {
      // y = ... + d x   =>   d_x += d d_y,  d_d += d_y x        d_(dt x) = d_h_b   =>   d_x += dt d_h_b,  d_dt += x d_h_b
      const Scalar* x = row(in.x, begin + t);
      Scalar* d_x = d.x.data() + (begin + t) * d.x.outerStride();
      Scalar* d_dt = d.dt.data() + (begin + t) * d.dt.outerStride();
      transform(
          w, d_x,
          [](auto sum, auto d_i, auto g_i, auto dt_i, auto h_b) {
            return multiply_add(dt_i, h_b, multiply_add(d_i, g_i, sum));
          },
          d_x, in.d, g + t * P, dt + t * P, d_h_b + t * P);
      transform(
          w, d_d, [](auto sum, auto g_i, auto x_i) { return multiply_add(g_i, x_i, sum); }, d_d, g + t * P, x);
      transform(
          w, d_dt, [](auto sum, auto decay_a, auto x_i, auto h_b) { return sum + multiply_add(x_i, h_b, decay_a); }, d_dt,
          d_decay_a + t * P, x, d_h_b + t * P);
    }
  }
  for (Index n = 0; n < N; ++n) add_scaled(d.a.data() + n * d.a.outerStride(), Scalar(1), d_a + n * W, w);
  add_scaled(d.d, Scalar(1), d_d, w);
}

}  // namespace heed::inline HEED_ABI::detail
