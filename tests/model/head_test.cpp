#include "heed/model/head.hpp"

#include <gtest/gtest.h>

#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/linear.hpp"

namespace heed {
namespace {

using reference::multiply_add;
using reference::random_matrix;
using reference::transposed;

constexpr Index T = 5, D = 7, V = 11;
const Shape shape{.width = D};

template <class Head>
typename Head::template Params<double> random_params() {
  typename Head::template Params<double> params(shape, typename Head::Config{.vocabulary = V});
  visit([](std::string_view name, Role, auto& tensor) { Random(7, name).normal(tensor, 1); }, params);
  return params;
}

TEST(TiedHead, LearnsNothingOfItsOwn) {
  EXPECT_EQ(count_parameters(random_params<TiedHead>()), 0);
}

TEST(UntiedHead, LearnsAMatrix) {
  EXPECT_EQ(count_parameters(random_params<UntiedHead>()), D * V);
  visit([](std::string_view, Role role, const auto&) { EXPECT_EQ(role, Role::matrix); }, random_params<UntiedHead>());
}

TEST(TiedHead, MultipliesByTheEmbeddingTransposed) {
  Workers workers;
  const auto embedding = random_matrix<float>(V, D, "embedding"), h = random_matrix<float>(T, D, "h");
  Matrix<float> logits = Matrix<float>::Zero(T, V);
  TiedHead::apply<float>({}, embedding, view_of(h), mutable_view_of(logits), workers);
  reference::expect_as_exact_as_naive(
      logits, multiply_add(h, transposed(embedding), Matrix<float>(Matrix<float>::Zero(T, V))),
      multiply_add<double>(h.cast<double>(), transposed(embedding).cast<double>(), Matrix<double>::Zero(T, V)), D);
}

TEST(UntiedHead, MultipliesByItsOwnWeight) {
  Workers workers;
  const auto h = random_matrix<float>(T, D, "h");
  UntiedHead::Params<float> params(shape, HeadConfig{.vocabulary = V});
  params.weight = random_matrix<float>(D, V, "weight");
  Matrix<float> logits = Matrix<float>::Zero(T, V);
  UntiedHead::apply<float>(params, {}, view_of(h), mutable_view_of(logits), workers);
  reference::expect_as_exact_as_naive(
      logits, multiply_add(h, params.weight, Matrix<float>(Matrix<float>::Zero(T, V))),
      multiply_add<double>(h.cast<double>(), params.weight.cast<double>(), Matrix<double>::Zero(T, V)), D);
}

template <class Head>
struct AnyHead : testing::Test {};
using Heads = testing::Types<TiedHead, UntiedHead>;
TYPED_TEST_SUITE(AnyHead, Heads);

TYPED_TEST(AnyHead, BackwardIsTheGradientOfForward) {
  Workers workers;
  auto params = random_params<TypeParam>();
  auto gradients = zeros_like(params);
  Matrix<double> embedding = random_matrix<double>(V, D, "embedding"), h = random_matrix<double>(T, D, "h");
  Matrix<double> d_embedding = Matrix<double>::Zero(V, D), d_h = Matrix<double>::Zero(T, D);
  const auto d_logits = random_matrix<double>(T, V, "d_logits");
  TypeParam::template backward<double>(params, embedding, view_of(h), view_of(d_logits), mutable_view_of(d_h), gradients,
                                       d_embedding, workers);
  const auto f = [&] {
    Matrix<double> logits = Matrix<double>::Zero(T, V);
    TypeParam::template apply<double>(params, embedding, view_of(h), mutable_view_of(logits), workers);
    return reference::dot(logits, d_logits);
  };
  reference::expect_gradient(h, d_h, D, f);
  reference::expect_gradient(embedding, d_embedding, D, f);
  visit([&](std::string_view, Role, auto& weight,
            const auto& d_weight) { reference::expect_gradient(weight, d_weight, D, f); },
        params, gradients);
}

}  // namespace
}  // namespace heed
