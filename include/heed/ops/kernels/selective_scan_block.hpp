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
inline constexpr Index scan_channels = 128;

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

// The rows of a job are short and far apart, so that hardware does not see what comes next.
inline constexpr Index rows_ahead = 2;
template <class View>
void prefetch_row(const View& view, Index t) {
  using Scalar = typename View::Scalar;
  for (Index i = 0; i < view.cols(); i += Index(64 / sizeof(Scalar)))
    Eigen::internal::prefetch(view.data() + t * view.outerStride() + i);
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
void scan_states(std::integer_sequence<Index, n...>, const ScanStrip<Scalar>& at, Index n0) {
  using Packet = Lanes<Scalar>;
  Packet h[] = {Packet::load(at.before[n0 + n])...};
  for (Index t = 0; t < at.rows; ++t) {
    const Packet step = Packet::load(at.step + t * at.row), dt_x = Packet::load(at.dt_x + t * at.row);
    const Scalar* b = at.b[t] + n0;
    const Scalar* c = at.c[t] + n0;
    Packet y = Packet::load(at.y + t * at.row);
    const auto advance = [&](Index i) {
      h[i] = multiply_add(ScanDecay<Scalar>::of(step, Packet::load(at.a[n0 + i])), h[i], dt_x * Packet::all(b[i]));
      y = multiply_add(Packet::all(c[i]), h[i], y);
    };
    (advance(n), ...);
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
      if (begin + t + rows_ahead < T) {
        prefetch_row(in.x, begin + t + rows_ahead);
        prefetch_row(in.dt, begin + t + rows_ahead);
      }
      transform(w, step + t * W, scaled, row(in.dt, begin + t));
      transform(w, dt_x + t * W, product, row(in.dt, begin + t), row(in.x, begin + t));
      transform(w, sums + t * W, product, in.d, row(in.x, begin + t));
    }
    for (Index i = 0; i < W; i += full_width<Scalar>) {
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

// One state n of one row, over whole lanes W; beyond the channels everything is zero.
template <class Scalar>
struct ScanStep {
  const Scalar* d_y;
  const Scalar* dt;
  const Scalar* dt_x;
  const Scalar* a;
  const Scalar* decay;   // exp(dt a)
  const Scalar* before;  // h_{t-1}
  const Scalar* after;   // h_t
  Scalar b, c;
  Scalar* d_h;        // in: of h_t through later rows; out: of h_{t-1}
  Scalar* d_a;        // added to
  Scalar* d_h_b;      // added to: what dt x takes
  Scalar* d_decay_a;  // added to: what dt takes through the decay
  Scalar* d_b;        // assigned
  Scalar* d_c;        // assigned
};

template <class Scalar>
void scan_step_backward(const ScanStep<Scalar>& at, Index W) {
  using Packet = Lanes<Scalar>;
  const Packet b = Packet::all(at.b), c = Packet::all(at.c);
  Packet d_b = Packet::all(Scalar(0)), d_c = d_b;
  for (Index i = 0; i < W; i += full_width<Scalar>) {
    const auto load = [i](const Scalar* from) { return Packet::load(from + i); };
    const Packet d_y = load(at.d_y), decay = load(at.decay);
    // y = sum_n c_n h_n + d x   =>   d_h_n += c_n d_y,  d_c_n += d_y . h_n
    const Packet d_h = multiply_add(c, d_y, load(at.d_h));
    d_c = multiply_add(d_y, load(at.after), d_c);
    // h_n = exp(dt a_n) h'_n + dt x b_n   =>   d_b_n += d_h_n . (dt x),  d_(dt x) += d_h_n b_n,  d_h'_n = exp(dt a_n)
    // d_h_n,
    //                                          d_a_n += dt d_h_n exp(dt a_n) h'_n,  d_dt += a_n d_h_n exp(dt a_n) h'_n
    d_b = multiply_add(d_h, load(at.dt_x), d_b);
    multiply_add(d_h, b, load(at.d_h_b)).store(at.d_h_b + i);
    const Packet through_decay = d_h * (decay * load(at.before));
    multiply_add(load(at.dt), through_decay, load(at.d_a)).store(at.d_a + i);
    multiply_add(load(at.a), through_decay, load(at.d_decay_a)).store(at.d_decay_a + i);
    (decay * d_h).store(at.d_h + i);
  }
  *at.d_b = d_b.sum();
  *at.d_c = d_c.sum();
}

/// kept: the states before the chunks 1, 2, ..., their rows `kept_row` apart. T >= 1.
template <class Scalar>
void scan_rows_backward(const ScanBlock<Scalar>& in, Index chunk, const Scalar* kept, Index kept_row, View<Scalar> d_y,
                        ScanBlockGradients<Scalar> d, Arena& scratch) {
  const Index T = in.x.rows(), w = in.x.cols(), N = in.a.rows(), Q = (std::min)(chunk, T);
  const Index W = whole_lanes<Scalar>(w), state = N * W;
  Scalar* h = scratch.take_zeroed<Scalar>((Q + 1) * state);  // [Q+1 x N x W]  before row 0, after row 0, ...
  Scalar* decay = scratch.take_zeroed<Scalar>(Q * state);    // [Q x N x W]
  Scalar* d_h = scratch.take_zeroed<Scalar>(state);          // [N x W]
  Scalar* d_a = scratch.take_zeroed<Scalar>(state);          // [N x W]
  Scalar* a = scratch.take_zeroed<Scalar>(state);            // [N x W]
  Scalar* dt = scratch.take_zeroed<Scalar>(W);
  Scalar* x = scratch.take_zeroed<Scalar>(W);
  Scalar* g = scratch.take_zeroed<Scalar>(W);  // d_y
  Scalar* dt_x = scratch.take_zeroed<Scalar>(W);
  Scalar* d_d = scratch.take_zeroed<Scalar>(W);
  Scalar* d_h_b = scratch.take<Scalar>(W);
  Scalar* d_decay_a = scratch.take<Scalar>(W);
  copy_rows(a, W, in.a.data(), in.a.outerStride(), N, w);
  const auto product = [](auto p, auto q) { return p * q; };
  const auto add_product = [](auto sum, auto p, auto q) { return multiply_add(p, q, sum); };
  const auto row = [](const View<Scalar>& view, Index t) { return view.data() + t * view.outerStride(); };

  for (Index index = (T - 1) / chunk; index >= 0; --index) {
    const Index begin = index * chunk, rows = (std::min)(chunk, T - begin);
    // The chunk's states once more, from the one before it.
    if (index > 0)
      copy_rows(h, W, kept + (index - 1) * N * kept_row, kept_row, N, w);
    else
      std::fill_n(h, state, Scalar(0));
    for (Index t = 0; t < rows; ++t) {
      if (t + rows_ahead < rows) {
        prefetch_row(in.x, begin + t + rows_ahead);
        prefetch_row(in.dt, begin + t + rows_ahead);
        prefetch_row(d_y, begin + t + rows_ahead);
      }
      transform(w, dt_x, product, row(in.dt, begin + t), row(in.x, begin + t));
      for (Index n = 0; n < N; ++n) {
        Scalar* decay_n = decay + t * state + n * W;
        const auto b_n = Lanes<Scalar>::all(row(in.b, begin + t)[n]);
        transform(
            w, decay_n, [](auto dt_i, auto a_i) { return exponential(dt_i * a_i); }, row(in.dt, begin + t), a + n * W);
        transform(
            w, h + (t + 1) * state + n * W,
            [&](auto k, auto h_i, auto dt_x_i) { return multiply_add(k, h_i, dt_x_i * b_n); }, decay_n,
            h + t * state + n * W, dt_x);
      }
    }

    for (Index t = rows - 1; t >= 0; --t) {
      std::copy_n(row(in.dt, begin + t), w, dt);
      std::copy_n(row(in.x, begin + t), w, x);
      std::copy_n(row(d_y, begin + t), w, g);
      transform(w, dt_x, product, dt, x);
      std::fill_n(d_h_b, W, Scalar(0));
      std::fill_n(d_decay_a, W, Scalar(0));
      for (Index n = 0; n < N; ++n) {
        const Index at = t * state + n * W, out = (begin + t) * N + n;
        scan_step_backward(ScanStep<Scalar>{.d_y = g,
                                            .dt = dt,
                                            .dt_x = dt_x,
                                            .a = a + n * W,
                                            .decay = decay + at,
                                            .before = h + at,
                                            .after = h + at + state,
                                            .b = row(in.b, begin + t)[n],
                                            .c = row(in.c, begin + t)[n],
                                            .d_h = d_h + n * W,
                                            .d_a = d_a + n * W,
                                            .d_h_b = d_h_b,
                                            .d_decay_a = d_decay_a,
                                            .d_b = d.b + out,
                                            .d_c = d.c + out},
                           W);
      }
      // y = ... + d x   =>   d_x += d d_y,  d_d += d_y x        d_(dt x) = d_h_b   =>   d_x += dt d_h_b,  d_dt += x d_h_b
      Scalar* d_x = d.x.data() + (begin + t) * d.x.outerStride();
      Scalar* d_dt = d.dt.data() + (begin + t) * d.dt.outerStride();
      transform(w, d_x, add_product, d_x, in.d, g);
      transform(w, d_x, add_product, d_x, dt, d_h_b);
      transform(w, d_d, add_product, d_d, g, x);
      transform(
          w, d_dt, [](auto sum, auto decay_a, auto x_i, auto h_b) { return sum + multiply_add(x_i, h_b, decay_a); }, d_dt,
          d_decay_a, x, d_h_b);
    }
  }
  for (Index n = 0; n < N; ++n) add_scaled(d.a.data() + n * d.a.outerStride(), Scalar(1), d_a + n * W, w);
  add_scaled(d.d, Scalar(1), d_d, w);
}

}  // namespace heed::inline HEED_ABI::detail
