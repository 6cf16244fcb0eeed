// One head of one sequence of the recurrence of Mamba-2: a single row by the recurrence itself, several in chunks, and the
// gradient of the chunks.
//
//   S_t = exp(dt_t a) S_{t-1} + dt_t b_t^T x_t       S [N x P], b_t, c_t [1 x N], x_t, y_t [1 x P]
//   y_t = c_t S_t + d x_t
//
// A chunk of rows is a masked attention without softmax; with z = dt a, all sums <= 0:
//
//   scores_{ts} = exp(z_{s+1} + ... + z_t) dt_s (c_t . b_s)                     s <= t, both in the chunk
//   y_t = exp(z_0 + ... + z_t) c_t S + sum_{s <= t} scores_{ts} x_s + d x_t      S from before the chunk
//   S  <- exp(z_0 + ... + z_last) S + sum_s exp(z_{s+1} + ... + z_last) dt_s b_s^T x_s
//
// source: Dao and Gu 2024 (arXiv 2405.21060), section 6
#pragma once

#include <algorithm>
#include <utility>

#include "../../core/arena.hpp"
#include "../product.hpp"

namespace heed::inline HEED_ABI::detail {

// One head of one sequence.
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

// to += d row, for a row of P columns
template <class Scalar>
void add_skip(Scalar* to, const View<Scalar>& d, const Scalar* row, Index P) {
  if (d.cols() == 1) return add_scaled(to, d(0, 0), row, P);
  transform(
      P, to, [](auto sum, auto d_p, auto value) { return multiply_add(d_p, value, sum); }, to, d.data(), row);
}

// Rows of a triangle are whole lanes long, and what is beyond their diagonal may hold anything.
inline constexpr Index triangle_rows = 4;

// C_i += sum_{j <= i} A_ij B_j for a square A [n x n]. What is above the diagonal is not touched, not even times zero.
template <class Scalar>
void accumulate_lower(Scalar* c, Index c_row, const Scalar* a, Index a_row, const Scalar* b, Index b_row, Index n,
                      Index width) {
  for (Index i = 0; i < n; i += triangle_rows) {
    const Index rows = (std::min)(triangle_rows, n - i);
    accumulate(c + i * c_row, c_row, Strided<Scalar>{a + i * a_row, a_row, 1}, b, b_row, rows, width, i);
    for (Index r = i; r < i + rows; ++r)
      accumulate(c + r * c_row, c_row, Strided<Scalar>{a + r * a_row + i, a_row, 1}, b + i * b_row, b_row, Index(1), width,
                 r - i + 1);
  }
}

// C_j += sum_{i >= j} A_ij B_i
template <class Scalar>
void accumulate_lower_transposed(Scalar* c, Index c_row, const Scalar* a, Index a_row, const Scalar* b, Index b_row,
                                 Index n, Index width) {
  for (Index j = 0; j < n; j += triangle_rows) {
    const Index rows = (std::min)(triangle_rows, n - j), below = j + rows;
    for (Index r = j; r < below; ++r)
      accumulate(c + r * c_row, c_row, Strided<Scalar>{a + r * a_row + r, 1, a_row}, b + r * b_row, b_row, Index(1), width,
                 below - r);
    if (below < n)
      accumulate(c + j * c_row, c_row, Strided<Scalar>{a + below * a_row + j, 1, a_row}, b + below * b_row, b_row, rows,
                 width, n - below);
  }
}

// out_ij = a_i . b_j for j <= i
template <class Scalar>
void assign_lower_dots(Scalar* out, Index out_row, const Scalar* a, Index a_row, const Scalar* b, Index b_row, Index n,
                       Index width) {
  std::fill_n(out, n * out_row, Scalar(0));
  for (Index i = 0; i < n; i += triangle_rows) {
    const Index rows = (std::min)(triangle_rows, n - i);
    accumulate_dots(out + i * out_row, out_row, a + i * a_row, a_row, b, b_row, rows, i + rows, width);
  }
}

// to = factor from, where they may be the same.
template <class Scalar>
void assign_scaled(Scalar* to, Scalar factor, const Scalar* from, Index n) {
  const auto f = Lanes<Scalar>::all(factor);
  transform(
      n, to, [&](auto value) { return f * value; }, from);
}

// Walks the rows of a chunk: after next(t), log_decay_s = z_{s+1} + ... + z_t for s <= t, and from_start = z_0 + ... + z_t.
// The sums are formed, not differences of sums from the start, which would cancel where the decay is strong.
template <class Scalar>
struct DecayWalk {
  Scalar* log_decay;
  Scalar from_start = 0;

  void next(Index t, Scalar z) {
    const auto added = Lanes<Scalar>::all(z);
    transform(
        whole_lanes<Scalar>(t), log_decay, [&](auto sum) { return sum + added; }, log_decay);
    log_decay[t] = Scalar(0);
    from_start += z;
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

// `state` holds the state before the rows, which is zero if `empty`, and then the one after them if that is `wanted`.
template <class Scalar>
void ssd_chunks(const SsdHead<Scalar>& in, Index chunk, bool empty, Scalar* state, bool wanted, Scalar* kept,
                MutableView<Scalar> y, Arena& scratch) {
  const Index T = in.x.rows(), P = in.x.cols(), N = in.b.cols(), Q = (std::min)(chunk, T);
  const Index row = whole_lanes<Scalar>(Q);
  const Index x_row = in.x.outerStride(), b_row = in.b.outerStride(), c_row = in.c.outerStride(), y_row = y.outerStride();
  Scalar* scores = scratch.take<Scalar>(Q * row);         // [Q x row]
  Scalar* weighted_x = scratch.take<Scalar>(Q * P);       // [Q x P]
  Scalar* log_decay = scratch.take_zeroed<Scalar>(row);   // [1 x Q]
  Scalar* from_start = scratch.take_zeroed<Scalar>(row);  // [1 x Q]
  Scalar* dt = scratch.take_zeroed<Scalar>(row);          // [1 x Q]
  for (Index begin = 0; begin < T; begin += chunk) {
    const Index n = (std::min)(chunk, T - begin);
    const Scalar* x = in.x.data() + begin * x_row;
    const Scalar* b = in.b.data() + begin * b_row;
    const Scalar* c = in.c.data() + begin * c_row;
    Scalar* y_0 = y.data() + begin * y_row;
    if (begin > 0 && kept != nullptr) kept = std::copy_n(state, N * P, kept);
    for (Index t = 0; t < n; ++t) dt[t] = in.dt(begin + t, 0);

    assign_lower_dots(scores, row, c, c_row, b, b_row, n, N);
    DecayWalk<Scalar> walk{log_decay};
    const auto weigh = [](auto score, auto sum, auto step) { return exponential(sum) * step * score; };
    for (Index t = 0; t < n; ++t) {
      walk.next(t, dt[t] * in.a);
      transform(whole_lanes<Scalar>(t + 1), scores + t * row, weigh, scores + t * row, log_decay, dt);
      from_start[t] = walk.from_start;
    }
    transform(
        whole_lanes<Scalar>(n), from_start, [](auto sum) { return exponential(sum); }, from_start);

    const bool state_is_zero = empty && begin == 0;
    for (Index t = 0; t < n; ++t) std::fill_n(y_0 + t * y_row, P, Scalar(0));
    if (!state_is_zero) {
      accumulate(y_0, y_row, Strided<Scalar>{c, c_row, 1}, state, P, n, P, N);
      for (Index t = 0; t < n; ++t) assign_scaled(y_0 + t * y_row, from_start[t], y_0 + t * y_row, P);
    }
    accumulate_lower(y_0, y_row, scores, row, x, x_row, n, P);
    for (Index t = 0; t < n; ++t) add_skip(y_0 + t * y_row, in.d, x + t * x_row, P);

    if (begin + n == T && !wanted) break;
    transform(
        whole_lanes<Scalar>(n), log_decay, [](auto sum, auto step) { return exponential(sum) * step; }, log_decay, dt);
    for (Index t = 0; t < n; ++t) assign_scaled(weighted_x + t * P, log_decay[t], x + t * x_row, P);
    if (!state_is_zero) assign_scaled(state, from_start[n - 1], state, N * P);
    accumulate(state, P, Strided<Scalar>{b, 1, b_row}, weighted_x, P, N, P, n);
  }
}

// Where the gradients of one head of one sequence are added.
template <class Scalar>
struct SsdHeadGradients {
  MutableView<Scalar> x;   // [T x P]
  MutableView<Scalar> dt;  // [T x 1]
  MutableView<Scalar> b;   // [T x N]
  MutableView<Scalar> c;   // [T x N]
  Scalar* a;
  Scalar* d;  // [1 x 1] or [1 x P]
};

// kept: the states before the chunks 1, 2, ...
template <class Scalar>
void ssd_chunks_backward(const SsdHead<Scalar>& in, Index chunk, const Scalar* kept, View<Scalar> d_y,
                         SsdHeadGradients<Scalar> d, Arena& scratch) {
  const Index T = in.x.rows(), P = in.x.cols(), N = in.b.cols(), Q = (std::min)(chunk, T);
  const Index row = whole_lanes<Scalar>(Q);
  const Index x_row = in.x.outerStride(), b_row = in.b.outerStride(), c_row = in.c.outerStride(),
              d_y_row = d_y.outerStride();
  const Index d_x_row = d.x.outerStride(), d_b_row = d.b.outerStride(), d_c_row = d.c.outerStride();
  Scalar* scores = scratch.take<Scalar>(Q * row);   // [Q x row]
  Scalar* d_dots = scratch.take<Scalar>(Q * row);   // [Q x row]  gradient of c_t . b_s
  Scalar* d_steps = scratch.take<Scalar>(Q * row);  // [Q x row]  what pair (t, s) adds to the gradient of dt_s as a factor
  Scalar* by_state = scratch.take<Scalar>(Q * N);   // [Q x N]
  Scalar* weighted = scratch.take<Scalar>(Q * P);   // [Q x P]
  Scalar* d_state = scratch.take_zeroed<Scalar>(N * P);   // [N x P]  of the state after the chunk
  Scalar* log_decay = scratch.take_zeroed<Scalar>(row);   // [1 x Q]
  Scalar* decay = scratch.take_zeroed<Scalar>(row);       // [1 x Q]  after the loop over t: from row s to the end
  Scalar* from_start = scratch.take_zeroed<Scalar>(row);  // [1 x Q]
  Scalar* dt = scratch.take_zeroed<Scalar>(row);          // [1 x Q]
  Scalar* d_dt = scratch.take<Scalar>(Q);                 // [1 x Q]  of dt as a factor of x
  Scalar* d_z = scratch.take<Scalar>(Q);                  // [1 x Q]
  const Index last = (T - 1) / chunk;
  for (Index index = last; index >= 0; --index) {
    const Index begin = index * chunk, n = (std::min)(chunk, T - begin);
    const Scalar* state = index > 0 ? kept + (index - 1) * N * P : nullptr;  // zero before the first chunk
    const Scalar* x = in.x.data() + begin * x_row;
    const Scalar* b = in.b.data() + begin * b_row;
    const Scalar* c = in.c.data() + begin * c_row;
    const Scalar* g = d_y.data() + begin * d_y_row;
    Scalar* d_x = d.x.data() + begin * d_x_row;
    Scalar* d_b = d.b.data() + begin * d_b_row;
    Scalar* d_c = d.c.data() + begin * d_c_row;
    for (Index t = 0; t < n; ++t) dt[t] = in.dt(begin + t, 0);

    // The forward's scores, and  y_t = ... + sum_{s <= t} scores_ts x_s   =>   d_scores_ts = d_y_t . x_s
    assign_lower_dots(scores, row, c, c_row, b, b_row, n, N);
    assign_lower_dots(d_dots, row, g, d_y_row, x, x_row, n, P);
    DecayWalk<Scalar> walk{log_decay};
    for (Index t = 0; t < n; ++t) {
      walk.next(t, dt[t] * in.a);
      from_start[t] = walk.from_start;
      // scores_ts = decay_ts dt_s (c_t . b_s)   =>   d (c_t . b_s) = decay_ts dt_s d_scores_ts,  d_dt_s += decay_ts (c_t .
      // b_s) d_scores_ts
      const auto product = [](auto p, auto q, auto r) { return p * q * r; };
      transform(
          whole_lanes<Scalar>(t + 1), decay, [](auto sum) { return exponential(sum); }, log_decay);
      transform(whole_lanes<Scalar>(t + 1), d_steps + t * row, product, decay, scores + t * row, d_dots + t * row);
      transform(whole_lanes<Scalar>(t + 1), d_dots + t * row, product, decay, dt, d_dots + t * row);
      transform(whole_lanes<Scalar>(t + 1), scores + t * row, product, decay, dt, scores + t * row);
    }
    transform(
        whole_lanes<Scalar>(n), from_start, [](auto sum) { return exponential(sum); }, from_start);

    // S' = exp(z_0 + ... + z_last) S + sum_s to_end_s dt_s b_s^T x_s   =>   d_b_s += to_end_s dt_s x_s d_S'^T,
    //      d_x_s += to_end_s dt_s b_s d_S',  d_dt_s += to_end_s b_s . (x_s d_S'^T),  d_S = exp(z_0 + ... + z_last) d_S'
    // and d_z_r takes what flows through the decays of all s < r, and of S.
    std::fill_n(d_dt, n, Scalar(0));
    std::fill_n(d_z, n, Scalar(0));
    if (index < last) {
      const Scalar* to_end = decay;
      std::fill_n(by_state, n * N, Scalar(0));
      accumulate_dots(by_state, N, x, x_row, d_state, P, n, N, P);
      Scalar through = state != nullptr ? from_start[n - 1] * dot(d_state, state, N * P) : Scalar(0);
      for (Index s = 0; s < n; ++s) {
        Scalar* x_d_state = by_state + s * N;
        d_dt[s] = to_end[s] * dot(b + s * b_row, x_d_state, N);
        d_z[s] = through;
        through += dt[s] * d_dt[s];
        add_scaled(d_b + s * d_b_row, to_end[s] * dt[s], x_d_state, N);
        assign_scaled(x_d_state, to_end[s] * dt[s], b + s * b_row, N);
      }
      accumulate(d_x, d_x_row, Strided<Scalar>{by_state, N, 1}, d_state, P, n, P, N);
      assign_scaled(d_state, from_start[n - 1], d_state, N * P);
    }

    // y_t = ... + d x_t   =>   d_d += d_y_t . x_t,  d_x_t += d d_y_t
    for (Index t = 0; t < n; ++t) {
      if (in.d.cols() == 1)
        *d.d += dot(g + t * d_y_row, x + t * x_row, P);
      else
        transform(
            P, d.d, [](auto sum, auto d_y_p, auto x_p) { return multiply_add(d_y_p, x_p, sum); }, d.d, g + t * d_y_row,
            x + t * x_row);
      add_skip(d_x + t * d_x_row, in.d, g + t * d_y_row, P);
    }

    // y_t = ... + sum_{s <= t} scores_ts x_s   =>   d_x_s += sum_{t >= s} scores_ts d_y_t,  d_c_t += sum_{s <= t} d_dots_ts
    // b_s,
    //                                              d_b_s += sum_{t >= s} d_dots_ts c_t
    accumulate_lower_transposed(d_x, d_x_row, scores, row, g, d_y_row, n, P);
    accumulate_lower(d_c, d_c_row, d_dots, row, b, b_row, n, N);
    accumulate_lower_transposed(d_b, d_b_row, d_dots, row, c, c_row, n, N);
    // d_z_r += sum_{s < r <= t} dt_s d_steps_ts: the sum over t of the rows from r on, then over s.
    Scalar* rows_below = log_decay;
    std::fill_n(rows_below, n, Scalar(0));
    for (Index r = n - 1; r >= 0; --r) {
      transform(
          whole_lanes<Scalar>(r + 1), rows_below, [](auto sum, auto added) { return sum + added; }, rows_below,
          d_steps + r * row);
      d_z[r] += dot(dt, rows_below, r);
      d_dt[r] += rows_below[r];
    }

    // y_t = exp(z_0 + ... + z_t) c_t S + ...   =>   d_c_t += exp(..) d_y_t S^T,  d_S += exp(..) c_t^T d_y_t,
    //                                              d_z_r += sum_{t >= r} exp(..) c_t . (d_y_t S^T)
    if (state != nullptr) {
      std::fill_n(by_state, n * N, Scalar(0));
      accumulate_dots(by_state, N, g, d_y_row, state, P, n, N, P);
      Scalar through = 0;
      for (Index t = n - 1; t >= 0; --t) {
        add_scaled(d_c + t * d_c_row, from_start[t], by_state + t * N, N);
        through += from_start[t] * dot(c + t * c_row, by_state + t * N, N);
        d_z[t] += through;
        assign_scaled(weighted + t * P, from_start[t], g + t * d_y_row, P);
      }
      accumulate(d_state, P, Strided<Scalar>{c, 1, c_row}, weighted, P, N, P, n);
    }

    // z_t = dt_t a   =>   d_dt_t += a d_z_t,  d_a += dt_t d_z_t
    for (Index t = 0; t < n; ++t) {
      d.dt(begin + t, 0) += in.a * d_z[t] + d_dt[t];
      *d.a += dt[t] * d_z[t];
    }
  }
}

}  // namespace heed::inline HEED_ABI::detail
