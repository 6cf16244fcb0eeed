// Tensors of heads, and the packed rows of heed: [B x H x T x E] or [B x T x H E] against [B T x H E].
#pragma once

#include "case.hpp"

namespace heed::conformance {

struct Heads {
  Index sequences = 0;  // B
  Index heads = 0;      // H
  Index rows = 0;       // T, of every sequence
  Index width = 0;      // E
  bool flat = false;    // [B x T x H E] rather than [B x H x T x E]

  std::vector<Index> dims() const {
    if (flat) return {sequences, rows, heads * width};
    return {sequences, heads, rows, width};
  }
  /// Where element e of row t of head h of sequence b is in the tensor.
  std::size_t at(Index b, Index h, Index t, Index e) const {
    const Index row = flat ? (b * rows + t) * heads + h : (b * heads + h) * rows + t;
    return static_cast<std::size_t>(row * width + e);
  }
};

/// num_heads: 0 if the operator's attribute is absent.
inline Heads heads_of(const Tensor& tensor, std::string_view name, Index num_heads) {
  const auto& dims = tensor.dims;
  if (tensor.rank() == 4) {
    expect(num_heads == 0 || num_heads == dims[1], name, ": expected ", num_heads, " heads, found ", text_of(dims));
    expect(dims[1] >= 1 && dims[3] >= 1, name, ": expected heads with a width, found ", text_of(dims));
    return {dims[0], dims[1], dims[2], dims[3], false};
  }
  expect(tensor.rank() == 3, name, ": expected rank 3 or 4, found ", text_of(dims));
  expect(num_heads >= 1 && dims[2] >= num_heads && dims[2] % num_heads == 0, name, ": expected the columns of ", num_heads,
         " heads, found ", text_of(dims));
  return {dims[0], num_heads, dims[1], dims[2] / num_heads, true};
}

/// [B T x H E]
template <class Scalar>
Matrix<Scalar> packed_rows(const Tensor& tensor, const Heads& heads) {
  Matrix<Scalar> x(heads.sequences * heads.rows, heads.heads * heads.width);
  for (Index b = 0; b < heads.sequences; ++b)
    for (Index h = 0; h < heads.heads; ++h)
      for (Index t = 0; t < heads.rows; ++t)
        for (Index e = 0; e < heads.width; ++e)
          x(b * heads.rows + t, h * heads.width + e) = static_cast<Scalar>(tensor.values[heads.at(b, h, t, e)]);
  return x;
}

/// The values of a tensor with the dimensions of `heads`.
template <class Scalar>
std::vector<Scalar> unpacked(const Matrix<Scalar>& x, const Heads& heads) {
  std::vector<Scalar> values(static_cast<std::size_t>(x.size()));
  for (Index b = 0; b < heads.sequences; ++b)
    for (Index h = 0; h < heads.heads; ++h)
      for (Index t = 0; t < heads.rows; ++t)
        for (Index e = 0; e < heads.width; ++e) values[heads.at(b, h, t, e)] = x(b * heads.rows + t, h * heads.width + e);
  return values;
}

}  // namespace heed::conformance
