#include "heed/ops/gated_rms_norm.hpp"

#include <gtest/gtest.h>

#include "../reference/activation.hpp"
#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"
#include "../reference/rms_norm.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

constexpr double epsilon = 1e-5;
// y / (1 + e^-z) z, v^2, the mean, + epsilon, the root, 1 / root, two products
constexpr Index operations = 12;

struct Sizes {
  Index T, C, groups;
};
constexpr Sizes all_sizes[] = {{1, 1, 1}, {1, 64, 1}, {3, 14, 2}, {33, 99, 3}, {600, 66, 2}};

constexpr Gating gatings[] = {Gating::before_norm, Gating::after_norm, Gating::without_norm};

template <class Scalar>
struct Case {
  Matrix<Scalar> y, z, weight;
  Index groups;
  Gating gating = Gating::before_norm;

  explicit Case(Sizes s)
      : y(random_matrix<Scalar>(s.T, s.C, "y")),
        z(random_matrix<Scalar>(s.T, s.C, "z", 2)),
        weight(random_matrix<Scalar>(1, s.C, "weight")),
        groups(s.groups) {}
  Case(Sizes s, Gating g) : Case(s) { gating = g; }
  GatedRmsNormInputs<Scalar> inputs() const { return {view_of(y), view_of(z), view_of(weight), groups, epsilon, gating}; }
};

template <class Scalar>
struct Gradients {
  Matrix<Scalar> y, z, weight;
  GatedRmsNormGradients<Scalar> views() { return {mutable_view_of(y), mutable_view_of(z), mutable_view_of(weight)}; }
};

// What is in the gradients before backward adds to them.
template <class Scalar>
Gradients<Scalar> start(const Case<Scalar>& at) {
  const Index T = at.y.rows(), C = at.y.cols();
  return {random_matrix<Scalar>(T, C, "d_y"), random_matrix<Scalar>(T, C, "d_z"), random_matrix<Scalar>(1, C, "d_weight")};
}

// By the definition: every group is the RMS norm of y silu(z), or the one of y times silu(z), or y silu(z) itself.
template <class Oracle, class Scalar>
struct Reference {
  Matrix<Oracle> out;
  Gradients<Oracle> d;

  Reference(const Case<Scalar>& at, const Matrix<Scalar>& d_out) : out(at.y.rows(), at.y.cols()) {
    const Matrix<Oracle> y = at.y.template cast<Oracle>(), z = at.z.template cast<Oracle>();
    const Matrix<Oracle> weight = at.weight.template cast<Oracle>(), g = d_out.template cast<Oracle>();
    Matrix<Oracle> gate = z, d_gate = z;
    for (Index i = 0; i < z.size(); ++i) {
      gate.data()[i] = reference::silu(z.data()[i]);
      d_gate.data()[i] = reference::silu_derivative(z.data()[i]);
    }
    const bool gate_first = at.gating == Gating::before_norm;
    const Matrix<Oracle> v = gate_first ? y.cwiseProduct(gate) : y, d_norm = gate_first ? g : g.cwiseProduct(gate);
    Matrix<Oracle> norm = y, d_v = d_norm;
    d = {y, z, Matrix<Oracle>::Zero(1, y.cols())};
    const Index n = y.cols() / at.groups;
    if (at.gating != Gating::without_norm)
      for (Index column = 0; column < y.cols(); column += n) {
        const auto columns = [&](const Matrix<Oracle>& matrix) { return Matrix<Oracle>(matrix.middleCols(column, n)); };
        norm.middleCols(column, n) = reference::rms_norm(columns(v), columns(weight), epsilon);
        const auto d_group = reference::rms_norm_backward(columns(v), columns(weight), epsilon, columns(d_norm));
        d.weight.middleCols(column, n) = d_group.weight;
        d_v.middleCols(column, n) = d_group.x;
      }
    out = gate_first ? norm : norm.cwiseProduct(gate);
    d.y = gate_first ? d_v.cwiseProduct(gate) : d_v;
    d.z = (gate_first ? d_v.cwiseProduct(y) : g.cwiseProduct(norm)).cwiseProduct(d_gate);
  }
};

template <class Scalar>
struct GatedRmsNorm : testing::Test {
  Serial serial;
  Workers workers{serial};
  Arena scratch;
};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(GatedRmsNorm, Scalars);

TYPED_TEST(GatedRmsNorm, EqualsItsDefinitionAndAddsItsGradient) {
  using S = TypeParam;
  using W = Wide<S>;
  for (const Gating gating : gatings)
    for (const Sizes& sizes : all_sizes) {
      const Case<S> at(sizes, gating);
      const auto d_out = random_matrix<S>(sizes.T, sizes.C, "d_out");
      const Reference<S, S> naive(at, d_out);
      const Reference<W, S> exact(at, d_out);
      Matrix<S> out(sizes.T, sizes.C);
      gated_rms_norm(at.inputs(), mutable_view_of(out), this->workers);
      expect_as_exact_as_naive(out, naive.out, exact.out, operations);

      const Gradients<S> from = start(at);
      Gradients<S> d = from;
      gated_rms_norm_backward(at.inputs(), view_of(d_out), d.views(), this->scratch, this->workers);
      const auto expect_added = [](const Matrix<S>& found, const Matrix<S>& before, const Matrix<S>& naively,
                                   const Matrix<W>& exactly, Index count) {
        expect_as_exact_as_naive(found, Matrix<S>(before + naively), Matrix<W>(before.template cast<W>() + exactly), count);
      };
      // and 5 more: two products and a mean of d_out w v, the difference, the addition
      expect_added(d.y, from.y, naive.d.y, exact.d.y, operations + 5);
      expect_added(d.z, from.z, naive.d.z, exact.d.z, operations + 5);
      expect_added(d.weight, from.weight, naive.d.weight, exact.d.weight, operations + sizes.T);
    }
}

TYPED_TEST(GatedRmsNorm, InPlaceAndInAnyOrderOfJobsHasTheSameBits) {
  using S = TypeParam;
  const Sizes sizes{600, 66, 2};
  for (const Gating gating : gatings) {
    const Case<S> at(sizes, gating);
    const auto d_out = random_matrix<S>(sizes.T, sizes.C, "d_out");
    Matrix<S> expected(sizes.T, sizes.C);
    gated_rms_norm(at.inputs(), mutable_view_of(expected), this->workers);
    reference::Backwards backwards(3);
    Workers other(backwards);
    Case<S> in_y = at, in_z = at;
    gated_rms_norm(in_y.inputs(), mutable_view_of(in_y.y), other);
    gated_rms_norm(in_z.inputs(), mutable_view_of(in_z.z), other);
    EXPECT_TRUE(same_bits(in_y.y, expected));
    EXPECT_TRUE(same_bits(in_z.z, expected));

    Gradients<S> d = start(at), d_other = d;
    gated_rms_norm_backward(at.inputs(), view_of(d_out), d.views(), this->scratch, this->workers);
    gated_rms_norm_backward(at.inputs(), view_of(d_out), d_other.views(), this->scratch, other);
    EXPECT_TRUE(same_bits(d.y, d_other.y));
    EXPECT_TRUE(same_bits(d.z, d_other.z));
    EXPECT_TRUE(same_bits(d.weight, d_other.weight));
  }
}

TYPED_TEST(GatedRmsNorm, OfAClosedGateIsZeroAndOfNothingChangesNothing) {
  using S = TypeParam;
  for (const Gating gating : gatings) {
    Case<S> at({2, 9, 1}, gating);
    at.z.setZero();
    Matrix<S> out = Matrix<S>::Ones(2, 9);
    gated_rms_norm(at.inputs(), mutable_view_of(out), this->workers);
    EXPECT_TRUE((out.array() == S(0)).all());
  }

  for (const Sizes& sizes : {Sizes{0, 9, 1}, Sizes{3, 0, 1}}) {
    const Case<S> nothing(sizes);
    Gradients<S> d = start(nothing);
    Matrix<S> empty(sizes.T, sizes.C);
    gated_rms_norm(nothing.inputs(), mutable_view_of(empty), this->workers);
    gated_rms_norm_backward(nothing.inputs(), view_of(empty), d.views(), this->scratch, this->workers);
    EXPECT_TRUE(same_bits(d.weight, start(nothing).weight));
  }
}

TEST(GatedRmsNormBackward, IsTheGradientOfForward) {
  Serial serial;
  Workers workers(serial);
  Arena scratch;
  for (const Gating gating : gatings) {
    Case<double> at({3, 14, 2}, gating);
    const auto d_out = random_matrix<double>(3, 14, "d_out");
    Gradients<double> d{Matrix<double>::Zero(3, 14), Matrix<double>::Zero(3, 14), Matrix<double>::Zero(1, 14)};
    gated_rms_norm_backward(at.inputs(), view_of(d_out), d.views(), scratch, workers);
    Matrix<double> out(3, 14);
    const auto f = [&] {
      gated_rms_norm(at.inputs(), mutable_view_of(out), workers);
      return reference::dot(out, d_out);
    };
    expect_gradient(at.y, d.y, operations, f);
    expect_gradient(at.z, d.z, operations, f);
    expect_gradient(at.weight, d.weight, operations, f);
  }
}

}  // namespace
}  // namespace heed
