// The gradient of a chunk of the recurrence of Mamba-2, in products of matrices like the chunk itself (ssd_chunk.hpp).
//
//   scores_{ts} = decay_{ts} (c_t . b_s)
//   y_t = start_t c_t S + sum_{s <= t} scores_{ts} x'_s + d x_t         x'_s = dt_s x_s
//   S'  = start_last S + sum_s to_end_s b_s^T x'_s                      to_end_s = decay_{last,s}
//
// What the heads of a group add to d (c_t . b_s) is summed before it becomes d_b and d_c.
#pragma once

#include "ssd_chunk.hpp"

namespace heed::inline HEED_ABI::detail {

/// What the gradient of a chunk takes, besides what the chunk takes.
template <class Scalar>
struct SsdChunkBackwardScratch {
  SsdChunkScratch<Scalar> forward;
  Scalar* c_t;       // [N x row]
  Scalar* input_t;   // [P x row]  x'
  Scalar* d_dots;    // [Q x row]  of c_t . b_s, the sum over the heads of a group
  Scalar* d_pairs;   // [Q x row]  d_y_t . x'_s, then what pair (t, s) adds to the gradients of the decays between them
  Scalar* state_t;   // [P x whole lanes of N]
  Scalar* by_state;  // [Q x N]
  Scalar* d_input;   // [Q x P]  of x'
  Scalar* weighted;  // [Q x P]
  Scalar* below;     // [1 x row]
  Scalar* d_z;       // [1 x Q]  of dt_t a

  SsdChunkBackwardScratch(Index Q, Index P, Index N, Arena& arena)
      : forward(Q, P, N, arena),
        c_t(arena.take_zeroed<Scalar>(N * whole_lanes<Scalar>(Q))),
        input_t(arena.take_zeroed<Scalar>(P * whole_lanes<Scalar>(Q))),
        d_dots(arena.take_zeroed<Scalar>(Q * whole_lanes<Scalar>(Q))),
        d_pairs(arena.take_zeroed<Scalar>(Q * whole_lanes<Scalar>(Q))),
        state_t(arena.take_zeroed<Scalar>(P * whole_lanes<Scalar>(N))),
        by_state(arena.take<Scalar>(Q * N)),
        d_input(arena.take<Scalar>(Q * P)),
        weighted(arena.take<Scalar>(Q * P)),
        below(arena.take_zeroed<Scalar>(whole_lanes<Scalar>(Q))),
        d_z(arena.take<Scalar>(Q)) {}
  static std::size_t bytes(Index Q, Index P, Index N) {
    const auto of = [](Index elements) { return Arena::bytes_of<Scalar>(elements); };
    const Index row = whole_lanes<Scalar>(Q);
    return SsdChunkScratch<Scalar>::bytes(Q, P, N) + of(N * row) + of(P * row) + 2 * of(Q * row) +
           of(P * whole_lanes<Scalar>(N)) + of(Q * N) + 2 * of(Q * P) + of(row) + of(Q);
  }

  /// Before the first head of a group in a chunk.
  void begin_group(const SsdHead<Scalar>& in) {
    forward.pairs.assign(in);
    transpose(c_t, forward.pairs.row, in.c.data(), in.c.outerStride(), in.c.rows(), in.c.cols());
    std::fill_n(d_dots, in.c.rows() * forward.pairs.row, Scalar(0));
  }
  /// After the last one. d_b, d_c: where the gradients of the group are added.
  void end_group(const SsdHead<Scalar>& in, MutableView<Scalar> d_b, MutableView<Scalar> d_c) {
    const Index n = in.b.rows(), N = in.b.cols(), row = forward.pairs.row;
    // dots_ts = c_t . b_s   =>   d_c_t += sum_{s <= t} d_dots_ts b_s,  d_b_s += sum_{t >= s} d_dots_ts c_t
    for_blocks<Scalar>(n, N, [&](auto block, Index t, Index j) {
      Scalar* at = d_c.data() + t * d_c.outerStride() + j;
      block.load(at, d_c.outerStride());
      block.add_lower({d_dots + t * row, row, 1}, in.b.data() + j, in.b.outerStride(), t);
      block.store(at, d_c.outerStride());
    });
    for_blocks<Scalar>(n, N, [&](auto block, Index s, Index j) {
      Scalar* at = d_b.data() + s * d_b.outerStride() + j;
      block.load(at, d_b.outerStride());
      block.add_lower_transposed({d_dots + s * row + s, row, 1}, in.c.data() + s * in.c.outerStride() + j,
                                 in.c.outerStride(), n - s);
      block.store(at, d_b.outerStride());
    });
  }
};

/// Where the gradients of the rows of one head of one sequence are added.
template <class Scalar>
struct SsdHeadGradients {
  MutableView<Scalar> x;   // [T x P]
  MutableView<Scalar> dt;  // [T x 1]
  MutableView<Scalar> b;   // [T x N]  of the heads of a group
  MutableView<Scalar> c;   // [T x N]
  Scalar* a;
  Scalar* d;  // [1 x 1] or [1 x P]
};

/// One head, between begin_group and end_group. state [N x P]: before the chunk, null where it is zero. d_state [N x P]: of
/// the state after the chunk, null where nothing came after; it becomes that of the state before the chunk, in
/// d_state_before, unless state is null.
template <class Scalar>
void ssd_chunk_backward(const SsdHead<Scalar>& in, const Scalar* state, const Scalar* d_state, Scalar* d_state_before,
                        View<Scalar> d_y, SsdHeadGradients<Scalar> d, SsdChunkBackwardScratch<Scalar>& scratch) {
  const Index n = in.x.rows(), P = in.x.cols(), N = in.b.cols(), row = scratch.forward.pairs.row;
  const Index N_row = whole_lanes<Scalar>(N);
  const Index x_row = in.x.outerStride(), b_row = in.b.outerStride(), c_row = in.c.outerStride(), g_row = d_y.outerStride();
  const Scalar *x = in.x.data(), *b = in.b.data(), *c = in.c.data(), *g = d_y.data();
  const Scalar* dots = scratch.forward.pairs.dots;
  Scalar *scores = scratch.forward.scores, *input = scratch.forward.input, *d_pairs = scratch.d_pairs,
         *d_dots = scratch.d_dots;
  Scalar *d_input = scratch.d_input, *weighted = scratch.weighted, *d_z = scratch.d_z, *by_state = scratch.by_state;
  SsdDecays<Scalar>& decays = scratch.forward.decays;
  assign_scaled_rows(input, P, in.dt.data(), in.dt.outerStride(), x, x_row, n, P);
  decays.assign(in);

  // y_t = ... + sum_{s <= t} scores_ts x'_s,  scores_ts = decay_ts dots_ts
  //   =>   d_dots_ts += decay_ts (d_y_t . x'_s),  and scores_ts (d_y_t . x'_s) to each decay between s and t
  transpose(scratch.input_t, row, input, P, n, P);
  SsdPairs<Scalar>::assign_lower_product(d_pairs, row, g, g_row, scratch.input_t, row, n, P);
  decays.walk([&](Index t, Index s, Lanes<Scalar> decay) {
    const Index at = t * row + s;
    const Lanes<Scalar> score = decay * Lanes<Scalar>::load(dots + at), pair = Lanes<Scalar>::load(d_pairs + at);
    score.store(scores + at);
    multiply_add(decay, pair, Lanes<Scalar>::load(d_dots + at)).store(d_dots + at);
    (score * pair).store(d_pairs + at);
  });
  // d_z_r = sum_{s < r <= t} of these: the sum over the rows t from r on, then over s.
  std::fill_n(scratch.below, row, Scalar(0));
  for (Index r = n - 1; r >= 0; --r) {
    transform(
        whole_lanes<Scalar>(r + 1), scratch.below, [](auto sum, auto added) { return sum + added; }, scratch.below,
        d_pairs + r * row);
    d_z[r] = sum_over(
        r, [](auto value) { return value; }, scratch.below);
  }

  // S' = start_last S + sum_s to_end_s b_s^T x'_s   =>   d_x'_s = to_end_s b_s d_S',  d_b_s += to_end_s x'_s d_S'^T,
  //      and what flows through the decays of s < r and of S to d_z_r
  const Scalar* to_end = decays.to_row;
  if (d_state != nullptr) {
    for_blocks<Scalar>(n, P, [&](auto block, Index s, Index p) {
      block.set_zero();
      block.add({b + s * b_row, b_row, 1}, d_state + p, P, N);
      block.scale_rows(to_end + s, 1);
      block.store(d_input + s * P + p, P);
    });
    Scalar through = state != nullptr ? decays.start[n - 1] * dot(d_state, state, N * P) : Scalar(0);
    for (Index s = 0; s < n; ++s) {
      d_z[s] += through;
      through += dot(input + s * P, d_input + s * P, P);
    }
    assign_scaled_rows(weighted, P, to_end, Index(1), input, P, n, P);
    transpose(scratch.state_t, N_row, d_state, P, N, P);
    for_blocks<Scalar>(n, N, [&](auto block, Index s, Index j) {
      Scalar* at = d.b.data() + s * d.b.outerStride() + j;
      block.load(at, d.b.outerStride());
      block.add({weighted + s * P, P, 1}, scratch.state_t + j, N_row, P);
      block.store(at, d.b.outerStride());
    });
  }

  // y_t = ... + sum_{s <= t} scores_ts x'_s   =>   d_x'_s += sum_{t >= s} scores_ts d_y_t
  for_blocks<Scalar>(n, P, [&](auto block, Index s, Index p) {
    if (d_state != nullptr)
      block.load(d_input + s * P + p, P);
    else
      block.set_zero();
    block.add_lower_transposed({scores + s * row + s, row, 1}, g + s * g_row + p, g_row, n - s);
    block.store(d_input + s * P + p, P);
  });
  // x'_s = dt_s x_s,  y_s = ... + d x_s   =>   d_x_s += dt_s d_x'_s + d d_y_s,  d_dt_s += d_x'_s . x_s,  d_d += d_y_s . x_s
  for (Index s = 0; s < n; ++s) {
    const Scalar *x_s = x + s * x_row, *g_s = g + s * g_row, *d_input_s = d_input + s * P;
    Scalar* d_x_s = d.x.data() + s * d.x.outerStride();
    const auto step = Lanes<Scalar>::all(in.dt(s, 0));
    const auto add = [&](auto sum, auto d_in, auto skip, auto d_y_p) {
      return multiply_add(skip, d_y_p, multiply_add(step, d_in, sum));
    };
    if (in.d.cols() == 1) {
      const auto skip = Lanes<Scalar>::all(in.d(0, 0));
      transform(
          P, d_x_s, [&](auto sum, auto d_in, auto d_y_p) { return add(sum, d_in, skip, d_y_p); }, d_x_s, d_input_s, g_s);
      *d.d += dot(g_s, x_s, P);
    } else {
      transform(P, d_x_s, add, d_x_s, d_input_s, in.d.data(), g_s);
      transform(
          P, d.d, [](auto sum, auto d_y_p, auto x_p) { return multiply_add(d_y_p, x_p, sum); }, d.d, g_s, x_s);
    }
    d.dt(s, 0) += dot(d_input_s, x_s, P);
  }

  // y_t = start_t c_t S + ...   =>   d_c_t += start_t d_y_t S^T,  d_S += start_t c_t^T d_y_t,
  //                                  d_z_r += sum_{t >= r} start_t c_t . (d_y_t S^T)
  // S'  = start_last S + ...    =>   d_S += start_last d_S'
  if (state != nullptr) {
    assign_scaled_rows(weighted, P, decays.start, Index(1), g, g_row, n, P);
    transpose(scratch.state_t, N_row, state, P, N, P);
    for_blocks<Scalar>(n, N, [&](auto block, Index t, Index j) {
      block.set_zero();
      block.add({weighted + t * P, P, 1}, scratch.state_t + j, N_row, P);
      block.store(by_state + t * N + j, N);
    });
    Scalar through = 0;
    for (Index t = n - 1; t >= 0; --t) {
      add_scaled(d.c.data() + t * d.c.outerStride(), Scalar(1), by_state + t * N, N);
      through += dot(c + t * c_row, by_state + t * N, N);
      d_z[t] += through;
    }
    for_blocks<Scalar>(N, P, [&](auto block, Index i, Index p) {
      if (d_state != nullptr) {
        block.load(d_state + i * P + p, P);
        block.scale_rows(decays.start + n - 1, 0);
      } else {
        block.set_zero();
      }
      block.add({scratch.c_t + i * row, row, 1}, weighted + p, P, n);
      block.store(d_state_before + i * P + p, P);
    });
  }

  // z_t = dt_t a   =>   d_dt_t += a d_z_t,  d_a += dt_t d_z_t
  for (Index t = 0; t < n; ++t) {
    d.dt(t, 0) += in.a * d_z[t];
    *d.a += in.dt(t, 0) * d_z[t];
  }
}

}  // namespace heed::inline HEED_ABI::detail
