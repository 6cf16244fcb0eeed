#include "heed/mixers/head_projection.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/linear.hpp"
#include "../reference/rms_norm.hpp"
#include "../support/lone_pass.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using Config = HeadProjection::Config;

constexpr Index T = 5, D = 7, heads = 3, E = 4;

std::vector<std::string> names_of(const Config& config) {
  const HeadProjection::Params<float> params(D, heads, E, config);
  std::vector<std::string> names;
  HeadProjection::Params<float>::visit(
      "q",
      [&](std::string_view name, Role, const Matrix<float>& tensor) {
        names.push_back(std::string(name) + " " + std::to_string(tensor.rows()) + "x" + std::to_string(tensor.cols()));
      },
      params);
  return names;
}

TEST(HeadProjection, HasTheTensorsOfItsOptionsAndNoOthers) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of({}), Names{"w_q 7x12"});
  EXPECT_EQ(names_of({.biases = true}), (Names{"w_q 7x12", "b_q 1x12"}));
  EXPECT_EQ(names_of({.norm = QueryKeyNorm::per_head}), (Names{"w_q 7x12", "q_norm 1x4"}));
  EXPECT_EQ(names_of({.biases = true, .norm = QueryKeyNorm::whole}), (Names{"w_q 7x12", "b_q 1x12", "q_norm 1x12"}));
}

template <class Scalar>
HeadProjection::Params<Scalar> drawn(const Config& config) {
  HeadProjection::Params<Scalar> params(D, heads, E, config);
  HeadProjection::Params<Scalar>::visit(
      "q",
      [](std::string_view name, Role, Matrix<Scalar>& tensor) {
        tensor = random_matrix<double>(tensor.rows(), tensor.cols(), name, 0.5).template cast<Scalar>();
      },
      params);
  return params;
}

// norm(x W + b) as it is written.
template <class Scalar>
Matrix<Scalar> naive(const Config& config, const HeadProjection::Params<Scalar>& params, const Matrix<Scalar>& x) {
  Matrix<Scalar> r = reference::multiply_add(x, params.w, Matrix<Scalar>(Matrix<Scalar>::Zero(T, heads * E)));
  for (Index t = 0; config.biases && t < T; ++t) r.row(t) += params.b;
  if (config.norm == QueryKeyNorm::whole) return reference::rms_norm(r, params.norm, config.epsilon);
  for (Index h = 0; config.norm == QueryKeyNorm::per_head && h < heads; ++h)
    r.middleCols(h * E, E) = reference::rms_norm(Matrix<Scalar>(r.middleCols(h * E, E)), params.norm, config.epsilon);
  return r;
}

TEST(HeadProjection, IsTheNormOfTheBiasedProjection) {
  for (const bool biases : {false, true})
    for (const auto norm : {QueryKeyNorm::none, QueryKeyNorm::per_head, QueryKeyNorm::whole}) {
      const Config config{biases, norm, 0.01};
      const auto params = drawn<float>(config);
      const auto x = random_matrix<float>(T, D, "x");
      LonePass lone(T, Purpose::inference);
      HeadProjection::Record<float> record;
      const auto r = HeadProjection::apply(config, params, record, lone.pass, view_of(x), lone.pass.scratch);
      // D products, the bias, and 7 for the norm and its mean
      reference::expect_as_exact_as_naive(Matrix<float>(r), naive(config, params, x),
                                          naive<double>(config, drawn<double>(config), Matrix<double>(x.cast<double>())),
                                          D + 1 + 7 + heads * E);
    }
}

TEST(HeadProjection, OfNoHeadsHasNothingToDo) {
  for (const auto norm : {QueryKeyNorm::none, QueryKeyNorm::per_head, QueryKeyNorm::whole}) {
    const Config config{true, norm, 0.01};
    const HeadProjection::Params<float> params(D, 0, E, config);
    auto gradients = params;
    const auto x = random_matrix<float>(T, D, "x");
    Matrix<float> d_x = Matrix<float>::Zero(T, D);
    LonePass lone(T);
    HeadProjection::Record<float> record;
    const auto r = HeadProjection::apply(config, params, record, lone.pass, view_of(x), lone.pass.kept);
    EXPECT_EQ(r.cols(), 0);
    HeadProjection::backward(config, params, record, lone.pass, view_of(x), r, mutable_view_of(d_x), gradients);
    EXPECT_TRUE((d_x.array() == 0).all());
  }
}

}  // namespace
}  // namespace heed
