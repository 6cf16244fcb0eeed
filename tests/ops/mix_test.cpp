#include "heed/ops/mix.hpp"

#include <gtest/gtest.h>

#include "reference/bounds.hpp"
#include "reference/central_difference.hpp"
#include "reference/executors.hpp"

namespace heed {
namespace {

using reference::random_matrix;

/// A batch: its sequences, and for each (sequence, kv head) the rows of V_first, `past` more than there are new ones.
template <class Scalar>
struct Case {
  std::vector<Index> rows;
  std::vector<Index> past;
  Index heads;
  Index width;
  Sequences sequences = Sequences(std::span<const Index>(rows));
  Matrix<Scalar> v_own = random_matrix<Scalar>(sequences.rows(), heads* width, "v_own");  // [T x G E]
  std::vector<Matrix<Scalar>> firsts = {};                                                // [S x E]
  std::vector<Matrix<Scalar>> gradients = {};
  std::vector<HeadRows<Scalar>> entries = {};

  HeadTable<HeadRows<Scalar>> v_first() {
    if (entries.empty()) {
      const auto count = rows.size() * static_cast<std::size_t>(heads);
      firsts.resize(count);
      gradients.resize(count);
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t b = i / static_cast<std::size_t>(heads);
        firsts[i] = random_matrix<Scalar>(rows[b] + past[b], width, "v_first" + std::to_string(i));
        gradients[i] = Matrix<Scalar>::Zero(rows[b] + past[b], width);
        entries.push_back({firsts[i].data(), gradients[i].data(), rows[b] + past[b], width, width, width});
      }
    }
    return {entries.data(), static_cast<Index>(rows.size()), heads};
  }
  /// l_first v_first + l_own v_own, as it reads.
  template <class Wide>
  Matrix<Wide> expected(Wide l_first, Wide l_own) {
    const auto first = v_first();
    Matrix<Wide> v(v_own.rows(), v_own.cols());
    for (Index b = 0; b < first.sequences; ++b)
      for (Index t = 0; t < sequences.rows(b); ++t)
        for (Index j = 0; j < v.cols(); ++j) {
          const HeadRows<Scalar>& rows_of_head = first.at(b, j / width);
          const Index row = sequences.begin(b) + t;
          v(row, j) = l_first * static_cast<Wide>(rows_of_head.view()(past[static_cast<std::size_t>(b)] + t, j % width)) +
                      l_own * static_cast<Wide>(v_own(row, j));
        }
    return v;
  }
};

template <class Scalar>
std::vector<Case<Scalar>> cases() {
  return {{{1}, {0}, 1, 1}, {{7}, {3}, 2, 5}, {{2, 0, 4}, {0, 6, 1}, 3, 8}, {{33}, {0}, 1, 33}, {{5}, {2}, 0, 4}};
}

template <class Scalar>
class Mix : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(Mix, Scalars);

TYPED_TEST(Mix, AddsTheLastRowsOfTheFirstValuesToTheOwn) {
  for (auto& c : cases<TypeParam>()) {
    Workers workers;
    Matrix<TypeParam> v(c.v_own.rows(), c.v_own.cols());
    mix(TypeParam(0.3), c.v_first(), TypeParam(-1.7), view_of(c.v_own), c.sequences, mutable_view_of(v), workers);
    using Wide = reference::Wide<TypeParam>;
    reference::expect_as_exact_as_naive(v, c.expected(TypeParam(0.3), TypeParam(-1.7)),
                                        c.expected(Wide(TypeParam(0.3)), Wide(TypeParam(-1.7))), 2);
  }
}

TYPED_TEST(Mix, MayWriteOverItsOwnValues) {
  for (auto& c : cases<TypeParam>()) {
    Workers workers;
    Matrix<TypeParam> v(c.v_own.rows(), c.v_own.cols());
    mix(TypeParam(0.3), c.v_first(), TypeParam(0.7), view_of(c.v_own), c.sequences, mutable_view_of(v), workers);
    mix(TypeParam(0.3), c.v_first(), TypeParam(0.7), view_of(c.v_own), c.sequences, mutable_view_of(c.v_own), workers);
    EXPECT_TRUE(reference::same_bits(c.v_own, v));
  }
}

TYPED_TEST(Mix, CoefficientsOfZeroAndOneTakeOneSideToTheBit) {
  for (auto& c : cases<TypeParam>()) {
    Workers workers;
    Matrix<TypeParam> v(c.v_own.rows(), c.v_own.cols());
    mix(TypeParam(0), c.v_first(), TypeParam(1), view_of(c.v_own), c.sequences, mutable_view_of(v), workers);
    EXPECT_TRUE(reference::same_bits(v, c.v_own));
    mix(TypeParam(1), c.v_first(), TypeParam(0), view_of(c.v_own), c.sequences, mutable_view_of(v), workers);
    EXPECT_TRUE(reference::same_bits(v, c.expected(TypeParam(1), TypeParam(0))));
  }
}

TEST(MixBackward, GivesTheGradientsOfBothSidesAndOfTheCoefficients) {
  for (auto& c : cases<double>()) {
    if (c.past != std::vector<Index>(c.past.size(), 0)) continue;  // backward is over whole sequences
    Workers workers;
    Arena scratch;
    Matrix<double> l = random_matrix<double>(1, 2, "l");  // first, own
    const Matrix<double> d_v = random_matrix<double>(c.v_own.rows(), c.v_own.cols(), "d_v");
    const auto loss = [&] {
      Matrix<double> v(c.v_own.rows(), c.v_own.cols());
      mix(l(0, 0), c.v_first(), l(0, 1), view_of(c.v_own), c.sequences, mutable_view_of(v), workers);
      return reference::dot(v, d_v);
    };
    Matrix<double> d_own = Matrix<double>::Zero(c.v_own.rows(), c.v_own.cols());
    const auto d_l = mix_backward(l(0, 0), c.v_first(), l(0, 1), view_of(c.v_own), c.sequences, view_of(d_v),
                                  mutable_view_of(d_own), scratch, workers);
    const Matrix<double> found = (Matrix<double>(1, 2) << d_l.first, d_l.own).finished();
    reference::expect_gradient(l, found, 2, loss);
    reference::expect_gradient(c.v_own, d_own, 2, loss);
    for (std::size_t i = 0; i < c.firsts.size(); ++i) reference::expect_gradient(c.firsts[i], c.gradients[i], 2, loss);
  }
}

TEST(MixBackward, AddsToGradientsAndNeverAssigns) {
  Case<double> c{{3}, {0}, 1, 2};
  Workers workers;
  Arena scratch;
  const auto v_first = c.v_first();
  const Matrix<double> d_v = random_matrix<double>(3, 2, "d_v");
  Matrix<double> d_own = Matrix<double>::Zero(3, 2);
  const auto run = [&] {
    static_cast<void>(mix_backward(0.3, v_first, 0.7, view_of(c.v_own), c.sequences, view_of(d_v), mutable_view_of(d_own),
                                   scratch, workers));
  };
  run();
  const Matrix<double> once_own = d_own;
  const Matrix<double> once_first = c.gradients[0];
  run();
  // The second addition rounds once.
  const double epsilon = std::numeric_limits<double>::epsilon();
  EXPECT_LE(reference::error_of(d_own, Matrix<double>(2 * once_own)), epsilon * 2 * reference::largest(once_own));
  EXPECT_LE(reference::error_of(c.gradients[0], Matrix<double>(2 * once_first)),
            epsilon * 2 * reference::largest(once_first));
}

TYPED_TEST(Mix, HasTheSameBitsForAnyNumberOfWorkers) {
  const auto run = [](Executor* executor) {
    Case<TypeParam> c{{9, 0, 17, 4}, {0, 0, 0, 0}, 3, 7};
    Workers workers(executor);
    Arena scratch;
    const Matrix<TypeParam> d_v = random_matrix<TypeParam>(30, 21, "d_v");
    Matrix<TypeParam> all = Matrix<TypeParam>::Zero(61, 21);  // v, d_v_own and the gradients of the coefficients
    mix(TypeParam(0.3), c.v_first(), TypeParam(0.7), view_of(c.v_own), c.sequences, mutable_view_of(all.topRows(30)),
        workers);
    const auto d_l = mix_backward(TypeParam(0.3), c.v_first(), TypeParam(0.7), view_of(c.v_own), c.sequences, view_of(d_v),
                                  mutable_view_of(all.middleRows(30, 30)), scratch, workers);
    all(60, 0) = d_l.first;
    all(60, 1) = d_l.own;
    return all;
  };
  const Matrix<TypeParam> alone = run(nullptr);
  reference::Backwards backwards(3);
  reference::Threads threads(2);
  EXPECT_TRUE(reference::same_bits(run(&backwards), alone));
  EXPECT_TRUE(reference::same_bits(run(&threads), alone));
}

}  // namespace
}  // namespace heed
