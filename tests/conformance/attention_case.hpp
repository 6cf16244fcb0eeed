// What a vector file of Attention asks for, read and checked: everything but the rows themselves.
#pragma once

#include <heed/ops/mask.hpp>
#include <optional>

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

}  // namespace heed::conformance
