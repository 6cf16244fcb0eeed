// What the two normalisations have in common: the axes from `axis` on are one row of heed.
//
//   X [rows x cols] after flattening     scale and bias broadcast to X, the same for every row
#pragma once

#include "case.hpp"

namespace heed::conformance {

struct NormalizedRows {
  Index axis = 0;  // from the front
  Index rows = 1;
  Index cols = 1;
};

inline NormalizedRows normalized_rows(const Tensor& x, Index axis) {
  expect(axis >= -x.rank() && axis < x.rank(), "axis: expected one of ", x.rank(), " axes, found ", axis);
  if (axis < 0) axis += x.rank();
  return {axis, product_of(x.dims, 0, axis), product_of(x.dims, axis, x.rank())};
}

/// The scale or bias as [1 x cols], broadcast from the right.
template <class Scalar>
Matrix<Scalar> of_every_row(const Tensor& tensor, const Tensor& x, const NormalizedRows& at, std::string_view name) {
  expect(tensor.rank() <= x.rank(), name, ": expected at most rank ", x.rank(), ", found ", text_of(tensor.dims));
  const Index missing = x.rank() - tensor.rank();
  Matrix<Scalar> row(1, at.cols);
  for (Index axis = 0; axis < tensor.rank(); ++axis) {
    const Index dim = tensor.dims[static_cast<std::size_t>(axis)];
    expect(dim == 1 || dim == x.dims[static_cast<std::size_t>(axis + missing)], name, ": expected to broadcast to ",
           text_of(x.dims), ", found ", text_of(tensor.dims));
    if (dim != 1 && axis + missing < at.axis) throw NotOffered(std::string(name) + " differs between rows");
  }
  for (Index col = 0; col < at.cols; ++col) {
    Index left = col, from = 0, stride = 1;
    for (Index axis = x.rank() - 1; axis >= at.axis; --axis) {
      const Index dim = x.dims[static_cast<std::size_t>(axis)], i = left % dim;
      left /= dim;
      if (axis < missing) continue;
      const Index own = tensor.dims[static_cast<std::size_t>(axis - missing)];
      from += own == 1 ? 0 : i * stride;
      stride *= own;
    }
    row(0, col) = static_cast<Scalar>(tensor.values[static_cast<std::size_t>(from)]);
  }
  return row;
}

/// The type to compute in: that of X or that of the attribute stash_type (a number of ONNX's TensorProto.DataType),
/// whichever is wider.
inline Type stash_type(Case& at, Type of_x) {
  const Index stash = at.integer("stash_type", 1);
  expect(stash == 1 || stash == 10 || stash == 11 || stash == 16, "stash_type: expected 1, 10, 11 or 16, found ", stash);
  return stash == 11 || of_x == Type::f64 ? Type::f64 : Type::f32;
}

}  // namespace heed::conformance
