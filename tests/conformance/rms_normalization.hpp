// RMSNormalization, by rms_norm.
//
//   X, scale         attributes   axis (-1), epsilon (10^-5), stash_type
#pragma once

#include <heed/ops/rms_norm.hpp>

#include "normalization.hpp"

namespace heed::conformance {

inline Worst rms_normalization(Case& at) {
  const Tensor &input = at.required(0, "X"), &scale = at.required(1, "scale");
  const NormalizedRows flat = normalized_rows(input, at.integer("axis", -1));
  const double epsilon = at.real("epsilon", 1e-5);
  return with_scalar(stash_type(at, input.type), [&](auto scalar) {
    using Scalar = decltype(scalar);
    const auto x = matrix_of<Scalar>(input, flat.rows, flat.cols);
    const auto weight = of_every_row<Scalar>(scale, input, flat, "scale");
    Matrix<Scalar> y(flat.rows, flat.cols);
    Workers workers;
    rms_norm(x, weight, epsilon, y, workers);
    const Index roundings = 2;  // of the normalised row, and of its product with the scale
    at.compare(0, input.dims, values_of(y), roundings);
    return at.finish();
  });
}

}  // namespace heed::conformance
