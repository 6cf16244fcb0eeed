// Attention, by attend: over tables of keys and values of several sequences, and once more on plain matrices, sequence by
// sequence.
//
//   Q [B x H x T x E]   K [B x G x T' x E]   V [B x G x T' x E_v], or all three [B x rows x heads E] with their numbers
//   past_key [B x G x past x E], past_value: come before K and V, S = past + T'
//   attn_mask   broadcast to [B x H x T x S]; true (or a number to add) where a row sees a key; too short: the rest is
//   hidden nonpad_kv_seqlen [B]: a sequence has so many keys, its last row is the last of them attributes  scale (1 / sqrt
//   E), softcap, is_causal, left_window_size, right_window_size, qk_matmul_output_mode
//
// Row i stands at position i + past, or i + nonpad_kv_seqlen - T, or i.
#pragma once

#include <heed/ops/attend.hpp>

#include "attention_case.hpp"

namespace heed::conformance {

/// What qk_matmul_output shows before the softmax: the scaled products (mode 0), after the soft-cap (1), after masks (2).
template <class Scalar>
std::vector<Scalar> logits(const AttentionCase& a, const Matrix<Scalar>& q, const Matrix<Scalar>& k, Index mode) {
  std::vector<Scalar> z;
  for (Index b = 0; b < a.q.sequences; ++b)
    for (Index h = 0; h < a.q.heads; ++h)
      for (Index i = 0; i < a.q.rows; ++i)
        for (Index j = 0; j < a.keys; ++j) {
          const Index g = h / (a.q.heads / a.k.heads);
          Scalar product = 0;
          for (Index e = 0; e < a.q.width; ++e)
            product += q(b * a.q.rows + i, h * a.q.width + e) * k((b * a.k.heads + g) * a.keys + j, e);
          product *= static_cast<Scalar>(a.scale);
          const Scalar cap = static_cast<Scalar>(a.soft_cap);
          if (mode >= 1 && cap > 0) product = cap * std::tanh(product / cap);
          if (mode >= 2) product += static_cast<Scalar>(a.bias(b, h, i, j));
          z.push_back(product);
        }
  return z;
}

/// attn_mask of every sequence, the rows of all heads below each other: [H T x S].
template <class Scalar>
struct AttentionMasks {
  std::vector<Matrix<Scalar>> added;
  std::vector<Matrix<bool>> shown;

  explicit AttentionMasks(const AttentionCase& a) {
    if (a.attn_mask() == nullptr) return;
    const Index H = a.q.heads, T = a.q.rows, S = a.keys;
    for (Index b = 0; b < a.q.sequences; ++b) {
      Matrix<Scalar> numbers = Matrix<Scalar>::Constant(H * T, S, -std::numeric_limits<Scalar>::infinity());
      Matrix<bool> seen = Matrix<bool>::Constant(H * T, S, false);
      for (Index h = 0; h < H; ++h)
        for (Index i = 0; i < T; ++i)
          for (Index j = 0; j < S; ++j)
            if (const auto place = a.at(b, h, i, j)) {
              numbers(h * T + i, j) = static_cast<Scalar>(a.attn_mask()->values[*place]);
              seen(h * T + i, j) = a.attn_mask()->values[*place] != 0;
            }
      if (a.added != nullptr) added.push_back(std::move(numbers));
      if (a.shown != nullptr) shown.push_back(std::move(seen));
    }
  }
  /// By (sequence, head), in the arena; no heads if there is no attn_mask.
  HeadTable<ScoreBias<Scalar>> table(const AttentionCase& a, Arena& arena) const {
    if (a.attn_mask() == nullptr) return {};
    const auto table = HeadTable<ScoreBias<Scalar>>::make(arena, a.q.sequences, a.q.heads);
    for (Index b = 0; b < a.q.sequences; ++b)
      for (Index h = 0; h < a.q.heads; ++h) {
        const std::size_t sequence = static_cast<std::size_t>(b);
        const Index first = h * a.q.rows * a.keys;
        if (a.added != nullptr) table.at(b, h) = {.added = added[sequence].data() + first, .stride = a.keys};
        if (a.shown != nullptr) table.at(b, h) = {.shown = shown[sequence].data() + first, .shown_stride = a.keys};
      }
    return table;
  }
};

/// q [B T x H E], k [B G S x E] and v [B G S x E_v], the cached rows first.
template <class Scalar>
struct AttentionRows {
  Matrix<Scalar> q, k, v;
};

/// Returns [B T x H E_v], and fills the probabilities where there are some.
template <class Scalar>
Matrix<Scalar> attend_by_tables(const AttentionCase& a, const AttentionRows<Scalar>& rows,
                                const AttentionMasks<Scalar>& masks, HeadTable<Probabilities<Scalar>> probabilities,
                                Arena& arena) {
  const Index B = a.q.sequences, H = a.q.heads, G = a.k.heads, T = a.q.rows;
  const auto table_of = [&](const Matrix<Scalar>& x) {
    const auto table = HeadTable<HeadRows<Scalar>>::make(arena, B, G);
    for (Index b = 0; b < B; ++b)
      for (Index g = 0; g < G; ++g)
        table.at(b, g) = {x.data() + (b * G + g) * a.keys * x.cols(),
                          nullptr,
                          a.lengths[static_cast<std::size_t>(b)],
                          x.cols(),
                          x.cols(),
                          0};
    return table;
  };
  const Computed<Scalar> operand{.q = view_of(rows.q),
                                 .k = table_of(rows.k),
                                 .mask = a.mask,
                                 .scale = static_cast<Scalar>(a.scale),
                                 .log_sum_exp = arena.matrix<Scalar>(B * T, H),
                                 .probabilities = probabilities,
                                 .soft_cap = static_cast<Scalar>(a.soft_cap),
                                 .bias = masks.table(a, arena),
                                 .offsets = a.offsets.data()};
  Matrix<Scalar> o = Matrix<Scalar>::Zero(B * T, H * a.v.width);
  Workers workers;
  attend(operand, table_of(rows.v), Sequences::each(B, T), mutable_view_of(o), workers);
  return o;
}

/// The same by the function for plain matrices.
template <class Scalar>
Matrix<Scalar> attend_by_matrices(const AttentionCase& a, const AttentionRows<Scalar>& rows,
                                  const AttentionMasks<Scalar>& masks) {
  const Index G = a.k.heads, T = a.q.rows;
  Matrix<Scalar> o(a.q.sequences * T, a.q.heads * a.v.width);
  for (Index b = 0; b < a.q.sequences; ++b) {
    const std::size_t sequence = static_cast<std::size_t>(b);
    const Index S = a.lengths[sequence];
    const auto side_by_side = [&](const Matrix<Scalar>& x) {  // [S x G width]
      Matrix<Scalar> heads(S, G * x.cols());
      for (Index g = 0; g < G; ++g) heads.middleCols(g * x.cols(), x.cols()) = x.middleRows((b * G + g) * a.keys, S);
      return heads;
    };
    const Matrix<Scalar> q = rows.q.middleRows(b * T, T), k = side_by_side(rows.k), v = side_by_side(rows.v);
    AttendOptions options{.heads = a.q.heads, .kv_heads = G, .mask = a.mask, .scale = a.scale, .soft_cap = a.soft_cap};
    options.offset = a.offsets[sequence];
    if (a.added != nullptr) options.bias = masks.added[sequence].leftCols(S);
    if (a.shown != nullptr) options.shown = masks.shown[sequence].leftCols(S);
    o.middleRows(b * T, T) = attend(q, k, v, options);
  }
  return o;
}

/// Room for the probabilities of every (sequence, head).
template <class Scalar>
HeadTable<Probabilities<Scalar>> make_probabilities(const AttentionCase& a, const AttentionMasks<Scalar>& masks,
                                                    Arena& arena) {
  const auto table = HeadTable<Probabilities<Scalar>>::make(arena, a.q.sequences, a.q.heads);
  const auto bias = masks.table(a, arena);
  for (Index b = 0; b < a.q.sequences; ++b)
    for (Index h = 0; h < a.q.heads; ++h) {
      const std::size_t sequence = static_cast<std::size_t>(b);
      table.at(b, h) = Probabilities<Scalar>::make(arena, {a.q.rows, a.lengths[sequence], a.mask, a.offsets[sequence]},
                                                   bias.heads > 0 ? bias.at(b, h) : ScoreBias<Scalar>{});
    }
  return table;
}

/// [B x H x T x S]; zero for keys that a sequence does not have.
template <class Scalar>
std::vector<Scalar> values_of(const HeadTable<Probabilities<Scalar>>& table, const AttentionCase& a) {
  std::vector<Scalar> values;
  for (Index b = 0; b < a.q.sequences; ++b)
    for (Index h = 0; h < a.q.heads; ++h)
      for (Index i = 0; i < a.q.rows; ++i)
        for (Index j = 0; j < a.keys; ++j) values.push_back(j < table.at(b, h).keys() ? table.at(b, h)(i, j) : Scalar(0));
  return values;
}

inline Worst attention(Case& at) {
  const AttentionCase a = attention_case(at);
  const Index mode = at.integer("qk_matmul_output_mode", 0);
  expect(mode >= 0 && mode <= 3, "qk_matmul_output_mode: expected 0 to 3, found ", mode);
  return with_scalar(at.required(0, "Q").type, [&](auto scalar) {
    using Scalar = decltype(scalar);
    const Index B = a.q.sequences, H = a.q.heads, G = a.k.heads, T = a.q.rows, S = a.keys;
    const AttentionRows<Scalar> rows{packed_rows<Scalar>(at.required(0, "Q"), a.q),
                                     with_past<Scalar>(at.input(4), at.required(1, "K"), a.k, a.past),
                                     with_past<Scalar>(at.input(5), at.required(2, "V"), a.v, a.past)};
    const AttentionMasks<Scalar> masks(a);
    Arena arena;
    HeadTable<Probabilities<Scalar>> probabilities;
    if (mode == 3) probabilities = make_probabilities(a, masks, arena);

    // A logit of the vectors was rounded four times (the scaled q and k, their product, the sum with the mask) and may be
    // 2 large; then the exponential, the sum, the quotient and the result.
    const Index roundings = 4 * 2 + 4;
    Heads of_y = a.q;
    of_y.width = a.v.width;
    const auto compare_y = [&](const Matrix<Scalar>& o) {
      at.compare(0, of_y.dims(), unpacked(o, of_y), roundings, a.precision);
    };
    compare_y(attend_by_tables(a, rows, masks, probabilities, arena));
    if (a.scale != 0) compare_y(attend_by_matrices(a, rows, masks));  // where 0 stands for 1 / sqrt(E)
    at.compare(1, {B, G, S, a.k.width}, values_of(rows.k), 0);
    at.compare(2, {B, G, S, a.v.width}, values_of(rows.v), 0);
    std::vector<Scalar> shown;
    if (at.wants(3)) shown = mode == 3 ? values_of(probabilities, a) : logits(a, rows.q, rows.k, mode);
    at.compare(3, {B, H, T, S}, shown, roundings, a.precision);
    return at.finish();
  });
}

}  // namespace heed::conformance
