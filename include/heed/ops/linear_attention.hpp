// Linear attention: a recurrence over rows in place of a softmax, with decays, and with the delta rule if asked.
//
//   S'_t = diag(exp(g_t)) S_{t-1}             S [N x P], one decay for each key dimension; without decays S' = S
//   u_t  = v_t                                or, by the delta rule, beta_t (v_t - k_t S'_t): what k_t does not give yet
//   S_t  = S'_t + k_t^T u_t
//   y_t  = scale q_t S_t
//
//   q [T x H*N]    k [T x G*N]    v [T x G*P]    g [T x G*N] or [T x G]    beta [T x G]    y [T x H*P]
//   Query head h reads the state of kv head floor(h G / H).
//
// The recurrence of Mamba-2 (ssd.hpp) is the case q = c, k = b, v = dt x and g = dt a, equal for all key dimensions; ssd
// computes that one by products. Here rows run one after another (kernels/linear_attention_rows.hpp), so results have the
// same bits however rows are cut into calls. Backward needs the states between chunks of rows only.
//
// source: Katharopoulos et al. 2020 (arXiv 2006.16236), section 3.4; with decays, Yang et al. 2023 (arXiv 2312.06635); the
// delta rule, Schlag et al. 2021 (arXiv 2102.11174); both, Yang et al. 2024 (arXiv 2412.06464)
#pragma once

#include <algorithm>

#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
#include "kernels/linear_attention_rows.hpp"
#include "product.hpp"
#include "row_blocks.hpp"

namespace heed::inline HEED_ABI {

template <class Scalar>
struct LinearAttentionInputs {
  View<Scalar> q;                                         // [T x H*N]
  View<Scalar> k;                                         // [T x G*N]
  View<Scalar> v;                                         // [T x G*P]
  View<Scalar> g = view_of<Scalar>(nullptr, 0, 0, 0);     // [T x G*N] or [T x G], <= 0; no columns: no decay
  View<Scalar> beta = view_of<Scalar>(nullptr, 0, 0, 0);  // [T x G]; no columns: u = v
  Index heads = 1;                                        ///< H, a multiple of G
  Index kv_heads = 1;                                     ///< G
  double scale = 1;
  Index chunk = 32;  ///< rows between two states that backward reads; no result of forward depends on it

  Index group() const { return heads / kv_heads; }
  Index key_width() const { return k.cols() / kv_heads; }
  Index value_width() const { return v.cols() / kv_heads; }
  bool decays() const { return g.cols() > 0; }
  bool is_delta() const { return beta.cols() > 0; }
};

/// Entries are by (sequence, kv head) and contiguous. A table without entries, or a null entry, is absent.
template <class Scalar>
struct LinearAttentionStates {
  HeadTable<const Scalar*> before = {};  ///< [N x P] read; absent: zero
  HeadTable<Scalar*> after = {};         ///< [N x P] assigned; absent: not wanted; may be the memory of `before`
  /// [linear_attention_kept_states(T_b, chunk) x N x P] assigned, for linear_attention_backward; absent: not wanted
  HeadTable<Scalar*> kept = {};
};

/// Where the gradients are added. g and beta are as wide as those of the inputs.
template <class Scalar>
struct LinearAttentionGradients {
  MutableView<Scalar> q;                                                 // [T x H*N]
  MutableView<Scalar> k;                                                 // [T x G*N]
  MutableView<Scalar> v;                                                 // [T x G*P]
  MutableView<Scalar> g = mutable_view_of<Scalar>(nullptr, 0, 0, 0);     // [T x G*N] or [T x G]
  MutableView<Scalar> beta = mutable_view_of<Scalar>(nullptr, 0, 0, 0);  // [T x G]
};

/// The states that backward over `rows` rows of a sequence needs: those between its chunks.
inline Index linear_attention_kept_states(Index rows, Index chunk) {
  return rows > 0 ? (rows - 1) / chunk : 0;
}

namespace detail {

// Rows whose decays and weights are formed at once, before the columns of the state are walked.
inline constexpr Index linear_attention_rows_together = 8;

// The rows [begin, begin + count) of one kv head, and what is formed of them.
template <class Scalar>
struct LinearAttentionHead {
  const LinearAttentionInputs<Scalar>& in;
  Index kv_head;
  Index N = in.key_width(), P = in.value_width(), G = in.kv_heads;
  bool by_head = in.g.cols() == G && N != 1;
  Scalar* decay;       // [rows x N]
  Scalar* opposite_k;  // [rows x N]
  Scalar* weights;     // [rows x group x N]

  LinearAttentionHead(const LinearAttentionInputs<Scalar>& inputs, Index head, Arena& arena)
      : in(inputs),
        kv_head(head),
        decay(arena.take<Scalar>(linear_attention_rows_together * N)),
        opposite_k(arena.take<Scalar>(linear_attention_rows_together * N)),
        weights(arena.take<Scalar>(linear_attention_rows_together * in.group() * N)) {}

  const Scalar* q(Index t) const { return row_of(in.q, t) + kv_head * in.group() * N; }  // [group x N]
  const Scalar* k(Index t) const { return row_of(in.k, t) + kv_head * N; }
  const Scalar* v(Index t) const { return row_of(in.v, t) + kv_head * P; }

  // exp(g), or ones [1 x N]
  void decays(Index t, Scalar* to) const {
    if (!in.decays()) {
      std::fill_n(to, N, Scalar(1));
      return;
    }
    const Index count = by_head ? 1 : N;
    transform(
        count, to, [](auto g) { return exponential(g); }, row_of(in.g, t) + kv_head * count);
    if (by_head) std::fill_n(to, N, *to);
  }
  LinearAttentionRows<Scalar> rows(Index begin, Index count, Index group) const {
    return {.count = count,
            .key_width = N,
            .value_width = P,
            .group = group,
            .k = {k(begin), in.k.outerStride(), 1},
            .v = {v(begin), in.v.outerStride(), 1},
            .beta = {in.is_delta() ? row_of(in.beta, begin) + kv_head : nullptr, in.beta.outerStride(), 1},
            .decay = decay,
            .opposite_k = opposite_k,
            .q = weights,
            .y = nullptr,
            .y_row = 0};
  }
  // At most linear_attention_rows_together rows; y is assigned.
  void walk(Index begin, Index count, const LinearAttentionPlaces<Scalar>& places, MutableView<Scalar>& y) const {
    const auto scale = Lanes<Scalar>::all(static_cast<Scalar>(in.scale));
    form(begin, count);
    for (Index t = 0; t < count; ++t)
      transform(
          in.group() * N, weights + t * in.group() * N, [&](auto q_n) { return scale * q_n; }, q(begin + t));
    LinearAttentionRows<Scalar> at = rows(begin, count, in.group());
    at.y = row_of(y, begin) + kv_head * in.group() * P;
    at.y_row = y.outerStride();
    linear_attention_rows(at, places);
  }
  // The states alone, of any number of rows.
  void walk(Index begin, Index count, LinearAttentionPlaces<Scalar> places) const {
    for (Index t = 0; t < count; t += linear_attention_rows_together) {
      const Index n = (std::min)(linear_attention_rows_together, count - t);
      form(begin + t, n);
      linear_attention_rows(rows(begin + t, n, 0), places);
      places.after += n * places.step;
      places.before = places.after - places.step;
    }
  }

 private:
  void form(Index begin, Index count) const {
    for (Index t = 0; t < count; ++t) {
      decays(begin + t, decay + t * N);
      if (in.is_delta())
        transform(
            N, opposite_k + t * N, [](auto k_n, auto decay_n) { return Scalar(0) - k_n * decay_n; }, k(begin + t),
            decay + t * N);
    }
  }
};

}  // namespace detail

/// y is assigned, and so are the states after the rows.
template <class Scalar>
void linear_attention(const LinearAttentionInputs<Scalar>& in, Division rows, const LinearAttentionStates<Scalar>& states,
                      MutableView<Scalar> y, Workers& workers) {
  const Index G = in.kv_heads, N = in.key_width(), P = in.value_width();
  HEED_DEBUG_CHECK(rows.rows() == in.q.rows() && in.k.rows() == in.q.rows() && in.v.rows() == in.q.rows());
  HEED_DEBUG_CHECK(G >= 1 && in.heads % G == 0 && in.q.cols() == in.heads * N && y.cols() == in.heads * P && in.chunk >= 1);
  HEED_DEBUG_CHECK(!in.decays() || (in.g.rows() == in.q.rows() && (in.g.cols() == G * N || in.g.cols() == G)));
  HEED_DEBUG_CHECK(!in.is_delta() || (in.beta.rows() == in.q.rows() && in.beta.cols() == G));
  workers.run(rows.sequences() * G, [&](Index job, Arena& scratch) {
    const Index sequence = job / G, kv_head = job % G, begin = rows.begin(sequence), T = rows.rows(sequence);
    const auto entry = [&](const auto& table) { return table.entries != nullptr ? table.at(sequence, kv_head) : nullptr; };
    const Scalar* before = entry(states.before);
    Scalar* kept = entry(states.kept);
    Scalar* state = entry(states.after) != nullptr ? entry(states.after) : scratch.take<Scalar>(N * P);
    const detail::LinearAttentionHead<Scalar> head(in, kv_head, scratch);
    if (before == nullptr)
      before = std::fill_n(state, N * P, Scalar(0)) - N * P;
    else if (before != state && T == 0)
      std::copy_n(before, N * P, state);
    for (Index t = 0; t < T;) {
      if (kept != nullptr && t > 0 && t % in.chunk == 0) kept = std::copy_n(state, N * P, kept);
      const Index to_kept = kept != nullptr ? in.chunk - t % in.chunk : T;
      const Index count = (std::min)({detail::linear_attention_rows_together, to_kept, T - t});
      head.walk(begin + t, count, {.before = before, .after = state, .step = 0}, y);
      before = state;
      t += count;
    }
  });
}

/// The gradient of dot(y, d_y), added to d, for whole sequences: the state before them is zero. kept: as `linear_attention`
/// left them; an entry is read only where linear_attention_kept_states says that there are some.
template <class Scalar>
void linear_attention_backward(const LinearAttentionInputs<Scalar>& in, Division rows, HeadTable<Scalar*> kept,
                               View<Scalar> d_y, LinearAttentionGradients<Scalar> d, Workers& workers) {
  const Index G = in.kv_heads, N = in.key_width(), P = in.value_width();
  const auto scale = static_cast<Scalar>(in.scale);
  workers.run(rows.sequences() * G, [&](Index job, Arena& scratch) {
    const Index sequence = job / G, kv_head = job % G, first = rows.begin(sequence), T = rows.rows(sequence);
    if (T == 0) return;
    const Index Q = (std::min)(in.chunk, T), size = N * P;
    Scalar* states = scratch.take<Scalar>((Q + 1) * size);  // [Q+1 x N x P]  before row 0, after row 0, ...
    Scalar* decayed = scratch.take<Scalar>(size);           // [N x P]  S'
    Scalar* d_state = scratch.take_zeroed<Scalar>(size);    // [N x P]
    Scalar* d_u = scratch.take<Scalar>(P);
    Scalar* error = scratch.take<Scalar>(P);  // v - k S', not yet multiplied by beta
    Scalar* decay = scratch.take<Scalar>(N);
    Scalar* opposite_k = scratch.take<Scalar>(N);
    const detail::LinearAttentionHead<Scalar> head(in, kv_head, scratch);
    for (Index index = (T - 1) / in.chunk; index >= 0; --index) {
      const Index begin = first + index * in.chunk, count = (std::min)(in.chunk, first + T - begin);
      // The chunk's states once more, from the one before it.
      if (index > 0)
        std::copy_n(kept.at(sequence, kv_head) + (index - 1) * size, size, states);
      else
        std::fill_n(states, size, Scalar(0));
      head.walk(begin, count, {.before = states, .after = states + size, .step = size});

      for (Index t = count - 1; t >= 0; --t) {
        const Scalar* q = head.q(begin + t);
        const Scalar* k = head.k(begin + t);
        const Scalar* state = states + (t + 1) * size;
        Scalar* d_k = detail::row_of(d.k, begin + t) + kv_head * N;
        Scalar* d_v = detail::row_of(d.v, begin + t) + kv_head * P;
        // y = scale q S   =>   d_q_n += scale d_y . S_n,  d_S_n += scale q_n d_y
        for (Index i = 0; i < in.group(); ++i) {
          const Index query_head = kv_head * in.group() + i;
          const Scalar* d_y_i = detail::row_of(d_y, begin + t) + query_head * P;
          Scalar* d_q = detail::row_of(d.q, begin + t) + query_head * N;
          for (Index n = 0; n < N; ++n) {
            d_q[n] += scale * detail::dot(d_y_i, state + n * P, P);
            detail::add_scaled(d_state + n * P, scale * q[i * N + n], d_y_i, P);
          }
        }
        // S = S' + k^T u   =>   d_k_n += u . d_S_n,  d_u += sum_n k_n d_S_n,  d_S' += d_S
        head.decays(begin + t, decay);
        for (Index n = 0; n < N; ++n) {
          const auto decay_n = detail::Lanes<Scalar>::all(decay[n]);
          detail::transform(
              P, decayed + n * P, [&](auto s) { return decay_n * s; }, states + t * size + n * P);
        }
        if (in.is_delta()) {
          detail::transform(
              N, opposite_k, [](auto k_n) { return Scalar(0) - k_n; }, k);
          std::copy_n(head.v(begin + t), P, error);
          detail::accumulate(error, P, detail::Strided<Scalar>{opposite_k, N, 1}, decayed, P, Index(1), P, N);
        }
        const Scalar* added = in.is_delta() ? error : head.v(begin + t);
        const Scalar factor = in.is_delta() ? in.beta(begin + t, kv_head) : Scalar(1);
        std::fill_n(d_u, P, Scalar(0));
        for (Index n = 0; n < N; ++n) {
          d_k[n] += factor * detail::dot(added, d_state + n * P, P);
          detail::add_scaled(d_u, k[n], d_state + n * P, P);
        }
        // u = beta (v - k S')   =>   d_beta += d_u . (v - k S'),  d_v += beta d_u,  d_k_n -= beta d_u . S'_n,
        //                            d_S'_n -= beta k_n d_u;                            u = v   =>   d_v += d_u
        detail::add_scaled(d_v, factor, d_u, P);
        if (in.is_delta()) {
          d.beta(begin + t, kv_head) += detail::dot(d_u, error, P);
          for (Index n = 0; n < N; ++n) {
            d_k[n] -= factor * detail::dot(d_u, decayed + n * P, P);
            detail::add_scaled(d_state + n * P, -factor * k[n], d_u, P);
          }
        }
        // S'_n = exp(g_n) S_n   =>   d_g_n += d_S'_n . S'_n,  d_S_n = exp(g_n) d_S'_n
        if (!in.decays()) continue;
        for (Index n = 0; n < N; ++n) {
          d.g(begin + t, head.by_head ? kv_head : kv_head * N + n) += detail::dot(d_state + n * P, decayed + n * P, P);
          const auto by = detail::Lanes<Scalar>::all(decay[n]);
          detail::transform(
              P, d_state + n * P, [&](auto s) { return by * s; }, d_state + n * P);
        }
      }
    }
  });
}

}  // namespace heed::inline HEED_ABI
