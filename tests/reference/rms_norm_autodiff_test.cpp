#include <gtest/gtest.h>

#include "autodiff.hpp"
#include "rms_norm.hpp"

namespace heed::reference {
namespace {

TEST(ReferenceRmsNorm, BackwardIsTheGradientOfForward) {
  constexpr Index T = 3, D = 5;
  Inputs inputs, others;
  const Matrix<double> x = inputs.draw(T, D), weight = inputs.draw(1, D), d_y = others.draw(T, D);
  const auto d = rms_norm_backward(x, weight, 1e-2, d_y);
  const auto exact = inputs.gradient_of([&](auto&& next) {
    const Matrix<Dual> x_dual = take(T, D, next), weight_dual = take(1, D, next);
    const Matrix<Dual> y = rms_norm(x_dual, weight_dual, 1e-2);
    Dual loss = 0;
    for (Index i = 0; i < y.size(); ++i) loss += y.data()[i] * d_y.data()[i];
    return loss;
  });
  std::vector<double> found(d.x.data(), d.x.data() + d.x.size());
  found.insert(found.end(), d.weight.data(), d.weight.data() + d.weight.size());
  expect_same_gradient(found, exact, T * D * D);
}

}  // namespace
}  // namespace heed::reference
