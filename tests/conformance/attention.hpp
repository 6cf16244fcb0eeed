// Attention, by attend over keys and values of several sequences.
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

#include "case.hpp"
#include "heads.hpp"

namespace heed::conformance {

struct AttentionCase {
  Heads q, k, v;  // k and v of the new rows
  Index past = 0;
  Index keys = 0;                 // S
  std::vector<Index> offsets;     // [B] the position of row 0
  std::vector<Index> lengths;     // [B] keys that a sequence has, at most S
  const Tensor* shown = nullptr;  // attn_mask, if it is boolean
  const Tensor* added = nullptr;  // attn_mask, if it is not
  Mask mask;
  double scale = 0;
  double soft_cap = 0;
  Type precision = Type::f64;  // of the softmax that the vectors were computed with; f64 if that is not said

  const Tensor* attn_mask() const { return shown != nullptr ? shown : added; }

  /// Where attn_mask has what it says of (b, h, i, j); nothing beyond its last column.
  std::optional<std::size_t> at(Index b, Index h, Index i, Index j) const {
    const std::vector<Index>& dims = attn_mask()->dims;
    if (j >= dims.back()) return std::nullopt;
    const Index whole[] = {b, h, i, j};
    Index at = 0;
    for (std::size_t axis = 0; axis < dims.size(); ++axis) {
      const Index index = whole[4 - dims.size() + axis];
      at = at * dims[axis] + (dims[axis] == 1 ? 0 : index);
    }
    return static_cast<std::size_t>(at);
  }
  /// What is added to the logit of (b, h, i, j): the masks and attn_mask in one number.
  double bias(Index b, Index h, Index i, Index j) const {
    constexpr double hidden = -std::numeric_limits<double>::infinity();
    const std::size_t sequence = static_cast<std::size_t>(b);
    const Index p = offsets[sequence] + i;
    if (j >= lengths[sequence] || j < p - mask.left || j > p + mask.right) return hidden;
    if (attn_mask() == nullptr) return 0;
    const auto place = at(b, h, i, j);
    if (!place) return hidden;
    const double value = attn_mask()->values[*place];
    return added != nullptr ? value : value != 0 ? 0 : hidden;
  }
};

/// past, then the new rows: [B G S x width]
template <class Scalar>
Matrix<Scalar> with_past(const Tensor* past, const Tensor& tensor, const Heads& heads, Index past_rows) {
  const Index S = past_rows + heads.rows;
  Matrix<Scalar> rows(heads.sequences * heads.heads * S, heads.width);
  for (Index b = 0; b < heads.sequences; ++b)
    for (Index g = 0; g < heads.heads; ++g)
      for (Index e = 0; e < heads.width; ++e) {
        const Index first = (b * heads.heads + g) * S;
        const Heads of_past{heads.sequences, heads.heads, past_rows, heads.width};
        for (Index s = 0; s < past_rows; ++s)
          rows(first + s, e) = static_cast<Scalar>(past->values[of_past.at(b, g, s, e)]);
        for (Index s = 0; s < heads.rows; ++s)
          rows(first + past_rows + s, e) = static_cast<Scalar>(tensor.values[heads.at(b, g, s, e)]);
      }
  return rows;
}

/// By ONNX's TensorProto.DataType; 0: not said.
inline Type type_of_number(Index number) {
  switch (number) {
    case 0:
    case 11:
      return Type::f64;
    case 1:
      return Type::f32;
    case 10:
      return Type::f16;
    case 16:
      return Type::bf16;
    default:
      throw Failure("softmax_precision: expected 1, 10, 11 or 16, found " + std::to_string(number));
  }
}

/// Reads and checks everything but the rows themselves.
inline AttentionCase attention_case(Case& at) {
  const Tensor &Q = at.required(0, "Q"), &K = at.required(1, "K"), &V = at.required(2, "V");
  const Tensor *attn_mask = at.input(3), *past_key = at.input(4), *past_value = at.input(5), *nonpad = at.input(6);
  AttentionCase a;
  const Index kv_heads = at.integer("kv_num_heads", 0);
  a.q = heads_of(Q, "Q", at.integer("q_num_heads", 0));
  a.k = heads_of(K, "K", kv_heads);
  a.v = heads_of(V, "V", kv_heads);
  const Index B = a.q.sequences, T = a.q.rows;
  expect(
      a.k.sequences == B && a.v.sequences == B && a.k.width == a.q.width && a.v.rows == a.k.rows && a.v.heads == a.k.heads,
      "Q, K and V do not go together: ", text_of(Q.dims), ", ", text_of(K.dims), ", ", text_of(V.dims));
  expect(a.k.heads >= 1 && a.q.heads % a.k.heads == 0, "Q: expected a multiple of ", a.k.heads, " heads, found ",
         a.q.heads);

  expect((past_key == nullptr) == (past_value == nullptr), "past_key and past_value: expected both or none");
  if (past_key != nullptr) {
    expect(past_key->rank() == 4, "past_key: expected rank 4, found ", text_of(past_key->dims));
    a.past = past_key->dims[2];
    expect(past_key->dims == std::vector<Index>{B, a.k.heads, a.past, a.k.width}, "past_key: expected ",
           text_of({B, a.k.heads, a.past, a.k.width}), ", found ", text_of(past_key->dims));
    expect(past_value->dims == std::vector<Index>{B, a.v.heads, a.past, a.v.width}, "past_value: expected ",
           text_of({B, a.v.heads, a.past, a.v.width}), ", found ", text_of(past_value->dims));
  }
  a.keys = a.past + a.k.rows;
  a.offsets.assign(static_cast<std::size_t>(B), a.past);
  a.lengths.assign(static_cast<std::size_t>(B), a.keys);
  if (nonpad != nullptr) {
    expect(past_key == nullptr, "nonpad_kv_seqlen: expected no past_key beside it");
    expect(nonpad->size() == B, "nonpad_kv_seqlen: expected ", B, " lengths, found ", text_of(nonpad->dims));
    for (std::size_t b = 0; b < a.lengths.size(); ++b) {
      a.lengths[b] = static_cast<Index>(nonpad->values[b]);
      expect(a.lengths[b] >= 0 && a.lengths[b] <= a.keys, "nonpad_kv_seqlen: expected 0 to ", a.keys, ", found ",
             a.lengths[b]);
      a.offsets[b] = a.lengths[b] - T;
    }
  }
  if (attn_mask != nullptr) {
    (attn_mask->type == Type::boolean ? a.shown : a.added) = attn_mask;
    const std::vector<Index> whole = {B, a.q.heads, T, a.keys}, &dims = attn_mask->dims;
    bool fits = dims.size() >= 1 && dims.size() <= 4 && dims.back() <= a.keys;
    for (std::size_t axis = 0; fits && axis + 1 < dims.size(); ++axis)
      fits = dims[axis] == 1 || dims[axis] == whole[4 - dims.size() + axis];
    expect(fits, "attn_mask: expected to broadcast to ", text_of(whole), ", found ", text_of(dims));
  }

  const bool is_causal = at.integer("is_causal", 0) != 0;
  const Index left = at.integer("left_window_size", -1), right = at.integer("right_window_size", -1);
  expect(left >= -1 && right >= -1, "left_window_size, right_window_size: expected -1 or more");
  a.mask = {.left = left < 0 ? unbounded : left, .right = is_causal ? 0 : right < 0 ? unbounded : right};
  a.scale = at.real("scale", 1 / std::sqrt(static_cast<double>(a.q.width)));
  a.soft_cap = at.real("softcap", 0);
  a.precision = type_of_number(at.integer("softmax_precision", 0));
  return a;
}

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

/// attn_mask for every (sequence, head), in the form that attend takes.
template <class Scalar>
struct BiasTables {
  std::vector<Matrix<Scalar>> added;  // [T x S] each
  std::vector<Matrix<bool>> shown;
  std::vector<ScoreBias<Scalar>> entries;

  explicit BiasTables(const AttentionCase& a) {
    if (a.attn_mask() == nullptr) return;
    for (Index b = 0; b < a.q.sequences; ++b)
      for (Index h = 0; h < a.q.heads; ++h) {
        Matrix<Scalar> numbers = Matrix<Scalar>::Constant(a.q.rows, a.keys, -std::numeric_limits<Scalar>::infinity());
        Matrix<bool> seen = Matrix<bool>::Constant(a.q.rows, a.keys, false);
        for (Index i = 0; i < a.q.rows; ++i)
          for (Index j = 0; j < a.keys; ++j)
            if (const auto place = a.at(b, h, i, j)) {
              numbers(i, j) = static_cast<Scalar>(a.attn_mask()->values[*place]);
              seen(i, j) = a.attn_mask()->values[*place] != 0;
            }
        added.push_back(std::move(numbers));
        shown.push_back(std::move(seen));
      }
    for (std::size_t i = 0; i < added.size(); ++i) {
      ScoreBias<Scalar> entry;
      if (a.added != nullptr) entry = {.added = added[i].data(), .stride = a.keys};
      if (a.shown != nullptr) entry = {.shown = shown[i].data(), .shown_stride = a.keys};
      entries.push_back(entry);
    }
  }
};

inline Worst attention(Case& at) {
  AttentionCase a = attention_case(at);
  const Index mode = at.integer("qk_matmul_output_mode", 0);
  expect(mode >= 0 && mode <= 3, "qk_matmul_output_mode: expected 0 to 3, found ", mode);
  const Type type = at.required(0, "Q").type;
  return with_scalar(type, [&](auto scalar) {
    using Scalar = decltype(scalar);
    const Index B = a.q.sequences, H = a.q.heads, G = a.k.heads, T = a.q.rows, S = a.keys;
    const auto q = packed_rows<Scalar>(at.required(0, "Q"), a.q);  // [B T x H E]
    const auto k = with_past<Scalar>(at.input(4), at.required(1, "K"), a.k, a.past);
    const auto v = with_past<Scalar>(at.input(5), at.required(2, "V"), a.v, a.past);
    BiasTables<Scalar> bias(a);

    Arena arena;
    const auto table_of = [&](const Matrix<Scalar>& rows) {
      const auto table = HeadTable<HeadRows<Scalar>>::make(arena, B, G);
      for (Index b = 0; b < B; ++b)
        for (Index g = 0; g < G; ++g)
          table.at(b, g) = {rows.data() + (b * G + g) * S * rows.cols(),
                            nullptr,
                            a.lengths[static_cast<std::size_t>(b)],
                            rows.cols(),
                            rows.cols(),
                            0};
      return table;
    };
    Computed<Scalar> operand{.q = view_of(q),
                             .k = table_of(k),
                             .mask = a.mask,
                             .scale = static_cast<Scalar>(a.scale),
                             .log_sum_exp = arena.matrix<Scalar>(B * T, H),
                             .probabilities = {}};
    operand.soft_cap = static_cast<Scalar>(a.soft_cap);
    operand.offsets = a.offsets.data();
    if (!bias.entries.empty()) operand.bias = {bias.entries.data(), B, H};
    if (mode == 3) {
      operand.probabilities = HeadTable<Probabilities<Scalar>>::make(arena, B, H);
      for (Index b = 0; b < B; ++b)
        for (Index h = 0; h < H; ++h)
          operand.probabilities.at(b, h) = Probabilities<Scalar>::make(
              arena, T, a.lengths[static_cast<std::size_t>(b)], a.mask, a.offsets[static_cast<std::size_t>(b)], false,
              bias.entries.empty() ? ScoreBias<Scalar>{} : operand.bias.at(b, h));
    }
    Matrix<Scalar> o = Matrix<Scalar>::Zero(B * T, H * a.v.width);
    Workers workers;
    attend(operand, table_of(v), Sequences::each(B, T), mutable_view_of(o), workers);

    // A logit of the vectors was rounded four times (the scaled q and k, their product, the sum with the mask) and may be
    // 2 large; then the exponential, the sum, the quotient and the result.
    const Index roundings = 4 * 2 + 4;
    Heads of_y = a.q;
    of_y.width = a.v.width;
    at.compare(0, of_y.dims(), unpacked(o, of_y), roundings, a.precision);
    at.compare(1, {B, G, S, a.k.width}, values_of(k), 0);
    at.compare(2, {B, G, S, a.v.width}, values_of(v), 0);
    if (!at.wants(3)) return at.finish();

    std::vector<Scalar> shown;
    if (mode < 3) shown = logits(a, q, k, mode);
    for (Index b = 0; mode == 3 && b < B; ++b)
      for (Index h = 0; h < H; ++h)
        for (Index i = 0; i < T; ++i)
          for (Index j = 0; j < S; ++j)
            shown.push_back(j < operand.probabilities.at(b, h).keys() ? operand.probabilities.at(b, h)(i, j) : Scalar(0));
    at.compare(3, {B, H, T, S}, shown, roundings, a.precision);
    return at.finish();
  });
}

}  // namespace heed::conformance
