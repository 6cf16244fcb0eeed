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
// computes that one by products. Here rows run one after another, so results have the same bits however rows are cut into
// calls. Backward needs the states between chunks of rows only.
//
// source: Katharopoulos et al. 2020 (arXiv 2006.16236), section 3.4; with decays, Yang et al. 2023 (arXiv 2312.06635); the
// delta rule, Schlag et al. 2021 (arXiv 2102.11174); both, Yang et al. 2024 (arXiv 2412.06464)
#pragma once

#include <algorithm>

#include "../core/head_table.hpp"
#include "../core/sequences.hpp"
#include "../core/workers.hpp"
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

template <class Scalar>
struct LinearAttentionScratch {
  Scalar* decay;    // [1 x N]
  Scalar* weights;  // [group x N]
  Scalar* u;        // [1 x P]

  LinearAttentionScratch(const LinearAttentionInputs<Scalar>& in, Arena& arena)
      : decay(arena.take<Scalar>(in.key_width())),
        weights(arena.take<Scalar>(in.group() * in.key_width())),
        u(arena.take<Scalar>(in.value_width())) {}
};

// One row of one kv head.
template <class Scalar>
struct LinearAttentionRow {
  const LinearAttentionInputs<Scalar>& in;
  Index t, kv_head;
  Index N = in.key_width(), P = in.value_width(), G = in.kv_heads;
  bool by_head = in.g.cols() == G && N != 1;

  const Scalar* q(Index i) const { return row_of(in.q, t) + (kv_head * in.group() + i) * N; }  // i-th head of the group
  const Scalar* k() const { return row_of(in.k, t) + kv_head * N; }
  const Scalar* v() const { return row_of(in.v, t) + kv_head * P; }
  Scalar beta() const { return in.beta(t, kv_head); }

  // decay = exp(g), or ones [1 x N]
  void decays(Scalar* decay) const {
    if (!in.decays()) {
      std::fill_n(decay, N, Scalar(1));
      return;
    }
    if (by_head)
      std::fill_n(decay, N, in.g(t, kv_head));
    else
      std::copy_n(row_of(in.g, t) + kv_head * N, N, decay);
    transform(
        N, decay, [](auto g) { return exponential(g); }, decay);
  }
  // u = v + weights S      weights [1 x N]
  void corrected(Scalar* u, const Scalar* weights, const Scalar* state) const {
    std::copy_n(v(), P, u);
    accumulate(u, P, Strided<Scalar>{weights, N, 1}, state, P, Index(1), P, N);
  }
  // S' = diag(decay) S,   u = v or beta (v - k S'),   S = S' + k^T u;   to may be from.
  void step(Scalar* to, const Scalar* from, const LinearAttentionScratch<Scalar>& scratch) const {
    decays(scratch.decay);
    const Scalar* added = v();
    if (in.is_delta()) {
      transform(
          N, scratch.weights, [](auto k_n, auto decay_n) { return Scalar(0) - k_n * decay_n; }, k(), scratch.decay);
      corrected(scratch.u, scratch.weights, from);
      const auto factor = Lanes<Scalar>::all(beta());
      transform(
          P, scratch.u, [&](auto u_p) { return factor * u_p; }, scratch.u);
      added = scratch.u;
    }
    for (Index n = 0; n < N; ++n) {
      const auto decay_n = Lanes<Scalar>::all(scratch.decay[n]), k_n = Lanes<Scalar>::all(k()[n]);
      transform(
          P, to + n * P, [&](auto s, auto u_p) { return multiply_add(decay_n, s, k_n * u_p); }, from + n * P, added);
    }
  }
  // y_i = scale q_i S for the heads of the group
  void read(const Scalar* state, MutableView<Scalar>& y, const LinearAttentionScratch<Scalar>& scratch) const {
    const auto factor = Lanes<Scalar>::all(static_cast<Scalar>(in.scale));
    transform(
        in.group() * N, scratch.weights, [&](auto q_n) { return factor * q_n; }, q(0));
    Scalar* y_0 = row_of(y, t) + kv_head * in.group() * P;
    std::fill_n(y_0, in.group() * P, Scalar(0));
    accumulate(y_0, P, Strided<Scalar>{scratch.weights, N, 1}, state, P, in.group(), P, N);
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
    const detail::LinearAttentionScratch<Scalar> of_row(in, scratch);
    if (before == nullptr)
      std::fill_n(state, N * P, Scalar(0));
    else if (before != state && T == 0)
      std::copy_n(before, N * P, state);
    for (Index t = 0; t < T; ++t) {
      if (kept != nullptr && t > 0 && t % in.chunk == 0) kept = std::copy_n(state, N * P, kept);
      const detail::LinearAttentionRow<Scalar> row{in, begin + t, kv_head};
      row.step(state, t == 0 && before != nullptr ? before : state, of_row);
      row.read(state, y, of_row);
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
    const detail::LinearAttentionScratch<Scalar> of_row(in, scratch);
    for (Index index = (T - 1) / in.chunk; index >= 0; --index) {
      const Index begin = first + index * in.chunk, count = (std::min)(in.chunk, first + T - begin);
      // The chunk's states once more, from the one before it.
      if (index > 0)
        std::copy_n(kept.at(sequence, kv_head) + (index - 1) * size, size, states);
      else
        std::fill_n(states, size, Scalar(0));
      for (Index t = 0; t < count; ++t) {
        const detail::LinearAttentionRow<Scalar> row{in, begin + t, kv_head};
        row.step(states + (t + 1) * size, states + t * size, of_row);
      }

      for (Index t = count - 1; t >= 0; --t) {
        const detail::LinearAttentionRow<Scalar> row{in, begin + t, kv_head};
        const Scalar* state = states + (t + 1) * size;
        Scalar* d_k = detail::row_of(d.k, begin + t) + kv_head * N;
        Scalar* d_v = detail::row_of(d.v, begin + t) + kv_head * P;
        // y = scale q S   =>   d_q_n += scale d_y . S_n,  d_S_n += scale q_n d_y
        for (Index i = 0; i < in.group(); ++i) {
          const Index head = kv_head * in.group() + i;
          const Scalar* d_y_i = detail::row_of(d_y, begin + t) + head * P;
          Scalar* d_q = detail::row_of(d.q, begin + t) + head * N;
          for (Index n = 0; n < N; ++n) {
            d_q[n] += scale * detail::dot(d_y_i, state + n * P, P);
            detail::add_scaled(d_state + n * P, scale * row.q(i)[n], d_y_i, P);
          }
        }
        // S = S' + k^T u   =>   d_k_n += u . d_S_n,  d_u += sum_n k_n d_S_n,  d_S' += d_S
        row.decays(of_row.decay);
        for (Index n = 0; n < N; ++n) {
          const auto decay_n = detail::Lanes<Scalar>::all(of_row.decay[n]);
          detail::transform(
              P, decayed + n * P, [&](auto s) { return decay_n * s; }, states + t * size + n * P);
        }
        Scalar* error = of_row.u;  // v - k S', not yet multiplied by beta
        if (in.is_delta()) {
          detail::transform(
              N, of_row.weights, [](auto k_n) { return Scalar(0) - k_n; }, row.k());
          row.corrected(error, of_row.weights, decayed);
        }
        const Scalar* added = in.is_delta() ? error : row.v();
        const Scalar factor = in.is_delta() ? row.beta() : Scalar(1);
        std::fill_n(d_u, P, Scalar(0));
        for (Index n = 0; n < N; ++n) {
          d_k[n] += factor * detail::dot(added, d_state + n * P, P);
          detail::add_scaled(d_u, row.k()[n], d_state + n * P, P);
        }
        // u = beta (v - k S')   =>   d_beta += d_u . (v - k S'),  d_v += beta d_u,  d_k_n -= beta d_u . S'_n,
        //                            d_S'_n -= beta k_n d_u;                            u = v   =>   d_v += d_u
        detail::add_scaled(d_v, factor, d_u, P);
        if (in.is_delta()) {
          d.beta(begin + t, kv_head) += detail::dot(d_u, error, P);
          for (Index n = 0; n < N; ++n) {
            d_k[n] -= factor * detail::dot(d_u, decayed + n * P, P);
            detail::add_scaled(d_state + n * P, -factor * row.k()[n], d_u, P);
          }
        }
        // S'_n = exp(g_n) S_n   =>   d_g_n += d_S'_n . S'_n,  d_S_n = exp(g_n) d_S'_n
        if (!in.decays()) continue;
        for (Index n = 0; n < N; ++n) {
          d.g(begin + t, row.by_head ? kv_head : kv_head * N + n) += detail::dot(d_state + n * P, decayed + n * P, P);
          const auto by = detail::Lanes<Scalar>::all(of_row.decay[n]);
          detail::transform(
              P, d_state + n * P, [&](auto s) { return by * s; }, d_state + n * P);
        }
      }
    }
  });
}

}  // namespace heed::inline HEED_ABI
