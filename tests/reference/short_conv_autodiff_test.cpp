#include "short_conv.hpp"

#include <gtest/gtest.h>

#include "autodiff.hpp"

namespace heed::reference {
namespace {

TEST(ReferenceShortConv, BackwardIsTheGradientOfForward) {
  constexpr Index T = 5, C = 3, taps = 4;
  Inputs inputs, others;
  const Matrix<double> x = inputs.draw(T, C), weight = inputs.draw(taps, C), bias = inputs.draw(1, C);
  const Matrix<double> d_y = others.draw(T, C);
  const auto d = short_conv_backward(x, weight, bias, d_y);
  const auto exact = inputs.gradient_of([&](auto&& next) {
    const Matrix<Dual> x_dual = take(T, C, next), weight_dual = take(taps, C, next), bias_dual = take(1, C, next);
    Matrix<Dual> none(taps - 1, C);
    for (Index i = 0; i < none.size(); ++i) none.data()[i] = 0;
    const Matrix<Dual> y = short_conv(x_dual, weight_dual, bias_dual, none);
    Dual loss = 0;
    for (Index i = 0; i < y.size(); ++i) loss += y.data()[i] * d_y.data()[i];
    return loss;
  });
  std::vector<double> found;
  for (const Matrix<double>* part : {&d.x, &d.weight, &d.bias})
    found.insert(found.end(), part->data(), part->data() + part->size());
  expect_same_gradient(found, exact, T * taps);
}

}  // namespace
}  // namespace heed::reference
