#include "activation.hpp"

#include <gtest/gtest.h>

#include "autodiff.hpp"

namespace heed::reference {
namespace {

// The sum of f(2 x) over numbers of both signs, and its gradient. The exact gelu is left out: dual numbers have no erfc.
template <class F, class D>
void expect_derivative(F&& f, D&& derivative) {
  constexpr Index n = 41;
  Inputs inputs;
  const Matrix<double> x = inputs.draw(1, n);
  std::vector<double> found;
  for (Index i = 0; i < n; ++i) found.push_back(2 * derivative(2 * x(0, i)));
  const auto exact = inputs.gradient_of([&](auto&& next) {
    Dual sum = 0;
    for (Index i = 0; i < n; ++i) sum += f(Dual(Dual(2) * next()));
    return sum;
  });
  expect_same_gradient(found, exact, 32);
}

TEST(ReferenceActivation, DerivativesAreThoseOfTheFunctions) {
  expect_derivative([](const Dual& x) { return Dual(silu(x)); }, [](double x) { return silu_derivative(x); });
  expect_derivative([](const Dual& x) { return Dual(gelu_tanh(x)); }, [](double x) { return gelu_tanh_derivative(x); });
}

}  // namespace
}  // namespace heed::reference
