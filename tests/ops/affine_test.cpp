#include "heed/ops/affine.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "support/lone_pass.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

constexpr Index T = 5, in = 7, out = 4;

struct Problem {
  Matrix<double> x = random_matrix<double>(T, in, "x"), w = random_matrix<double>(in, out, "w");
  Matrix<double> y = random_matrix<double>(T, out, "y"), d_y = random_matrix<double>(T, out, "d_y");
};
const Matrix<double> absent(0, out);

TEST(Affine, IsALinearMapAndItsBiasIfThereIsOne) {
  const Problem problem;
  const auto b = random_matrix<double>(1, out, "b");
  Workers workers;
  Matrix<double> mapped = problem.y, without = problem.y;
  linear(problem.x, problem.w, mapped, workers);
  affine(problem.x, problem.w, absent, without, workers);
  EXPECT_TRUE(same_bits(without, mapped));
  Matrix<double> with = problem.y;
  add_bias(b, mapped, workers);
  affine(problem.x, problem.w, b, with, workers);
  EXPECT_TRUE(same_bits(with, mapped));
}

TEST(Affine, BackwardAddsTheGradientOfForward) {
  Problem problem;
  for (Matrix<double> b : {absent, random_matrix<double>(1, out, "b")}) {
    LonePass lone(T);
    Matrix<double> d_x = Matrix<double>::Ones(T, in), d_w = Matrix<double>::Ones(in, out),
                   d_b = Matrix<double>::Ones(b.rows(), out);
    affine_backward(problem.x, problem.w, problem.d_y, d_x, d_w, d_b, lone.pass);
    const auto f = [&] {
      Matrix<double> y = problem.y;
      affine(problem.x, problem.w, b, y, lone.pass.workers);
      return reference::dot(y, problem.d_y);
    };
    reference::expect_gradient(problem.x, Matrix<double>(d_x.array() - 1), in + 2, f);
    reference::expect_gradient(problem.w, Matrix<double>(d_w.array() - 1), in + 2, f);
    reference::expect_gradient(b, Matrix<double>(d_b.array() - 1), in + 2, f);
  }
}

}  // namespace
}  // namespace heed
