#include "heed/ops/value_difference.hpp"

#include <gtest/gtest.h>

#include "reference/bounds.hpp"
#include "reference/central_difference.hpp"
#include "reference/executors.hpp"

namespace heed {
namespace {

using reference::random_matrix;

/// Two kv heads with three query heads each; sequences of 4, 0 and 2 new rows, of which `past` more are cached.
template <class Scalar>
struct Case {
  static constexpr Index G = 2, group = 3;
  Index width;
  Index past;
  Sequences sequences = {4, 0, 2};
  Matrix<Scalar> o = random_matrix<Scalar>(6, G* group* width, "o");  // [T x H E_v]
  std::vector<Matrix<Scalar>> rows = {};                              // [S x E_v] of v_first, then of v
  std::vector<Matrix<Scalar>> gradients = {};
  std::vector<HeadRows<Scalar>> entries = {};

  Case(Index width_in, Index past_in) : width(width_in), past(past_in) {
    for (Index i = 0; i < 2 * 3 * G; ++i) {
      const Index visible = sequences.rows(i / G % 3) + past;
      rows.push_back(random_matrix<Scalar>(visible, width, "v" + std::to_string(i)));
      gradients.push_back(Matrix<Scalar>::Zero(visible, width));
    }
    for (std::size_t i = 0; i < rows.size(); ++i)
      entries.push_back({rows[i].data(), gradients[i].data(), rows[i].rows(), width, width, width});
  }
  ValueDifference<Scalar> difference(Scalar lambda) {
    return {lambda, {entries.data(), 3, G}, {entries.data() + 3 * G, 3, G}};
  }
  Matrix<Scalar> added(Scalar lambda, Executor* executor = nullptr) {
    Workers workers(executor);
    Matrix<Scalar> out(o.rows(), o.cols());
    add_value_difference(difference(lambda), sequences, view_of(o), mutable_view_of(out), workers);
    return out;
  }
  /// As it reads.
  template <class Wide>
  Matrix<Wide> expected(Scalar lambda) {
    const auto in = difference(lambda);
    Matrix<Wide> out(o.rows(), o.cols());
    for (Index b = 0; b < 3; ++b)
      for (Index t = 0; t < sequences.rows(b); ++t)
        for (Index j = 0; j < o.cols(); ++j) {
          const Index row = sequences.begin(b) + t, g = j / width / group;
          const auto at = [&](const auto& table) { return static_cast<Wide>(table.at(b, g).view()(past + t, j % width)); };
          out(row, j) = static_cast<Wide>(o(row, j)) + static_cast<Wide>(lambda) * (at(in.v_first) - at(in.v));
        }
    return out;
  }
};

template <class Scalar>
class ValueDifferenceOf : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(ValueDifferenceOf, Scalars);

TYPED_TEST(ValueDifferenceOf, IsAddedToEveryHeadOfAGroup) {
  const auto lambda = TypeParam(0.4);
  for (const Index width : {1, 5, 8, 33})
    for (const Index past : {0, 3}) {
      Case<TypeParam> c(width, past);
      reference::expect_as_exact_as_naive(c.added(lambda), c.template expected<TypeParam>(lambda),
                                          c.template expected<reference::Wide<TypeParam>>(lambda), 2);
    }
}

TYPED_TEST(ValueDifferenceOf, WithoutLambdaIsNothingToTheBit) {
  Case<TypeParam> c(5, 3);
  EXPECT_TRUE(reference::same_bits(c.added(0), c.o));
}

TYPED_TEST(ValueDifferenceOf, HasTheSameBitsForAnyNumberOfWorkers) {
  reference::Backwards backwards(3);
  Case<TypeParam> c(7, 2);
  EXPECT_TRUE(reference::same_bits(c.added(TypeParam(0.4), &backwards), c.added(TypeParam(0.4))));
}

TEST(ValueDifferenceBackward, AddsTheGradientsOfBothValues) {
  Case<double> c(3, 0);
  Workers workers;
  const Matrix<double> d_out = random_matrix<double>(c.o.rows(), c.o.cols(), "d_out");
  const auto loss = [&] { return reference::dot(c.added(0.4), d_out); };
  for (int times = 0; times < 2; ++times)
    add_value_difference_backward(c.difference(0.4), c.sequences, view_of(d_out), workers);
  for (std::size_t i = 0; i < c.rows.size(); ++i)
    reference::expect_gradient(c.rows[i], Matrix<double>(c.gradients[i] / 2), 6, loss);
}

}  // namespace
}  // namespace heed
