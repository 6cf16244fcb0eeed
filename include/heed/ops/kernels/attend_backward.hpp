// The backward of attention, for the query heads of one kv head: the tiles of the forward once more.
//
//   P^T = exp(scale K Q^T - lse)     dP^T = V dO^T + echo^T     D = rowsum(dO o O) + rowsum(P o echo)
//   dZ  = P o (dP - D)               dV += P^T dO               dK += dS^T Q               dQ += dS K
//   dS  = scale dZ                   d_bias += dZ               d_sink -= sum_i e^(sink - lse_i) D_i
//   dS  = scale dZ (1 - tanh^2)      under a soft-cap
//
// Source: Dao 2023 (arXiv 2307.08691), algorithm 2. D is rowsum(P o dP); the echo, the gradient of kept probabilities, adds
// its part, and so does a gradient of lse: D - d_lse. A sink is a key whose value is zero: its dP is zero.
#pragma once

#include "attend_tiles.hpp"

namespace heed::inline HEED_ABI::detail {

/// What belongs to a QueryGroup's rows in backward.
template <class Scalar>
struct GroupGradients {
  View<Scalar> log_sum_exp;     // [T x heads]
  View<Scalar> o;               // [T x heads*E_v]
  View<Scalar> d_o;             // [T x heads*E_v]
  MutableView<Scalar> d_q;      // [T x heads*E]
  const Scalar* d_log_sum_exp;  // [T x heads], rows `d_log_sum_exp_stride` apart, or none
  Index d_log_sum_exp_stride;
  Scalar* d_sinks;  // [heads], or none
};

/// d_x[keys] [keys x width] += tile [keys x lanes] y of the rows in `rows`, y having the heads' columns side by side.
template <class Scalar>
void add_rows(Scalar* d_x, Index d_x_stride, const Scalar* tile, const Stacked& s, Interval rows, const Scalar* y,
              Index y_stride, Index width, Index keys) {
  for (Index h = 0; h < s.heads; ++h)
    accumulate(d_x, d_x_stride, Strided<Scalar>{tile + s.lane(h, rows.begin), s.lanes, s.heads},
               y + rows.begin * y_stride + h * width, y_stride, keys, width, rows.size());
}

/// The rest of dS where logits were altered: d_z [keys x lanes] holds P o (dP - D). Adds to the gradients of the biases.
///   derivative   [keys x lanes] 1 - tanh^2, under a soft-cap
template <class Scalar>
void alter_tile_backward(Scalar* d_z, Scalar* p, const QueryGroup<Scalar>& group, const Stacked& s, Index row,
                         Interval keys, Coverage coverage, const Scalar* derivative) {
  // What is hidden may be NaN so far: before it is added, and after it has met a derivative that is NaN too.
  const Interval all{0, s.lanes};
  const auto hide_all = [&](Scalar* tile) {
    if (coverage == Coverage::partial) hide(tile, s, keys, Scalar(0));
    if (group.bias != nullptr)
      for_each_hidden(group, s, all, row, keys, [&](Index lane, Index j) { tile[j * s.lanes + lane] = Scalar(0); });
  };
  hide_all(p);
  hide_all(d_z);
  for (Index h = 0; group.bias != nullptr && h < s.heads; ++h) {
    const ScoreBias<Scalar>& bias = group.bias[h];
    if (bias.gradient == nullptr) continue;
    for (Index i = 0; i < s.rows; ++i) {
      Scalar* d_bias = bias.gradient + (row + i) * bias.gradient_stride + keys.begin;
      for (Index j = 0; j < keys.size(); ++j) d_bias[j] += d_z[j * s.lanes + s.lane(h, i)];
    }
  }
  const Index n = keys.size() * s.lanes;
  const auto scale = Lanes<Scalar>::all(group.scale);
  if (group.soft_cap > 0) {
    transform(
        n, d_z, [&](auto x, auto slope) { return scale * (x * slope); }, d_z, derivative);
    hide_all(d_z);
  } else {
    transform(
        n, d_z, [&](auto x) { return scale * x; }, d_z);
  }
}

/// The rows that see some of the keys: what a causal mask hides of a tile whole is not computed.
inline Interval rows_that_see(const Stacked& s, Interval keys) {
  Interval rows{s.rows, 0};
  for (Index key = keys.begin; key < keys.end; ++key) {
    const Interval seen = s.seen_by(key);
    if (!seen.empty()) rows = {(std::min)(rows.begin, seen.begin), (std::max)(rows.end, seen.end)};
  }
  return rows;
}

/// Rows [row, row + count) of every head.
template <class Scalar>
void attend_block_backward(const QueryGroup<Scalar>& group, const GroupGradients<Scalar>& d, Index row, Index count,
                           Arena& scratch) {
  const HeadRows<Scalar>&k = group.k, &v = group.v;
  const Stacked s = stacked<Scalar>(group.heads, count, group.past + row, group.mask);
  const Scalar* q_rows = group.q + row * group.q_stride;
  const Scalar* d_o_rows = d.d_o.data() + row * d.d_o.outerStride();
  Scalar* q = scratch.take<Scalar>(k.width * s.lanes);             // [E x lanes], scaled
  Scalar* d_o = scratch.take<Scalar>(v.width * s.lanes);           // [E_v x lanes]
  Scalar* d_q = scratch.take_zeroed<Scalar>(k.width * s.lanes);    // [E x lanes]
  Scalar* p = scratch.take<Scalar>(attend_tile_keys * s.lanes);    // [keys x lanes]
  Scalar* d_s = scratch.take<Scalar>(attend_tile_keys * s.lanes);  // [keys x lanes]
  Scalar* subtract = scratch.take_zeroed<Scalar>(s.lanes);
  Scalar* sums = scratch.take_zeroed<Scalar>(s.lanes);                                                   // D
  Scalar* derivative = group.soft_cap > 0 ? scratch.take<Scalar>(attend_tile_keys * s.lanes) : nullptr;  // [keys x lanes]
  Scalar* k_buffer = take_buffer(k, scratch);
  Scalar* v_buffer = take_buffer(v, scratch);
  const auto zero = Lanes<Scalar>::all(Scalar(0));
  const auto lanes = LaneSlopes<Scalar>::make(group, s, scratch);
  pack_lanes(q, s, q_rows, group.q_stride, k.width, group.scale);
  pack_lanes(d_o, s, d_o_rows, d.d_o.outerStride(), v.width, Scalar(1));
  const auto has_echo = [&](Index h) { return group.keeps(h) && group.kept[h].has_gradient(); };
  for (Index h = 0; h < group.heads; ++h) {
    for (Index i = 0; i < count; ++i) {
      subtract[s.lane(h, i)] = subtrahend(d.log_sum_exp(row + i, h));
      sums[s.lane(h, i)] = dot(d_o_rows + i * d.d_o.outerStride() + h * v.width,
                               d.o.data() + (row + i) * d.o.outerStride() + h * v.width, v.width);
    }
    if (has_echo(h)) add_echo_sums(sums + h, group.kept[h], row, count, group.heads);
    // lse = log sum_j e^z_j   =>   d_z_j = p_j d_lse
    for (Index i = 0; d.d_log_sum_exp != nullptr && i < count; ++i)
      sums[s.lane(h, i)] -= d.d_log_sum_exp[(row + i) * d.d_log_sum_exp_stride + h];
    // p_sink = e^(sink - lse), dP_sink = 0   =>   d_sink = sum_i p_sink (0 - D_i)
    for (Index i = 0; d.d_sinks != nullptr && i < count; ++i)
      d.d_sinks[h] -= std::exp(group.sinks[h] - subtract[s.lane(h, i)]) * sums[s.lane(h, i)];
  }
  // As in add_values: where the mask cuts through a tile, what is not finite meets visible pairs only.
  const Interval all_rows{0, count};
  const bool finite_rows = is_finite(q_rows, group.q_stride, group.heads * k.width, all_rows) &&
                           is_finite(d_o_rows, d.d_o.outerStride(), group.heads * v.width, all_rows);

  for_each_tile(s, s.visible(k.rows), [&](Interval keys, Coverage coverage) {
    const Strided<Scalar> k_rows = rows_in(k, keys, k_buffer);
    const bool whole = coverage == Coverage::all || group.alters_logits() || group.kept != nullptr;
    const Interval rows = whole ? all_rows : rows_that_see(s, keys);
    if (rows.empty()) return;
    const Index from = rows.begin * s.heads / full_width<Scalar> * full_width<Scalar>;  // whole packets
    const Index lanes_used = whole_lanes<Scalar>(rows.end * s.heads) - from;
    product_tile(p + from, s.lanes, k_rows, keys.size(), k.width, q + from, lanes_used);
    product_tile(d_s + from, s.lanes, rows_in(v, keys, v_buffer), keys.size(), v.width, d_o + from, lanes_used);
    if (group.alters_logits()) alter_tile(p, group, s, Interval{0, s.lanes}, row, keys, lanes, derivative);
    for (Index h = 0; h < group.heads; ++h)
      if (has_echo(h)) add_echo(d_s + h, s.lanes, group.heads, group.kept[h], row, count, keys);
    const Scalar scale = group.alters_logits() ? Scalar(1) : group.scale;
    for (Index j = 0; j < keys.size(); ++j) {
      Scalar* p_j = p + j * s.lanes;
      Scalar* d_s_j = d_s + j * s.lanes;
      // No probability exceeds 1: of huge logits, the last places differ from those that lse was made of.
      transform(
          lanes_used, p_j + from, [&](auto x, auto lse) { return falling_exponential(minimum(x - lse, zero)); }, p_j + from,
          subtract + from);
      transform(
          lanes_used, d_s_j + from, [&](auto d_p, auto a, auto sum) { return scale * (a * (d_p - sum)); }, d_s_j + from,
          p_j + from, sums + from);
    }
    if (group.alters_logits()) {
      alter_tile_backward(d_s, p, group, s, row, keys, coverage, derivative);
    } else if (coverage == Coverage::partial) {
      hide(p, s, keys, Scalar(0));
      hide(d_s, s, keys, Scalar(0));
    }
    Scalar* d_v = v.gradient + keys.begin * v.gradient_stride;
    Scalar* d_k = k.gradient + keys.begin * k.gradient_stride;
    if ((coverage == Coverage::all && group.bias == nullptr) ||
        (finite_rows && is_finite(k_rows.data, k_rows.row, k.width, Interval{0, keys.size()}))) {
      add_rows(d_v, v.gradient_stride, p, s, rows, d_o_rows, d.d_o.outerStride(), v.width, keys.size());
      add_rows(d_k, k.gradient_stride, d_s, s, rows, q_rows, group.q_stride, k.width, keys.size());
      accumulate(d_q + from, s.lanes, Strided<Scalar>{k_rows.data, 1, k_rows.row}, d_s + from, s.lanes, k.width, lanes_used,
                 keys.size());
      return;
    }
    for (Index j = 0; j < keys.size(); ++j) {
      const Interval seen = s.seen_by(keys.begin + j);
      for (Index h = 0; h < s.heads; ++h)
        for (Index i = seen.begin; i < seen.end; ++i) {
          if (group.hides(h, row + i, keys.begin + j)) continue;
          const Index lane = s.lane(h, i);
          const Scalar p_ij = p[j * s.lanes + lane], d_s_ij = d_s[j * s.lanes + lane];
          add_scaled(d_v + j * v.gradient_stride, p_ij, d_o_rows + i * d.d_o.outerStride() + h * v.width, v.width);
          add_scaled(d_k + j * k.gradient_stride, d_s_ij, q_rows + i * group.q_stride + h * k.width, k.width);
          for (Index e = 0; e < k.width; ++e)
            add_scaled(d_q + e * s.lanes + lane, k_rows.data[j * k_rows.row + e], d_s + j * s.lanes + lane, 1);
        }
    }
  });
  MutableView<Scalar> target = d.d_q;
  add_lanes(target.data() + row * target.outerStride(), target.outerStride(), k.width, s, d_q, k.width);
}

}  // namespace heed::inline HEED_ABI::detail
