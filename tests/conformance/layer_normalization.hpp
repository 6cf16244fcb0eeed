// LayerNormalization, by layer_norm.
//
//   X, Scale, B (or none)      Y, Mean, InvStdDev      attributes   axis (-1), epsilon (10^-5), stash_type
#pragma once

#include <heed/ops/layer_norm.hpp>

#include "normalization.hpp"

namespace heed::conformance {

inline Worst layer_normalization(Case& at) {
  const Tensor &input = at.required(0, "X"), &scale = at.required(1, "Scale");
  const Tensor* added = at.input(2);
  const NormalizedRows flat = normalized_rows(input, at.integer("axis", -1));
  const double epsilon = at.real("epsilon", 1e-5);
  return with_scalar(stash_type(at, input.type), [&](auto scalar) {
    using Scalar = decltype(scalar);
    const auto x = matrix_of<Scalar>(input, flat.rows, flat.cols);
    const auto weight = of_every_row<Scalar>(scale, input, flat, "Scale");
    Matrix<Scalar> bias = Matrix<Scalar>::Zero(1, flat.cols);
    if (added != nullptr) bias = of_every_row<Scalar>(*added, input, flat, "B");
    Matrix<Scalar> y(flat.rows, flat.cols), mean(flat.rows, 1), inverse_deviation(flat.rows, 1);
    Workers workers;
    layer_norm(LayerNormInputs<Scalar>{view_of(x), view_of(weight), view_of(bias), epsilon}, mutable_view_of(y),
               {mutable_view_of(mean), mutable_view_of(inverse_deviation)}, workers);

    std::vector<Index> moments = input.dims;  // the normalised axes are kept, as 1
    std::fill(moments.begin() + flat.axis, moments.end(), Index(1));
    const Index roundings = 3;  // of the normalised row, of its product with the scale, and of the sum with the bias
    at.compare(0, input.dims, values_of(y), roundings);
    at.compare(1, moments, values_of(mean), 1);
    at.compare(2, moments, values_of(inverse_deviation), 1);
    return at.finish();
  });
}

}  // namespace heed::conformance
