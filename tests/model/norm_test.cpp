#include "heed/model/norm.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/layer_norm.hpp"
#include "../reference/rms_norm.hpp"
#include "support/lone_pass.hpp"

namespace heed {
namespace {

using reference::random_matrix;

constexpr Index T = 5, D = 7;
constexpr Index operations = D + 10;  // the squares of a row, and 10 more on the way to y
const Shape shape{.width = D};

template <class Norm>
std::vector<std::pair<std::string, Role>> tensors() {
  std::vector<std::pair<std::string, Role>> found;
  const typename Norm::template Params<float> params(shape, {});
  visit(
      [&](std::string_view name, Role role, const auto& tensor) {
        found.emplace_back(name, role);
        EXPECT_EQ(tensor.rows(), 1);
        EXPECT_EQ(tensor.cols(), D);
      },
      params);
  return found;
}

using List = std::vector<std::pair<std::string, Role>>;

TEST(NormComponents, ListWhatTheyLearn) {
  EXPECT_EQ(tensors<RmsNorm>(), (List{{"weight", Role::norm}}));
  EXPECT_EQ(tensors<LayerNorm>(), (List{{"weight", Role::norm}, {"bias", Role::bias}}));
  EXPECT_EQ(tensors<NoNorm>(), List());
}

template <class Scalar>
Matrix<Scalar> naive(RmsNorm, const RmsNorm::Params<float>& params, const Matrix<Scalar>& x, double epsilon) {
  return reference::rms_norm<Scalar>(x, params.weight.cast<Scalar>(), epsilon);
}
template <class Scalar>
Matrix<Scalar> naive(LayerNorm, const LayerNorm::Params<float>& params, const Matrix<Scalar>& x, double epsilon) {
  return reference::layer_norm<Scalar>(x, params.weight.cast<Scalar>(), params.bias.cast<Scalar>(), epsilon).y;
}

template <class Norm, class Scalar>
typename Norm::template Params<Scalar> random_params() {
  typename Norm::template Params<Scalar> params(shape, {});
  visit([](std::string_view name, Role, auto& tensor) { tensor = random_matrix<Scalar>(1, D, name); }, params);
  return params;
}

template <class Norm>
struct Normalising : testing::Test {};
using Norms = testing::Types<RmsNorm, LayerNorm>;
TYPED_TEST_SUITE(Normalising, Norms);

TYPED_TEST(Normalising, TakesTheEpsilonOfItsConfig) {
  const NormConfig config{.epsilon = 0.5};
  const auto params = random_params<TypeParam, float>();
  const auto x = random_matrix<float>(T, D, "x");
  Matrix<float> y(T, D);
  LonePass lone(T);
  TypeParam::template apply<float>(config, params, view_of(x), mutable_view_of(y), lone.pass.workers);
  reference::expect_as_exact_as_naive(y, naive<float>(TypeParam(), params, x, config.epsilon),
                                      naive<double>(TypeParam(), params, x.cast<double>(), config.epsilon), operations);
}

template <class Norm>
struct EveryNorm : testing::Test {};
using AllNorms = testing::Types<RmsNorm, LayerNorm, NoNorm>;
TYPED_TEST_SUITE(EveryNorm, AllNorms);

TYPED_TEST(EveryNorm, AddsTheGradientOfForward) {
  const typename TypeParam::Config config{};
  auto params = random_params<TypeParam, double>();
  auto gradients = zeros_like(params);
  Matrix<double> x = random_matrix<double>(T, D, "x"), y(T, D), d_x = Matrix<double>::Ones(T, D);
  const auto d_y = random_matrix<double>(T, D, "d_y");
  LonePass lone(T);
  TypeParam::template backward<double>(config, params, view_of(x), view_of(d_y), mutable_view_of(d_x), gradients,
                                       lone.pass.scratch, lone.pass.workers);
  const auto f = [&] {
    TypeParam::template apply<double>(config, params, view_of(x), mutable_view_of(y), lone.pass.workers);
    return reference::dot(y, d_y);
  };
  reference::expect_gradient(x, Matrix<double>(d_x.array() - 1), operations, f);
  visit([&](std::string_view, Role, auto& weight,
            const auto& gradient) { reference::expect_gradient(weight, gradient, operations, f); },
        params, gradients);
}

TYPED_TEST(EveryNorm, MayWriteOverItsInput) {
  const auto params = random_params<TypeParam, float>();
  const auto x = random_matrix<float>(T, D, "x");
  Matrix<float> y(T, D), over = x;
  LonePass lone(T);
  TypeParam::template apply<float>({}, params, view_of(x), mutable_view_of(y), lone.pass.workers);
  TypeParam::template apply<float>({}, params, view_of(over), mutable_view_of(over), lone.pass.workers);
  EXPECT_TRUE(reference::same_bits(over, y));
}

TEST(NoNorm, LeavesRowsAsTheyAre) {
  const auto x = random_matrix<float>(T, D, "x");
  Matrix<float> y(T, D);
  LonePass lone(T);
  NoNorm::apply<float>({}, NoNorm::Params<float>(), view_of(x), mutable_view_of(y), lone.pass.workers);
  EXPECT_TRUE(reference::same_bits(y, x));
}

}  // namespace
}  // namespace heed
