#include "heed/training/adamw.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "../reference/bounds.hpp"
#include "heed/threads/pool.hpp"
#include "support/error_text.hpp"

namespace heed {
namespace {

using reference::random_matrix;
using reference::same_bits;

/// A tensor of every role. The matrix is cut into several jobs.
struct Params {
  Matrix<float> matrix = random_matrix<float>(300, 100, "matrix");
  Matrix<float> output = random_matrix<float>(7, 33, "output");
  Matrix<float> embedding = random_matrix<float>(33, 7, "embedding");
  Matrix<float> norm = random_matrix<float>(1, 33, "norm");
  Matrix<float> bias = random_matrix<float>(1, 7, "bias");
  Matrix<float> coefficient = random_matrix<float>(1, 1, "coefficient");
  Matrix<float> state = random_matrix<float>(1, 3, "state");

  template <class F, class... P>
  static void visit(F&& f, P&&... p) {
    f("matrix", Role::matrix, p.matrix...);
    f("output", Role::output, p.output...);
    f("embedding", Role::embedding, p.embedding...);
    f("norm", Role::norm, p.norm...);
    f("bias", Role::bias, p.bias...);
    f("coefficient", Role::coefficient, p.coefficient...);
    f("state", Role::state, p.state...);
  }
};

bool decays(Role role) {
  return role == Role::matrix || role == Role::output;
}

Params random_gradients(double deviation) {
  Params gradients;
  visit([&](std::string_view name, Role, auto& tensor) { Random(11, name).normal(tensor, deviation); }, gradients);
  return gradients;
}

double naive_norm(const Params& gradients) {
  long double sum = 0;
  visit(
      [&](std::string_view, Role, const auto& tensor) {
        for (Index i = 0; i < tensor.size(); ++i)
          sum += static_cast<long double>(tensor.data()[i]) * static_cast<long double>(tensor.data()[i]);
      },
      gradients);
  return static_cast<double>(std::sqrt(sum));
}

void expect_same_weights(const Params& a, const Params& b) {
  visit([](std::string_view name, Role, const auto& x, const auto& y) { EXPECT_TRUE(same_bits(x, y)) << name; }, a, b);
}

constexpr double no_clip = std::numeric_limits<double>::infinity();

TEST(AdamW, DecaysMatricesOnly) {
  Params params;
  const Params before;
  AdamW<Params> optimizer(zeros_like(params), {.weight_decay = 0.5});
  EXPECT_EQ(optimizer.step(params, zeros_like(params), 0.125), 0);
  visit(
      [](std::string_view name, Role role, const auto& weight, const auto& old) {
        const Matrix<float> expected = old * (decays(role) ? 1 - 0.125f * 0.5f : 1.0f);
        EXPECT_TRUE(same_bits(weight, expected)) << name;
      },
      params, before);
}

TEST(AdamW, StepsEveryTensorByAdamStep) {
  Params params, by_hand;
  const AdamWOptions options{.beta1 = 0.8, .beta2 = 0.9, .epsilon = 1e-6, .weight_decay = 0.25, .clip = no_clip};
  AdamW<Params> optimizer(zeros_like(params), options);
  Params m = zeros_like(params), v = m;
  for (Index step = 1; step <= 3; ++step) {
    const Params gradients = random_gradients(static_cast<double>(step));
    optimizer.step(params, gradients, 0.01);
    visit(
        [&](std::string_view, Role role, auto& weight, const auto& gradient, auto& m_i, auto& v_i) {
          const AdamStep of_tensor{.learning_rate = 0.01,
                                   .beta1 = 0.8,
                                   .beta2 = 0.9,
                                   .epsilon = 1e-6,
                                   .weight_decay = decays(role) ? 0.25 : 0,
                                   .step = step};
          adam_step(of_tensor, gradient, weight, m_i, v_i);
        },
        by_hand, gradients, m, v);
    expect_same_weights(params, by_hand);
    EXPECT_EQ(optimizer.steps(), step);
  }
}

TEST(AdamW, ReturnsTheNormOfAllGradients) {
  Params params;
  AdamW<Params> optimizer(zeros_like(params));
  const Params gradients = random_gradients(0.1);
  const double exact = naive_norm(gradients);
  // The squares of n numbers, added one after another at worst, and a root.
  EXPECT_NEAR(optimizer.step(params, gradients, 0.01), exact,
              std::numeric_limits<double>::epsilon() * static_cast<double>(count_parameters(gradients)) * exact);
}

TEST(AdamW, ClipsTheNormOfAllGradients) {
  Params clipped, by_hand;
  AdamW<Params> clipping(zeros_like(clipped), {.clip = 0.5}), plain(zeros_like(by_hand), {.clip = no_clip});
  for (int step = 0; step < 2; ++step) {
    const Params gradients = random_gradients(step == 0 ? 0.1 : 3.0);
    const double norm = clipping.step(clipped, gradients, 0.01);
    ASSERT_GT(norm, 0.5);
    Params scaled = gradients;
    visit([&](std::string_view, Role, auto& gradient) { gradient *= static_cast<float>(0.5 / norm); }, scaled);
    plain.step(by_hand, scaled, 0.01);
  }
  expect_same_weights(clipped, by_hand);
}

TEST(AdamW, LeavesSmallGradientsAsTheyAre) {
  Params params, by_hand;
  const Params gradients = random_gradients(0.001);
  AdamW<Params>(zeros_like(params), {.clip = 1}).step(params, gradients, 0.01);
  AdamW<Params>(zeros_like(params), {.clip = no_clip}).step(by_hand, gradients, 0.01);
  expect_same_weights(params, by_hand);
}

std::string step_error(AdamW<Params>& optimizer, Params& weights, const Params& gradients, double learning_rate) {
  return error_text<ShapeError>([&] { optimizer.step(weights, gradients, learning_rate); });
}

TEST(AdamW, RefusesWhatDoesNotFitBeforeAnythingChanges) {
  Params params, untouched, narrow;
  narrow.norm.resize(1, 32);
  const Params gradients = random_gradients(0.1);
  AdamW<Params> optimizer(zeros_like(params)), fresh(zeros_like(params));
  EXPECT_EQ(step_error(optimizer, narrow, gradients, 0.01), "weights: norm: expected [1 x 33], found [1 x 32]");
  EXPECT_EQ(step_error(optimizer, params, narrow, 0.01), "gradients: norm: expected [1 x 33], found [1 x 32]");
  EXPECT_EQ(step_error(optimizer, params, gradients, -1),
            "learning_rate: expected a finite number of 0 or more, found -1.000000");
  EXPECT_EQ(step_error(optimizer, params, gradients, std::nan("")),
            "learning_rate: expected a finite number of 0 or more, found nan");
  EXPECT_EQ(optimizer.steps(), 0);
  expect_same_weights(params, untouched);
  optimizer.step(params, gradients, 0.01);
  fresh.step(untouched, gradients, 0.01);
  expect_same_weights(params, untouched);
}

TEST(AdamW, RefusesOptionsThatNoStepCanBeMadeWith) {
  const auto error = [](const AdamWOptions& options) {
    return error_text<ConfigError>([&] { const AdamW<Params> optimizer(Params(), options); });
  };
  EXPECT_EQ(error({.beta1 = 1}), "beta1: expected a number in [0, 1), found 1.000000");
  EXPECT_EQ(error({.beta2 = -0.5}), "beta2: expected a number in [0, 1), found -0.500000");
  EXPECT_EQ(error({.epsilon = -1}), "epsilon: expected a finite number of 0 or more, found -1.000000");
  EXPECT_EQ(error({.weight_decay = no_clip}), "weight_decay: expected a finite number of 0 or more, found inf");
  EXPECT_EQ(error({.clip = 0}), "clip: expected a number above 0, found 0.000000");
  EXPECT_EQ(error({.clip = std::nan("")}), "clip: expected a number above 0, found nan");
  EXPECT_EQ(error({.beta1 = 0, .clip = no_clip}), "no error");
}

TEST(AdamW, HasTheSameBitsForAnyNumberOfWorkers) {
  const auto run = [](Executor* executor) {
    Params params;
    AdamW<Params> optimizer(zeros_like(params), {}, executor);
    double norms = 0;
    for (int step = 0; step < 3; ++step) norms += optimizer.step(params, random_gradients(0.1 * (step + 1)), 0.01);
    return std::pair(norms, params);
  };
  const auto [alone, params] = run(nullptr);
  for (const int workers : {1, 2, 3}) {
    Pool pool(workers);
    const auto [norms, shared] = run(&pool);
    EXPECT_EQ(norms, alone);
    expect_same_weights(shared, params);
  }
}

}  // namespace
}  // namespace heed
