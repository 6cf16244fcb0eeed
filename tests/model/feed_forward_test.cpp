#include "heed/model/feed_forward.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "../reference/activation.hpp"
#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/linear.hpp"
#include "support/lone_pass.hpp"

namespace heed {
namespace {

using reference::random_matrix;

constexpr Index T = 5, D = 7, F = 9;
// two products of D terms and their biases, the activation (10) times the other, a product of F terms and its bias
constexpr Index operations = 2 * (D + 1) + 11 + F + 1;
const Shape shape{.width = D, .hidden = F};

template <class Scalar>
Scalar activated(Silu, Scalar x) {
  return reference::silu(x);
}
template <class Scalar>
Scalar activated(Relu, Scalar x) {
  return x > 0 ? x : 0;
}
template <class Scalar>
Scalar activated(Gelu, Scalar x) {
  return reference::gelu(x);
}
template <class Scalar>
Scalar activated(GeluTanh, Scalar x) {
  return reference::gelu_tanh(x);
}

template <class Scalar>
Matrix<Scalar> affine(const Matrix<Scalar>& x, const Matrix<Scalar>& w, const Matrix<Scalar>& b, Matrix<Scalar> y) {
  y = reference::multiply_add(x, w, y);
  for (Index t = 0; t < y.rows(); ++t)
    for (Index i = 0; i < y.cols() && b.rows() > 0; ++i) y(t, i) += b(0, i);
  return y;
}

// Weights are given in float, computed with in Scalar.
template <class Scalar, class Function>
Matrix<Scalar> naive(GatedFeedForward<Function>, const typename GatedFeedForward<Function>::template Params<float>& params,
                     const Matrix<float>& x, const Matrix<float>& y) {
  const auto wide = [](const Matrix<float>& matrix) { return Matrix<Scalar>(matrix.cast<Scalar>()); };
  const Matrix<Scalar> zero = Matrix<Scalar>::Zero(T, F);
  Matrix<Scalar> hidden = affine(wide(x), wide(params.w_gate), wide(params.b_gate), zero);
  const Matrix<Scalar> up = affine(wide(x), wide(params.w_up), wide(params.b_up), zero);
  for (Index i = 0; i < hidden.size(); ++i) hidden.data()[i] = activated(Function(), hidden.data()[i]) * up.data()[i];
  return affine(hidden, wide(params.w_down), wide(params.b_down), wide(y));
}
template <class Scalar, class Function>
Matrix<Scalar> naive(FeedForward<Function>, const typename FeedForward<Function>::template Params<float>& params,
                     const Matrix<float>& x, const Matrix<float>& y) {
  const auto wide = [](const Matrix<float>& matrix) { return Matrix<Scalar>(matrix.cast<Scalar>()); };
  Matrix<Scalar> hidden = affine(wide(x), wide(params.w_up), wide(params.b_up), Matrix<Scalar>(Matrix<Scalar>::Zero(T, F)));
  for (Index i = 0; i < hidden.size(); ++i) hidden.data()[i] = activated(Function(), hidden.data()[i]);
  return affine(hidden, wide(params.w_down), wide(params.b_down), wide(y));
}

template <class Chosen, class Scalar>
typename Chosen::template Params<Scalar> random_params(const FeedForwardConfig& config) {
  typename Chosen::template Params<Scalar> params(shape, config);
  visit(
      [](std::string_view name, Role, auto& tensor) { tensor = random_matrix<Scalar>(tensor.rows(), tensor.cols(), name); },
      params);
  return params;
}

template <class Chosen>
struct AnyFeedForward : testing::Test {
  template <class Scalar>
  using Params = typename Chosen::template Params<Scalar>;
  template <class Scalar>
  using Record = typename Chosen::template Record<Scalar>;
};
using Chosen = testing::Types<SwiGlu, GeGlu, ReGlu, GatedFeedForward<GeluTanh>, FeedForward<Relu>, FeedForward<Gelu>,
                              FeedForward<Silu>, FeedForward<GeluTanh>>;
TYPED_TEST_SUITE(AnyFeedForward, Chosen);

constexpr FeedForwardConfig with_and_without_biases[] = {{.biases = false}, {.biases = true}};

std::vector<std::pair<std::string, Role>> listed(const auto& params) {
  std::vector<std::pair<std::string, Role>> list;
  visit([&](std::string_view name, Role role, const auto&) { list.emplace_back(name, role); }, params);
  return list;
}
using List = std::vector<std::pair<std::string, Role>>;

TEST(FeedForwardParams, AreMatricesAndIfChosenBiases) {
  const List gated = {{"w_gate", Role::matrix}, {"w_up", Role::matrix}, {"w_down", Role::output}};
  const List biases = {{"b_gate", Role::bias}, {"b_up", Role::bias}, {"b_down", Role::bias}};
  List all = gated;
  all.insert(all.end(), biases.begin(), biases.end());
  EXPECT_EQ(listed(SwiGlu::Params<float>(shape, {})), gated);
  EXPECT_EQ(listed(SwiGlu::Params<float>(shape, {.biases = true})), all);
  EXPECT_EQ(listed(FeedForward<Relu>::Params<float>(shape, {})), List(gated.begin() + 1, gated.end()));
  EXPECT_EQ(listed(FeedForward<Relu>::Params<float>(shape, {.biases = true})),
            (List{gated[1], gated[2], biases[1], biases[2]}));
  EXPECT_EQ(listed(NoFeedForward::Params<float>(shape, {})), List());
}

TYPED_TEST(AnyFeedForward, AddsItsFormulaToItsOutput) {
  for (const FeedForwardConfig& config : with_and_without_biases) {
    const auto params = random_params<TypeParam, float>(config);
    const auto x = random_matrix<float>(T, D, "x"), start = random_matrix<float>(T, D, "y");
    for (const Purpose purpose : {Purpose::inference, Purpose::training}) {
      Matrix<float> y = start;
      LonePass lone(T, purpose);
      typename TestFixture::template Record<float> record;
      TypeParam::template apply<float>(config, params, record, lone.pass, view_of(x), mutable_view_of(y));
      reference::expect_as_exact_as_naive(y, naive<float>(TypeParam(), params, x, start),
                                          naive<double>(TypeParam(), params, x, start), operations);
    }
  }
}

TYPED_TEST(AnyFeedForward, BackwardIsTheGradientOfForward) {
  for (const FeedForwardConfig& config : with_and_without_biases) {
    auto params = random_params<TypeParam, double>(config);
    auto gradients = zeros_like(params);
    Matrix<double> x = random_matrix<double>(T, D, "x"), d_x = Matrix<double>::Zero(T, D);
    const auto d_y = random_matrix<double>(T, D, "d_y");
    const auto apply = [&](const Pass& pass, typename TestFixture::template Record<double>& record) {
      Matrix<double> y = Matrix<double>::Zero(T, D);
      TypeParam::template apply<double>(config, params, record, pass, view_of(x), mutable_view_of(y));
      return y;
    };
    LonePass lone(T);
    typename TestFixture::template Record<double> record;
    apply(lone.pass, record);
    TypeParam::template backward<double>(config, params, record, lone.pass, view_of(x), view_of(d_y), mutable_view_of(d_x),
                                         gradients);
    const auto f = [&] {
      LonePass again(T);
      typename TestFixture::template Record<double> ignored;
      return reference::dot(apply(again.pass, ignored), d_y);
    };
    reference::expect_gradient(x, d_x, operations, f);
    visit([&](std::string_view, Role, auto& weight,
              const auto& d_weight) { reference::expect_gradient(weight, d_weight, operations, f); },
          params, gradients);
  }
}

TYPED_TEST(AnyFeedForward, BackwardAdds) {
  const FeedForwardConfig config{.biases = true};
  const auto params = random_params<TypeParam, double>(config);
  const auto x = random_matrix<double>(T, D, "x"), d_y = random_matrix<double>(T, D, "d_y");
  const auto backward = [&](double start) {
    LonePass lone(T);
    typename TestFixture::template Record<double> record;
    auto gradients = params;
    visit([&](std::string_view, Role, auto& gradient) { gradient.setConstant(start); }, gradients);
    Matrix<double> y = Matrix<double>::Zero(T, D), d_x = Matrix<double>::Constant(T, D, start);
    TypeParam::template apply<double>(config, params, record, lone.pass, view_of(x), mutable_view_of(y));
    TypeParam::template backward<double>(config, params, record, lone.pass, view_of(x), view_of(d_y), mutable_view_of(d_x),
                                         gradients);
    return std::pair(d_x, gradients);
  };
  // Starting at 1 changes one rounding of every term that is added.
  const auto expect_one_more = [](const Matrix<double>& from_one, const Matrix<double>& from_zero) {
    const double terms = (std::max)(2 * F, T);
    EXPECT_LE(reference::error_of(from_one, Matrix<double>(from_zero.array() + 1)),
              std::numeric_limits<double>::epsilon() * terms * (1 + reference::largest(from_zero)));
  };
  const auto [d_x_zero, zero] = backward(0);
  const auto [d_x_one, one] = backward(1);
  expect_one_more(d_x_one, d_x_zero);
  visit([&](std::string_view, Role, const auto& a, const auto& b) { expect_one_more(a, b); }, one, zero);
}

TEST(NoFeedForward, AddsNothing) {
  const auto x = random_matrix<float>(T, D, "x");
  Matrix<float> y = x;
  LonePass lone(T);
  NoFeedForward::Record<float> record;
  NoFeedForward::Params<float> params;
  NoFeedForward::apply<float>({}, params, record, lone.pass, view_of(x), mutable_view_of(y));
  NoFeedForward::backward<float>({}, params, record, lone.pass, view_of(x), view_of(x), mutable_view_of(y), params);
  EXPECT_TRUE(reference::same_bits(y, x));
  EXPECT_TRUE(is_absent<NoFeedForward>({}));
  EXPECT_FALSE(is_absent<SwiGlu>({}));
}

}  // namespace
}  // namespace heed
