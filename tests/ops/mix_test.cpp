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
  Matrix<Wide> expected(const Matrix<Scalar>& l_first, const Matrix<Scalar>& l_own) {
    const auto first = v_first();
    const auto of = [&](const Matrix<Scalar>& l, Index row, Index head) {
      return static_cast<Wide>(l(l.rows() == 1 ? 0 : row, l.cols() == 1 ? 0 : head));
    };
    Matrix<Wide> v(v_own.rows(), v_own.cols());
    for (Index b = 0; b < first.sequences; ++b)
      for (Index t = 0; t < sequences.rows(b); ++t)
        for (Index j = 0; j < v.cols(); ++j) {
          const HeadRows<Scalar>& rows_of_head = first.at(b, j / width);
          const Index row = sequences.begin(b) + t, head = j / width;
          v(row, j) = of(l_first, row, head) *
                          static_cast<Wide>(rows_of_head.view()(past[static_cast<std::size_t>(b)] + t, j % width)) +
                      of(l_own, row, head) * static_cast<Wide>(v_own(row, j));
        }
    return v;
  }
  MixInputs<Scalar> inputs(const Matrix<Scalar>& l_first, const Matrix<Scalar>& l_own) {
    return {view_of(l_first), v_first(), view_of(l_own), view_of(v_own)};
  }
  Matrix<Scalar> mixed(const Matrix<Scalar>& l_first, const Matrix<Scalar>& l_own) {
    Workers workers;
    Matrix<Scalar> v(v_own.rows(), v_own.cols());
    mix(inputs(l_first, l_own), sequences, mutable_view_of(v), workers);
    return v;
  }
  /// Coefficients for all, by head, and by row and head.
  std::vector<Matrix<Scalar>> coefficients(const std::string& name) {
    return {random_matrix<Scalar>(1, 1, name), random_matrix<Scalar>(1, heads, name),
            random_matrix<Scalar>(v_own.rows(), heads, name)};
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
  for (auto& c : cases<TypeParam>())
    for (const auto& l_first : c.coefficients("l_first"))
      for (const auto& l_own : c.coefficients("l_own"))
        reference::expect_as_exact_as_naive(c.mixed(l_first, l_own), c.template expected<TypeParam>(l_first, l_own),
                                            c.template expected<reference::Wide<TypeParam>>(l_first, l_own), 2);
}

TYPED_TEST(Mix, MayWriteOverItsOwnValues) {
  for (auto& c : cases<TypeParam>()) {
    const auto l_first = c.coefficients("l_first")[1], l_own = c.coefficients("l_own")[1];
    const Matrix<TypeParam> v = c.mixed(l_first, l_own);
    Workers workers;
    mix(c.inputs(l_first, l_own), c.sequences, mutable_view_of(c.v_own), workers);
    EXPECT_TRUE(reference::same_bits(c.v_own, v));
  }
}

TYPED_TEST(Mix, CoefficientsOfZeroAndOneTakeOneSideToTheBit) {
  const Matrix<TypeParam> zero = Matrix<TypeParam>::Zero(1, 1), one = Matrix<TypeParam>::Ones(1, 1);
  for (auto& c : cases<TypeParam>()) {
    EXPECT_TRUE(reference::same_bits(c.mixed(zero, one), c.v_own));
    EXPECT_TRUE(reference::same_bits(c.mixed(one, zero), c.template expected<TypeParam>(one, zero)));
  }
}

TYPED_TEST(Mix, AddsInWhatMixingWithAnOwnCoefficientOfOneAdds) {
  for (auto& c : cases<TypeParam>())
    for (const auto& l : c.coefficients("l")) {
      Workers workers;
      Matrix<TypeParam> v = c.v_own;
      mix_in(view_of(l), c.v_first(), c.sequences, mutable_view_of(v), workers);
      EXPECT_TRUE(reference::same_bits(v, c.mixed(l, Matrix<TypeParam>::Ones(1, 1))));
    }
}

TEST(Mix, WidensRowsThatAreStoredIn16Bits) {
  Case<float> c{{2, 3}, {1, 0}, 2, 9};
  const Matrix<float> l = random_matrix<float>(1, 2, "l");
  const auto table = c.v_first();
  std::vector<std::vector<std::uint16_t>> stored;
  for (std::size_t i = 0; i < c.entries.size(); ++i) {
    Matrix<float>& rows = c.firsts[i];
    stored.emplace_back(static_cast<std::size_t>(rows.size()));
    narrow(Storage::bfloat16, rows.data(), rows.size(), stored.back().data());
    widen(Storage::bfloat16, stored.back().data(), rows.size(), rows.data());  // what the stored rows say
  }
  const Matrix<float> expected = c.mixed(l, l);
  for (std::size_t i = 0; i < c.entries.size(); ++i) {
    c.entries[i].data = nullptr;
    c.entries[i].storage = Storage::bfloat16;
    c.entries[i].narrow = stored[i].data();
  }
  EXPECT_TRUE(reference::same_bits(c.mixed(l, l), expected));
  Matrix<float> v = c.v_own;
  Workers workers;
  mix_in(view_of(l), table, c.sequences, mutable_view_of(v), workers);
  EXPECT_TRUE(v.allFinite());
}

/// The gradients of dot(v, d_v) by name, once or `times`.
template <class Scalar>
struct Gradients {
  Matrix<Scalar> l_first, l_own, v_own;

  Gradients(Case<Scalar>& c, const Matrix<Scalar>& l_1, const Matrix<Scalar>& l_n, const Matrix<Scalar>& d_v,
            Executor* executor = nullptr, int times = 1)
      : l_first(Matrix<Scalar>::Zero(l_1.rows(), l_1.cols())),
        l_own(Matrix<Scalar>::Zero(l_n.rows(), l_n.cols())),
        v_own(Matrix<Scalar>::Zero(c.v_own.rows(), c.v_own.cols())) {
    Workers workers(executor);
    Arena scratch;
    for (int i = 0; i < times; ++i)
      mix_backward(c.inputs(l_1, l_n), c.sequences, view_of(d_v),
                   MixGradients<Scalar>{mutable_view_of(l_first), mutable_view_of(l_own), mutable_view_of(v_own)}, scratch,
                   workers);
  }
};

TEST(MixBackward, GivesTheGradientsOfBothSidesAndOfTheCoefficients) {
  for (int kind = 0; kind < 3; ++kind)
    for (auto& c : cases<double>()) {
      if (c.past != std::vector<Index>(c.past.size(), 0)) continue;  // backward is over whole sequences
      Matrix<double> l_first = c.coefficients("l_first")[static_cast<std::size_t>(kind)];
      Matrix<double> l_own = c.coefficients("l_own")[static_cast<std::size_t>(2 - kind)];
      const Matrix<double> d_v = random_matrix<double>(c.v_own.rows(), c.v_own.cols(), "d_v");
      const auto loss = [&] { return reference::dot(c.mixed(l_first, l_own), d_v); };
      const Gradients<double> found(c, l_first, l_own, d_v);
      reference::expect_gradient(l_first, found.l_first, 2, loss);
      reference::expect_gradient(l_own, found.l_own, 2, loss);
      reference::expect_gradient(c.v_own, found.v_own, 2, loss);
      for (std::size_t i = 0; i < c.firsts.size(); ++i) reference::expect_gradient(c.firsts[i], c.gradients[i], 2, loss);
    }
}

TEST(MixBackward, AddsToGradientsAndNeverAssigns) {
  const Matrix<double> l_first = random_matrix<double>(1, 1, "l_first"), l_own = random_matrix<double>(3, 1, "l_own");
  const Matrix<double> d_v = random_matrix<double>(3, 2, "d_v");
  Case<double> once_case{{3}, {0}, 1, 2}, twice_case{{3}, {0}, 1, 2};
  const Gradients<double> once(once_case, l_first, l_own, d_v), twice(twice_case, l_first, l_own, d_v, nullptr, 2);
  const double epsilon = std::numeric_limits<double>::epsilon();  // the second addition rounds once
  const auto expect_twice = [&](const Matrix<double>& found, const Matrix<double>& of_one) {
    EXPECT_LE(reference::error_of(found, Matrix<double>(2 * of_one)), epsilon * 2 * reference::largest(of_one));
  };
  expect_twice(twice.l_first, once.l_first);
  expect_twice(twice.l_own, once.l_own);
  expect_twice(twice.v_own, once.v_own);
  expect_twice(twice_case.gradients[0], once_case.gradients[0]);
}

TYPED_TEST(Mix, HasTheSameBitsForAnyNumberOfWorkers) {
  const auto run = [](Executor* executor, std::size_t kind) {
    Case<TypeParam> c{{9, 0, 17, 4}, {0, 0, 0, 0}, 3, 7};
    const Matrix<TypeParam> l_first = c.coefficients("l_first")[kind], l_own = c.coefficients("l_own")[kind];
    const Matrix<TypeParam> d_v = random_matrix<TypeParam>(30, 21, "d_v");
    Workers workers(executor);
    Matrix<TypeParam> v(30, 21);
    mix(c.inputs(l_first, l_own), c.sequences, mutable_view_of(v), workers);
    const Gradients<TypeParam> d(c, l_first, l_own, d_v, executor);
    std::vector<Matrix<TypeParam>> all = c.gradients;
    all.insert(all.end(), {v, d.l_first, d.l_own, d.v_own});
    return all;
  };
  for (std::size_t kind = 0; kind < 3; ++kind) {
    const auto alone = run(nullptr, kind);
    reference::Backwards backwards(3);
    reference::Threads threads(2);
    for (Executor* executor : {static_cast<Executor*>(&backwards), static_cast<Executor*>(&threads)}) {
      const auto found = run(executor, kind);
      for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(reference::same_bits(found[i], alone[i])) << kind << i;
    }
  }
}

}  // namespace
}  // namespace heed
