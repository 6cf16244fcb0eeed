#include "heed/ops/time_step.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "../reference/activation.hpp"
#include "../reference/bounds.hpp"
#include "../reference/central_difference.hpp"
#include "../reference/executors.hpp"

namespace heed {
namespace {

using reference::expect_as_exact_as_naive;
using reference::expect_gradient;
using reference::random_matrix;
using reference::same_bits;
using reference::Wide;

constexpr StepLimits narrow{.least = 0.3, .most = 1.1};
constexpr StepLimits all_limits[] = {{}, {.least = 0.3}, {.most = 1.1}, narrow};
constexpr Index operations = 6;  // a sum, e^x, 1 + x, its logarithm, the repair of that, a sum

template <class Scalar>
Matrix<Scalar> naive(const Matrix<Scalar>& raw, const Matrix<Scalar>& bias, const StepLimits& limits) {
  Matrix<Scalar> dt = raw;
  for (Index t = 0; t < raw.rows(); ++t)
    for (Index h = 0; h < raw.cols(); ++h) {
      dt(t, h) = (std::max)(Scalar(limits.least), reference::softplus(raw(t, h) + bias(0, h)));
      if (limits.most > 0) dt(t, h) = (std::min)(Scalar(limits.most), dt(t, h));
    }
  return dt;
}

template <class Scalar>
class TimeStep : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(TimeStep, Scalars);

TYPED_TEST(TimeStep, IsTheSoftplusKeptWithinTheLimits) {
  using S = TypeParam;
  using W = Wide<S>;
  const Matrix<S> raw = random_matrix<S>(33, 13, "raw", 3), bias = random_matrix<S>(1, 13, "bias");
  for (const StepLimits& limits : all_limits) {
    Workers workers;
    Matrix<S> dt(33, 13);
    time_step(view_of(raw), view_of(bias), mutable_view_of(dt), workers, limits);
    expect_as_exact_as_naive(dt, naive(raw, bias, limits),
                             naive<W>(raw.template cast<W>(), bias.template cast<W>(), limits), operations);
    EXPECT_GE(dt.minCoeff(), S(limits.least));
    EXPECT_LE(dt.maxCoeff(), limits.most > 0 ? S(limits.most) : std::numeric_limits<S>::infinity());
  }
}

TYPED_TEST(TimeStep, IsExactToAFewRoundingsOfItselfNearZeroAndInTheTails) {
  using S = TypeParam;
  using W = Wide<S>;
  const Index n = 4001;
  Matrix<S> raw(1, n), dt(1, n);
  for (Index i = 0; i < n; ++i) raw(0, i) = S(i - n / 2) * S(86) / S(n / 2);
  const Matrix<S> bias = Matrix<S>::Zero(1, n);
  Workers workers;
  time_step(view_of(raw), view_of(bias), mutable_view_of(dt), workers);
  for (Index i = 0; i < n; ++i) {
    const W exact = reference::softplus(W(raw(0, i)));
    EXPECT_LE(std::abs(W(dt(0, i)) - exact), W(operations) * W(std::numeric_limits<S>::epsilon()) * exact) << raw(0, i);
  }
}

TYPED_TEST(TimeStep, KeepsNaNAndIsFiniteForAnyFiniteInput) {
  using S = TypeParam;
  Matrix<S> raw(1, 3), dt(1, 3);
  raw << std::numeric_limits<S>::quiet_NaN(), S(1e30), S(-1e30);
  const Matrix<S> bias = Matrix<S>::Zero(1, 3);
  Workers workers;
  for (const StepLimits& limits : all_limits) {
    time_step(view_of(raw), view_of(bias), mutable_view_of(dt), workers, limits);
    EXPECT_TRUE(std::isnan(dt(0, 0)));
    EXPECT_EQ(dt(0, 1), limits.most > 0 ? S(limits.most) : S(1e30));
    EXPECT_EQ(dt(0, 2), S(limits.least));
  }
}

TYPED_TEST(TimeStep, HasTheSameBitsInAnyOrderOfJobs) {
  using S = TypeParam;
  const Matrix<S> raw = random_matrix<S>(600, 66, "raw"), bias = random_matrix<S>(1, 66, "bias");
  const Matrix<S> d_dt = random_matrix<S>(600, 66, "d_dt");
  reference::Backwards backwards(3);
  Workers one, three(backwards);
  Arena scratch;
  Matrix<S> d_raw = Matrix<S>::Zero(600, 66), d_bias = Matrix<S>::Zero(1, 66), other_raw = d_raw, other_bias = d_bias;
  time_step_backward(view_of(raw), view_of(bias), view_of(d_dt), mutable_view_of(d_raw), mutable_view_of(d_bias), scratch,
                     one, narrow);
  time_step_backward(view_of(raw), view_of(bias), view_of(d_dt), mutable_view_of(other_raw), mutable_view_of(other_bias),
                     scratch, three, narrow);
  EXPECT_TRUE(same_bits(d_raw, other_raw));
  EXPECT_TRUE(same_bits(d_bias, other_bias));
}

TEST(TimeStepBackward, IsTheGradientOfForward) {
  for (const StepLimits& limits : all_limits) {
    Matrix<double> raw = random_matrix<double>(9, 5, "raw", 2), bias = random_matrix<double>(1, 5, "bias");
    const Matrix<double> d_dt = random_matrix<double>(9, 5, "d_dt");
    Matrix<double> d_raw = Matrix<double>::Zero(9, 5), d_bias = Matrix<double>::Zero(1, 5), dt(9, 5);
    Workers workers;
    Arena scratch;
    time_step_backward(view_of(raw), view_of(bias), view_of(d_dt), mutable_view_of(d_raw), mutable_view_of(d_bias), scratch,
                       workers, limits);
    const auto f = [&] {
      time_step(view_of(raw), view_of(bias), mutable_view_of(dt), workers, limits);
      return reference::dot(dt, d_dt);
    };
    expect_gradient(raw, d_raw, operations, f);
    expect_gradient(bias, d_bias, operations, f);
  }
}

TEST(DecayRate, IsMinusTheExponentialAndAddsItsGradient) {
  Matrix<double> a_log = random_matrix<double>(3, 13, "a_log"), a(3, 13);
  const Matrix<double> d_a = random_matrix<double>(3, 13, "d_a");
  decay_rate(view_of(a_log), mutable_view_of(a));
  for (Index i = 0; i < a.size(); ++i) EXPECT_DOUBLE_EQ(a.data()[i], -std::exp(a_log.data()[i]));
  Matrix<double> d_a_log = Matrix<double>::Zero(3, 13);
  decay_rate_backward(view_of(a), view_of(d_a), mutable_view_of(d_a_log));
  expect_gradient(a_log, d_a_log, 2, [&] {
    decay_rate(view_of(a_log), mutable_view_of(a));
    return reference::dot(a, d_a);
  });
}

}  // namespace
}  // namespace heed
