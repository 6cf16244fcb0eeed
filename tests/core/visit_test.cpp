#include "heed/core/visit.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace heed {
namespace {

struct Inner {
  Matrix<double> w, b;
  template <class F, class P, class... Others>
  static void visit(F&& f, P& params, Others&... others) {
    f("w", Role::matrix, params.w, others.w...);
    f("b", Role::bias, params.b, others.b...);
  }
};

struct Outer {
  Inner inner;
  Matrix<double> gain;
  template <class F, class P, class... Others>
  static void visit(F&& f, P& params, Others&... others) {
    heed::visit(prefixed("inner", f), params.inner, others.inner...);
    f("gain", Role::norm, params.gain, others.gain...);
  }
};

Outer made_of(double value) {
  return {{Matrix<double>::Constant(2, 3, value), Matrix<double>::Constant(1, 3, value)},
          Matrix<double>::Constant(1, 5, value)};
}

TEST(Visit, CallsEveryTensorWithItsNameAndRole) {
  const Outer outer = made_of(1);
  std::vector<std::string> names;
  std::vector<Role> roles;
  visit(
      [&](std::string_view name, Role role, const Matrix<double>&) {
        names.emplace_back(name);
        roles.push_back(role);
      },
      outer);
  EXPECT_EQ(names, (std::vector<std::string>{"inner.w", "inner.b", "gain"}));
  EXPECT_EQ(roles, (std::vector<Role>{Role::matrix, Role::bias, Role::norm}));
}

TEST(Visit, HandsOverTheTensorsOfTheOthersOfTheSameName) {
  Outer weights = made_of(1);
  const Outer gradients = made_of(2);
  visit([](std::string_view, Role, Matrix<double>& w, const Matrix<double>& g) { w += g; }, weights, gradients);
  visit([](std::string_view, Role, const Matrix<double>& w) { EXPECT_TRUE((w.array() == 3).all()); }, weights);
}

TEST(Visit, CountsParameters) {
  EXPECT_EQ(count_parameters(made_of(1)), 2 * 3 + 3 + 5);
}

TEST(Visit, SetsParametersToZero) {
  Outer outer = made_of(1);
  set_zero(outer);
  visit([](std::string_view, Role, const Matrix<double>& w) { EXPECT_TRUE((w.array() == 0).all()); }, outer);
}

TEST(Visit, MakesZerosOfTheSameShapesAndLeavesTheOriginal) {
  const Outer outer = made_of(1);
  const Outer zeros = zeros_like(outer);
  visit(
      [](std::string_view, Role, const Matrix<double>& w, const Matrix<double>& zero) {
        EXPECT_TRUE((w.array() == 1).all());
        EXPECT_TRUE((zero.array() == 0).all());
        EXPECT_EQ(w.rows(), zero.rows());
        EXPECT_EQ(w.cols(), zero.cols());
      },
      outer, zeros);
}

TEST(Visit, PassesOverATensorThatIsAbsent) {
  const Matrix<double> present(1, 0), absent;
  int visited = 0;
  const auto count = [&](std::string_view, Role, const auto&) { ++visited; };
  visit_if_present(count, "present", Role::bias, present);  // a tensor of no heads is still a tensor
  visit_if_present(count, "absent", Role::bias, absent);
  EXPECT_EQ(visited, 1);
}

TEST(NoParams, HasNothingToVisit) {
  NoParams none;
  visit([](std::string_view, Role, auto&) { FAIL() << "a tensor was visited"; }, none);
  EXPECT_EQ(count_parameters(none), 0);
}

}  // namespace
}  // namespace heed
