#include "heed/model/feed_forward.hpp"

#include <gtest/gtest.h>

#include "../reference/activation.hpp"
#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/linear.hpp"
#include "support/lone_pass.hpp"

namespace heed {
namespace {

using reference::random_matrix;

constexpr Index T = 5, D = 7, F = 9;
// two products of D terms, the gate (4: e^-x, 1 + e^-x, the quotient, the product) times the other, a product of F terms
constexpr Index operations = 2 * D + 5 + F;
const Shape shape{.width = D, .hidden = F};

template <class Scalar>
SwiGlu::Params<Scalar> random_params() {
  SwiGlu::Params<Scalar> params(shape, {});
  params.w_gate = random_matrix<Scalar>(D, F, "w_gate");
  params.w_up = random_matrix<Scalar>(D, F, "w_up");
  params.w_down = random_matrix<Scalar>(F, D, "w_down");
  return params;
}

template <class Scalar>
Matrix<Scalar> naive(const Matrix<Scalar>& x, const Matrix<Scalar>& w_gate, const Matrix<Scalar>& w_up,
                     const Matrix<Scalar>& w_down, const Matrix<Scalar>& y) {
  const Matrix<Scalar> zero = Matrix<Scalar>::Zero(T, F);
  const Matrix<Scalar> gate = reference::multiply_add(x, w_gate, zero), up = reference::multiply_add(x, w_up, zero);
  Matrix<Scalar> hidden(T, F);
  for (Index t = 0; t < T; ++t)
    for (Index i = 0; i < F; ++i) hidden(t, i) = reference::silu(gate(t, i)) * up(t, i);
  return reference::multiply_add(hidden, w_down, y);
}

TEST(SwiGlu, ListsItsTensorsWithTheOutputLast) {
  std::vector<std::string> names;
  std::vector<Role> roles;
  visit(
      [&](std::string_view name, Role role, const auto&) {
        names.emplace_back(name);
        roles.push_back(role);
      },
      random_params<float>());
  EXPECT_EQ(names, (std::vector<std::string>{"w_gate", "w_up", "w_down"}));
  EXPECT_EQ(roles, (std::vector<Role>{Role::matrix, Role::matrix, Role::output}));
}

TEST(SwiGlu, AddsTheGatedProductToItsOutput) {
  const auto params = random_params<float>();
  const auto x = random_matrix<float>(T, D, "x"), start = random_matrix<float>(T, D, "y");
  const auto wide = [](const Matrix<float>& matrix) { return Matrix<double>(matrix.cast<double>()); };
  for (const Purpose purpose : {Purpose::inference, Purpose::training}) {
    Matrix<float> y = start;
    LonePass lone(T, purpose);
    SwiGlu::Record<float> record;
    SwiGlu::apply<float>({}, params, record, lone.pass, view_of(x), mutable_view_of(y));
    reference::expect_as_exact_as_naive(
        y, naive(x, params.w_gate, params.w_up, params.w_down, start),
        naive(wide(x), wide(params.w_gate), wide(params.w_up), wide(params.w_down), wide(start)), operations);
  }
}

TEST(SwiGlu, BackwardIsTheGradientOfForward) {
  auto params = random_params<double>();
  auto gradients = zeros_like(params);
  Matrix<double> x = random_matrix<double>(T, D, "x"), d_x = Matrix<double>::Zero(T, D);
  const auto d_y = random_matrix<double>(T, D, "d_y");
  const auto apply = [&](const Pass& pass, SwiGlu::Record<double>& record) {
    Matrix<double> y = Matrix<double>::Zero(T, D);
    SwiGlu::apply<double>({}, params, record, pass, view_of(x), mutable_view_of(y));
    return y;
  };
  LonePass lone(T);
  SwiGlu::Record<double> record;
  apply(lone.pass, record);
  SwiGlu::backward<double>({}, params, record, lone.pass, view_of(x), view_of(d_y), mutable_view_of(d_x), gradients);
  const auto f = [&] {
    LonePass again(T);
    SwiGlu::Record<double> ignored;
    return reference::dot(apply(again.pass, ignored), d_y);
  };
  reference::expect_gradient(x, d_x, operations, f);
  visit([&](std::string_view, Role, auto& weight,
            const auto& d_weight) { reference::expect_gradient(weight, d_weight, operations, f); },
        params, gradients);
}

TEST(SwiGlu, BackwardAdds) {
  const auto params = random_params<double>();
  const auto x = random_matrix<double>(T, D, "x"), d_y = random_matrix<double>(T, D, "d_y");
  const auto backward = [&](double start) {
    LonePass lone(T);
    SwiGlu::Record<double> record;
    auto gradients = params;
    visit([&](std::string_view, Role, auto& gradient) { gradient.setConstant(start); }, gradients);
    Matrix<double> y = Matrix<double>::Zero(T, D), d_x = Matrix<double>::Constant(T, D, start);
    SwiGlu::apply<double>({}, params, record, lone.pass, view_of(x), mutable_view_of(y));
    SwiGlu::backward<double>({}, params, record, lone.pass, view_of(x), view_of(d_y), mutable_view_of(d_x), gradients);
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

}  // namespace
}  // namespace heed
