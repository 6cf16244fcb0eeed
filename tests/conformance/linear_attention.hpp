// LinearAttention, by linear_attention; and where one decay serves a whole head, by ssd too, of which it is a case.
//
//   query [B x T x H N]    key [B x T x G N]    value [B x T x G P]    past_state, present_state [B x G x N x P]
//   decay [B x T x G N] or [B x T x G]          beta [B x T x G] or [B x T x 1]
//   output [B x T x H P]   attributes   q_num_heads (H), kv_num_heads (G), update_rule, scale (0: 1 / sqrt N), chunk_size
#pragma once

#include <heed/ops/linear_attention.hpp>
#include <heed/ops/ssd.hpp>

#include "case.hpp"

namespace heed::conformance {

struct LinearAttentionShape {
  Index B, T, H, G, N, P;
};

namespace detail {

/// A tensor [B x T x columns] as packed rows.
template <class Scalar>
Matrix<Scalar> rows_of(const Tensor& tensor, const LinearAttentionShape& shape, Index columns, std::string_view name) {
  expect(tensor.dims == std::vector<Index>{shape.B, shape.T, columns}, name, ": expected ",
         text_of({shape.B, shape.T, columns}), ", found ", text_of(tensor.dims));
  return matrix_of<Scalar>(tensor, shape.B * shape.T, columns);
}

/// One entry [N x P] for each of the rows.
template <class Scalar, class Entry>
HeadTable<Entry> state_table(std::vector<Entry>& entries, Entry first, Index B, Index heads, Index size) {
  for (Index i = 0; i < B * heads; ++i) entries.push_back(first + i * size);
  return {entries.data(), B, heads};
}

/// S_t = exp(dt a) S_{t-1} + dt b^T x, y = c S, with dt = -g, a = -1 and x = v / dt (dt = 1 and a = 0 without decays).
/// ssd has as many groups as heads, so keys, values and decays stand once for each query head.
template <class Scalar>
void compare_ssd(Case& at, const LinearAttentionInputs<Scalar>& in, const LinearAttentionShape& shape,
                 const Matrix<Scalar>& past, bool has_past, Index roundings) {
  const auto [B, T, H, G, N, P] = shape;
  const Scalar least = Scalar(1e-30);  // where nothing decays
  Matrix<Scalar> x(B * T, H * P), dt(B * T, H), b(B * T, H * N), c(B * T, H * N), y(B * T, H * P);
  for (Index t = 0; t < B * T; ++t)
    for (Index h = 0; h < H; ++h) {
      const Index g = h / (H / G);
      dt(t, h) = in.decays() ? (std::max)(-in.g(t, g), least) : Scalar(1);
      for (Index p = 0; p < P; ++p) x(t, h * P + p) = in.v(t, g * P + p) / dt(t, h);
      for (Index n = 0; n < N; ++n) {
        b(t, h * N + n) = in.k(t, g * N + n);
        c(t, h * N + n) = static_cast<Scalar>(in.scale) * in.q(t, h * N + n);
      }
    }
  const Matrix<Scalar> a = Matrix<Scalar>::Constant(1, H, in.decays() ? Scalar(-1) : Scalar(0));
  const Matrix<Scalar> d = Matrix<Scalar>::Zero(1, H);
  Matrix<Scalar> before(B * H * N, P), after(B * H * N, P);
  for (Index i = 0; i < B * H; ++i) before.middleRows(i * N, N) = past.middleRows(i / (H / G) * N, N);

  std::vector<const Scalar*> read;
  std::vector<Scalar*> written;
  SsdStates<Scalar> states{.after = state_table<Scalar>(written, after.data(), B, H, N * P)};
  if (has_past) states.before = state_table<Scalar>(read, static_cast<const Scalar*>(before.data()), B, H, N * P);
  Workers workers;
  ssd(SsdInputs<Scalar>{view_of(x), view_of(dt), view_of(a), view_of(b), view_of(c), view_of(d), H}, Sequences::each(B, T),
      states, mutable_view_of(y), workers);
  at.compare(0, {B, T, H * P}, values_of(y), roundings);
  Matrix<Scalar> present(B * G * N, P);  // the first query head of every group
  for (Index i = 0; i < B * G; ++i) present.middleRows(i * N, N) = after.middleRows(i * (H / G) * N, N);
  at.compare(1, {B, G, N, P}, values_of(present), roundings);
}

}  // namespace detail

inline Worst linear_attention_case(Case& at) {
  const Tensor &query = at.required(0, "query"), &key = at.required(1, "key"), &value = at.required(2, "value");
  const Tensor *past_state = at.input(3), *decay = at.input(4), *beta = at.input(5);
  if (at.input(6) != nullptr) throw NotOffered("a delta rule that erases by a gate of its own");
  const std::string rule = at.word("update_rule", "gated_delta");
  const Index H = at.integer("q_num_heads", 0), G = at.integer("kv_num_heads", 0);
  at.integer("chunk_size", 64);  // how it is computed, not what
  expect(rule == "linear" || rule == "gated" || rule == "delta" || rule == "gated_delta",
         "update_rule: expected linear, gated, delta or gated_delta, found ", rule);
  expect((decay != nullptr) == (rule == "gated" || rule == "gated_delta"), "decay: does not go with ", rule);
  expect((beta != nullptr) == (rule == "delta" || rule == "gated_delta"), "beta: does not go with ", rule);
  expect(G >= 1 && H >= 1 && H % G == 0, "q_num_heads: expected a multiple of kv_num_heads ", G, ", found ", H);
  expect(query.rank() == 3 && query.dims[2] % H == 0, "query: expected the columns of ", H, " heads");
  expect(value.rank() == 3 && value.dims[2] % G == 0, "value: expected the columns of ", G, " heads");
  const LinearAttentionShape shape{query.dims[0], query.dims[1], H, G, query.dims[2] / H, value.dims[2] / G};
  const auto [B, T, H_, G_, N, P] = shape;
  const double scale = at.real("scale", 0);
  const Index steps = T * (N + 4);  // products with the state, and its updates, row after row

  return with_scalar(query.type, [&, B = B, T = T, N = N, P = P](auto scalar) {
    using Scalar = decltype(scalar);
    const auto q = detail::rows_of<Scalar>(query, shape, H * N, "query");
    const auto k = detail::rows_of<Scalar>(key, shape, G * N, "key");
    const auto v = detail::rows_of<Scalar>(value, shape, G * P, "value");
    Matrix<Scalar> g(0, 0), betas(0, 0);
    if (decay != nullptr) {
      const bool by_head = decay->rank() == 3 && decay->dims[2] == G;
      g = detail::rows_of<Scalar>(*decay, shape, by_head ? G : G * N, "decay");
    }
    if (beta != nullptr) {
      const bool shared = beta->rank() == 3 && beta->dims[2] == 1;
      betas = detail::rows_of<Scalar>(*beta, shape, shared ? 1 : G, "beta").replicate(1, shared ? G : 1);
    }
    const LinearAttentionInputs<Scalar> in{.q = view_of(q),
                                           .k = view_of(k),
                                           .v = view_of(v),
                                           .g = view_of(g),
                                           .beta = view_of(betas),
                                           .heads = H,
                                           .kv_heads = G,
                                           .scale = scale == 0 ? 1 / std::sqrt(static_cast<double>(N)) : scale};
    const std::vector<Index> state = {B, G, N, P};
    expect(past_state == nullptr || past_state->dims == state, "past_state: expected ", text_of(state));
    const Matrix<Scalar> past =
        past_state != nullptr ? matrix_of<Scalar>(*past_state, B * G * N, P) : Matrix<Scalar>::Zero(B * G * N, P);

    Matrix<Scalar> present(B * G * N, P), y(B * T, H * P);
    std::vector<const Scalar*> read;
    std::vector<Scalar*> written;
    LinearAttentionStates<Scalar> states{.after = detail::state_table<Scalar>(written, present.data(), B, G, N * P)};
    if (past_state != nullptr) states.before = detail::state_table<Scalar>(read, past.data(), B, G, N * P);
    Workers workers;
    linear_attention(in, Sequences::each(B, T), states, mutable_view_of(y), workers);
    at.compare(0, {B, T, H * P}, values_of(y), steps);
    at.compare(1, state, values_of(present), steps);

    const bool one_decay = !in.decays() || in.g.cols() == G;
    if (!in.is_delta() && one_decay && (g.size() == 0 || g.maxCoeff() <= 0))
      detail::compare_ssd(at, in, shape, past, past_state != nullptr, steps);
    return at.finish();
  });
}

}  // namespace heed::conformance
