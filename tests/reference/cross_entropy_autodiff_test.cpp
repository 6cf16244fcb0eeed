#include <gtest/gtest.h>

#include "autodiff.hpp"
#include "cross_entropy.hpp"

namespace heed::reference {
namespace {

TEST(ReferenceCrossEntropy, GradientIsThatOfTheLoss) {
  constexpr Index T = 4, V = 6;
  const std::vector<int> targets = {2, -1, 5, 0};
  Inputs inputs;
  const Matrix<double> logits = inputs.draw(T, V);
  const Matrix<double> d = cross_entropy(logits, targets).d_logits;
  const auto exact = inputs.gradient_of([&](auto&& next) { return cross_entropy(take(T, V, next), targets).loss; });
  expect_same_gradient({d.data(), d.data() + d.size()}, exact, V * T);
}

}  // namespace
}  // namespace heed::reference
