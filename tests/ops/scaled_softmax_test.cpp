#include "heed/ops/scaled_softmax.hpp"

#include <gtest/gtest.h>

#include "reference/bounds.hpp"
#include "reference/central_difference.hpp"

namespace heed {
namespace {

using reference::random_matrix;

template <class Scalar>
Matrix<Scalar> coefficients_of(const Matrix<Scalar>& z, Scalar scale) {
  Matrix<Scalar> p(1, z.cols()), l(1, z.cols());
  scaled_softmax(view_of(z), scale, mutable_view_of(p), mutable_view_of(l));
  return l;
}

TEST(ScaledSoftmax, AddsUpToTheScale) {
  for (const Index n : {1, 2, 7, 40}) {
    const Matrix<float> l = coefficients_of<float>(random_matrix<float>(1, n, "z"), 8);
    EXPECT_NEAR(l.sum(), 8, 8 * static_cast<float>(n + 2) * std::numeric_limits<float>::epsilon());
    EXPECT_GT(l.minCoeff(), 0);
  }
}

TEST(ScaledSoftmax, OfEqualLogitsIsTheScaleInEqualParts) {
  EXPECT_EQ(coefficients_of<double>(Matrix<double>::Constant(1, 4, 3), 8), (Matrix<double>::Constant(1, 4, 2)));
}

TEST(ScaledSoftmax, OfLargeLogitsIsFinite) {
  const Matrix<float> z = (Matrix<float>(1, 3) << 1e4f, -1e4f, 1e4f).finished();
  EXPECT_EQ(coefficients_of<float>(z, 2), (Matrix<float>(1, 3) << 1, 0, 1).finished());
}

TEST(ScaledSoftmaxBackward, GivesTheGradientsOfLogitsAndScaleAndAdds) {
  for (const Index n : {1, 2, 7}) {
    Matrix<double> z = random_matrix<double>(1, n, "z"), scale = Matrix<double>::Constant(1, 1, 3.5);
    const Matrix<double> d_l = random_matrix<double>(1, n, "d_l");
    Matrix<double> p(1, n), l(1, n), d_z = Matrix<double>::Zero(1, n), d_scale = Matrix<double>::Zero(1, 1);
    scaled_softmax(view_of(z), scale(0, 0), mutable_view_of(p), mutable_view_of(l));
    for (int times = 0; times < 2; ++times)
      scaled_softmax_backward(view_of(p), scale(0, 0), view_of(d_l), mutable_view_of(d_z), mutable_view_of(d_scale));
    const auto loss = [&] { return reference::dot(coefficients_of(z, scale(0, 0)), d_l); };
    reference::expect_gradient(z, Matrix<double>(d_z / 2), n + 2, loss);
    reference::expect_gradient(scale, Matrix<double>(d_scale / 2), n + 2, loss);
  }
}

}  // namespace
}  // namespace heed
