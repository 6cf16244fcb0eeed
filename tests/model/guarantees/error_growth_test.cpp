// How rounding grows with length: attention over ever more keys, recurrences over ever more rows that never forget.
//
// All terms have one sign, so that no error hides behind another, and every term counts the same: the case in which sums
// are longest. Errors are relative to the largest number of the exact result, in units of float's epsilon.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "heed/ops/attend.hpp"
#include "heed/ops/selective_scan.hpp"
#include "heed/ops/ssd.hpp"
#include "reference/bounds.hpp"
#include "reference/selective_scan.hpp"
#include "reference/ssd.hpp"

namespace heed::guarantees {
namespace {

/// Errors in units of epsilon.
struct Errors {
  double heed, naive;
};

template <class Found, class Naive, class Exact>
Errors errors_of(const Found& found, const Naive& naive, const Exact& exact) {
  const double unit = double(std::numeric_limits<float>::epsilon()) * reference::largest(exact);
  return {reference::error_of(found, exact) / unit, reference::error_of(naive, exact) / unit};
}

Matrix<float> near_one(Index rows, Index cols, std::string_view name) {
  Matrix<float> matrix(rows, cols);
  Random(5, name).uniform(matrix, 0.5, 1.5);
  return matrix;
}

// One head, small logits: the weights of all keys are alike.
template <class To>
Matrix<To> naive_attention(const Matrix<float>& q, const Matrix<float>& k, const Matrix<float>& v) {
  Matrix<To> y = Matrix<To>::Zero(q.rows(), v.cols());
  for (Index i = 0; i < q.rows(); ++i) {
    Matrix<To> z(1, k.rows());
    for (Index j = 0; j < k.rows(); ++j) {
      z(0, j) = To(0);
      for (Index e = 0; e < q.cols(); ++e) z(0, j) += To(q(i, e)) * To(k(j, e));
    }
    const To highest = z.maxCoeff();
    To sum = To(0);
    for (Index j = 0; j < k.rows(); ++j) sum += z(0, j) = std::exp(z(0, j) - highest);
    for (Index j = 0; j < k.rows(); ++j)
      for (Index e = 0; e < v.cols(); ++e) y(i, e) += z(0, j) / sum * To(v(j, e));
  }
  return y;
}

Errors attention(Index rows, Index keys) {
  const Matrix<float> q = 0.1f * reference::random_matrix<float>(rows, 4, "q"),
                      k = reference::random_matrix<float>(keys, 4, "k"), v = near_one(keys, 4, "v");
  const Matrix<float> y = attend(q, k, v, {.mask = bidirectional(), .scale = 1});
  return errors_of(y, naive_attention<float>(q, k, v), naive_attention<double>(q, k, v));
}
Errors one_row(Index keys) {
  return attention(1, keys);
}
Errors many_rows(Index keys) {
  return attention(33, keys);
}

// Decays so slow that the first of T rows still counts at the end.
constexpr Index width = 2, states = 2;

Errors mamba(Index T) {
  reference::SelectiveScan<float> in{near_one(T, width, "x"),
                                     Matrix<float>::Constant(T, width, 1),
                                     Matrix<float>::Constant(states, width, -1 / float(T)),
                                     near_one(T, states, "b"),
                                     near_one(T, states, "c"),
                                     Matrix<float>::Constant(1, width, 1)};
  Matrix<float> y(T, width);
  Workers workers;
  selective_scan(SelectiveScanInputs<float>{.x = view_of(in.x),
                                            .dt = view_of(in.dt),
                                            .a = view_of(in.a),
                                            .b = view_of(in.b),
                                            .c = view_of(in.c),
                                            .d = view_of(in.d)},
                 Sequences({T}), SelectiveScanStates<float>{}, mutable_view_of(y), workers);
  const Matrix<double> none = Matrix<double>::Zero(states, width);
  return errors_of(y, reference::selective_scan(in, Matrix<float>(none.cast<float>())).y,
                   reference::selective_scan(in.as<double>(), none).y);
}

Errors mamba2(Index T) {
  const reference::SsdHead<float> in{near_one(T, width, "x"),
                                     Matrix<float>::Constant(T, 1, 1),
                                     near_one(T, states, "b"),
                                     near_one(T, states, "c"),
                                     -1 / float(T),
                                     1};
  const Matrix<float> a = Matrix<float>::Constant(1, 1, in.a), d = Matrix<float>::Constant(1, 1, in.d);
  Matrix<float> y(T, width);
  Workers workers;
  ssd(SsdInputs<float>{.x = view_of(in.x),
                       .dt = view_of(in.dt),
                       .a = view_of(a),
                       .b = view_of(in.b),
                       .c = view_of(in.c),
                       .d = view_of(d)},
      Sequences({T}), SsdStates<float>{}, mutable_view_of(y), workers);
  const Matrix<double> none = Matrix<double>::Zero(states, width);
  return errors_of(y, reference::ssd_recurrent(in, Matrix<float>(none.cast<float>())).y,
                   reference::ssd_recurrent(in.as<double>(), none).y);
}

constexpr Index shortest = 128, longest = 131072;

struct Operation {
  const char* name;
  Errors (*errors)(Index);
};
const Operation operations[] = {
    {"attention, one new row", one_row}, {"attention, 33 new rows", many_rows}, {"Mamba-1", mamba}, {"Mamba-2", mamba2}};

// Roundings on the way of one term: the dot product of a head of four, its exponential, the weight, the division.
constexpr double roundings_of_a_term = 8;

TEST(ErrorGrowth, IsAtMostTwiceThatOfTheNaiveLoops) {
  std::printf("%-24s", "errors in epsilons at");
  for (Index length = shortest; length <= longest; length *= 4) std::printf("%17lld", static_cast<long long>(length));
  std::printf("\n");
  for (const auto& [name, errors] : operations) {
    std::printf("%-24s", name);
    for (Index length = shortest; length <= longest; length *= 4) {
      const Errors found = errors(length);
      std::printf("  %6.1f (%6.1f)", found.heed, found.naive);
      EXPECT_LE(found.heed, 2 * (std::max)(found.naive, roundings_of_a_term)) << name << " over " << length;
    }
    std::printf("\n");
  }
}

}  // namespace
}  // namespace heed::guarantees
