#include "heed/model/norm.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/rms_norm.hpp"
#include "support/lone_pass.hpp"

namespace heed {
namespace {

using reference::random_matrix;

constexpr Index T = 5, D = 7;
constexpr Index operations = D + 7;  // the squares of a row, and 7 more on the way to y
const Shape shape{.width = D};

TEST(RmsNormComponent, HasOneWeightOfTheRoleOfNorms) {
  RmsNorm::Params<float> params(shape, {});
  int tensors = 0;
  visit(
      [&](std::string_view name, Role role, const auto& tensor) {
        ++tensors;
        EXPECT_EQ(name, "weight");
        EXPECT_EQ(role, Role::norm);
        EXPECT_EQ(tensor.rows(), 1);
        EXPECT_EQ(tensor.cols(), D);
      },
      params);
  EXPECT_EQ(tensors, 1);
}

TEST(RmsNormComponent, NormalisesWithTheEpsilonOfItsConfig) {
  const RmsNorm::Config config{.epsilon = 0.5};
  RmsNorm::Params<float> params(shape, config);
  params.weight = random_matrix<float>(1, D, "weight");
  const auto x = random_matrix<float>(T, D, "x");
  Matrix<float> y(T, D);
  LonePass lone(T);
  RmsNorm::apply<float>(config, params, lone.pass, view_of(x), mutable_view_of(y));
  reference::expect_as_exact_as_naive(
      y, reference::rms_norm(x, params.weight, config.epsilon),
      reference::rms_norm<double>(x.cast<double>(), params.weight.cast<double>(), config.epsilon), operations);
}

TEST(RmsNormComponent, BackwardIsTheGradientOfForward) {
  const RmsNorm::Config config{.epsilon = 0.5};
  RmsNorm::Params<double> params(shape, config), gradients = zeros_like(params);
  params.weight = random_matrix<double>(1, D, "weight");
  Matrix<double> x = random_matrix<double>(T, D, "x"), y(T, D), d_x = Matrix<double>::Zero(T, D);
  const auto d_y = random_matrix<double>(T, D, "d_y");
  LonePass lone(T);
  RmsNorm::backward<double>(config, params, lone.pass, view_of(x), view_of(d_y), mutable_view_of(d_x), gradients);
  const auto f = [&] {
    RmsNorm::apply<double>(config, params, lone.pass, view_of(x), mutable_view_of(y));
    return reference::dot(y, d_y);
  };
  reference::expect_gradient(x, d_x, operations, f);
  reference::expect_gradient(params.weight, gradients.weight, operations, f);
}

}  // namespace
}  // namespace heed
