// The errors of a float model of all variants against the same weights in double: forward, decoded and of gradients.
#pragma once

#include "heed/mixers/variants.hpp"
#include "heed/model/stack.hpp"
#include "heed/testing/mixer_contract.hpp"
#include "reference/bounds.hpp"

struct ModelErrors {
  double forward, decoded, gradient;
};

namespace heed::inline HEED_ABI::compiled_kernels {

/// With the kernels that the including translation unit has.
inline ModelErrors model_errors() {
  using reference::random_matrix;
  const auto build = []<class Scalar>(Scalar) {
    return Stack<Scalar, Block<StandardAttention>, Block<ResFormer>, Block<SVFormer>, Block<ReuseTransformer>,
                 Block<RecurFormer>, Block<Mamba>>({.width = 32, .heads = 4, .kv_heads = 2});
  };
  auto narrow = build(float());
  auto exact = build(double());
  testing::detail::randomise(narrow.params(), 3);
  testing::detail::copy_params(narrow.params(), exact.params());
  const Sequences sequences({70, 5});
  const Matrix<float> x = random_matrix<float>(75, 32, "x"), d_h = random_matrix<float>(75, 32, "d_h");

  const auto run = [&](auto& model, const auto& rows, const auto& d_rows, auto& forward, auto& decoded, auto& gradient) {
    auto tape = model.make_tape(sequences);
    auto gradients = model.make_gradients();
    forward = model.forward(rows, tape);
    gradient = model.backward(d_rows, tape, gradients);
    auto cache = model.make_cache({.positions = 70, .rows = 69});
    model.forward(rows.topRows(69), cache);
    decoded = model.forward(rows.row(69), cache);
  };
  Matrix<float> forward, decoded, gradient;
  Matrix<double> exact_forward, exact_decoded, exact_gradient;
  run(narrow, x, d_h, forward, decoded, gradient);
  run(exact, Matrix<double>(x.cast<double>()), Matrix<double>(d_h.cast<double>()), exact_forward, exact_decoded,
      exact_gradient);
  return {reference::error_of(forward, exact_forward) / reference::largest(exact_forward),
          reference::error_of(decoded, exact_decoded) / reference::largest(exact_decoded),
          reference::error_of(gradient, exact_gradient) / reference::largest(exact_gradient)};
}

}  // namespace heed::inline HEED_ABI::compiled_kernels
