#include <gtest/gtest.h>

#include "autodiff.hpp"
#include "layer_norm.hpp"

namespace heed::reference {
namespace {

TEST(ReferenceLayerNorm, BackwardIsTheGradientOfForward) {
  constexpr Index T = 3, D = 5;
  Inputs inputs, others;
  const Matrix<double> x = inputs.draw(T, D), weight = inputs.draw(1, D), d_y = others.draw(T, D);
  inputs.draw(1, D);  // the bias, which its gradient does not depend on
  const auto d = layer_norm_backward(x, weight, 1e-2, d_y);
  const auto exact = inputs.gradient_of([&](auto&& next) {
    const Matrix<Dual> x_dual = take(T, D, next), weight_dual = take(1, D, next), bias_dual = take(1, D, next);
    const Matrix<Dual> y = layer_norm(x_dual, weight_dual, bias_dual, 1e-2).y;
    Dual loss = 0;
    for (Index i = 0; i < y.size(); ++i) loss += y.data()[i] * d_y.data()[i];
    return loss;
  });
  std::vector<double> found;
  for (const Matrix<double>* part : {&d.x, &d.weight, &d.bias})
    found.insert(found.end(), part->data(), part->data() + part->size());
  expect_same_gradient(found, exact, T * D * D);
}

}  // namespace
}  // namespace heed::reference
