#include "heed/mixers/initialise.hpp"

#include <gtest/gtest.h>

#include "reference/bounds.hpp"

namespace heed {
namespace {

struct Weights {
  Matrix<float> w{40, 50}, o{40, 50}, e{40, 50}, n{1, 7}, b{1, 7}, c{1, 7}, s{1, 7};
  template <class F, class... P>
  static void visit(F&& f, P&&... p) {
    f("w", Role::matrix, p.w...);
    f("o", Role::output, p.o...);
    f("e", Role::embedding, p.e...);
    f("n", Role::norm, p.n...);
    f("b", Role::bias, p.b...);
    f("c", Role::coefficient, p.c...);
    f("s", Role::state, p.s...);
  }
};
struct Plain {
  struct Config {};
};
/// A component that starts in its own way.
struct Own {
  struct Config {
    float start = 0;
  };
  static void initialise(const Shape& shape, const Config& config, Weights& weights, const Initialiser& initialiser) {
    weights.c.setConstant(config.start + static_cast<float>(shape.width));
    initialiser.by_role("w", Role::matrix, weights.w);
  }
};

constexpr Shape shape = {.width = 3};

Weights start(const Initialiser& initialiser) {
  Weights weights;
  visit([](std::string_view, Role, auto& tensor) { tensor.setConstant(42); }, weights);
  initialiser.run_here<Plain>(shape, {}, weights);
  return weights;
}

// The mean of n squares of N(0, 1) has the deviation sqrt(2 / n): five of them are never seen.
void expect_deviation(const Matrix<float>& tensor, double deviation) {
  const double n = static_cast<double>(tensor.size());
  EXPECT_NEAR(tensor.cast<double>().squaredNorm() / n / (deviation * deviation), 1, 5 * std::sqrt(2 / n));
}

TEST(Initialiser, DrawsMatricesAndEmbeddingsWithDeviation002) {
  const Weights weights = start({0, 6, ""});
  expect_deviation(weights.w, 0.02);
  expect_deviation(weights.e, 0.02);
}

TEST(Initialiser, DividesTheDeviationOfOutputsByTheRootOfTwiceTheLayers) {
  expect_deviation(start({0, 1, ""}).o, 0.02 / std::sqrt(2.0));
  expect_deviation(start({0, 6, ""}).o, 0.02 / std::sqrt(12.0));
}

TEST(Initialiser, StartsNormsAtOneAndBiasesAtZero) {
  const Weights weights = start({0, 6, ""});
  EXPECT_TRUE((weights.n.array() == 1).all());
  EXPECT_TRUE((weights.b.array() == 0).all());
}

TEST(Initialiser, LeavesCoefficientsAndStatesToTheirComponent) {
  const Weights weights = start({0, 6, ""});
  EXPECT_TRUE((weights.c.array() == 42).all());
  EXPECT_TRUE((weights.s.array() == 42).all());
}

TEST(Initialiser, DrawsTheSameForTheSameSeedAndName) {
  EXPECT_TRUE(reference::same_bits(start({3, 6, "layers.0."}).w, start({3, 12, "layers.0."}).w));
}

TEST(Initialiser, DrawsAnewForAnotherSeedOrName) {
  const Weights weights = start({3, 6, "layers.0."});
  EXPECT_FALSE(reference::same_bits(weights.w, weights.e));
  EXPECT_FALSE(reference::same_bits(weights.w, start({4, 6, "layers.0."}).w));
  EXPECT_FALSE(reference::same_bits(weights.w, start({3, 6, "layers.1."}).w));
}

TEST(Initialiser, NamesAComponentInsideAnotherByBothNames) {
  Weights weights;
  Initialiser{3, 6, "layers.0."}.run<Plain>("mixer", shape, {}, weights);
  EXPECT_TRUE(reference::same_bits(weights.w, start({3, 6, "layers.0.mixer."}).w));
}

TEST(Initialiser, LetsAComponentStartInItsOwnWay) {
  Weights weights;
  weights.n.setConstant(42);
  Initialiser{3, 6, ""}.run<Own>("mixer", shape, {.start = 1}, weights);
  EXPECT_TRUE((weights.c.array() == 4).all());
  EXPECT_TRUE((weights.n.array() == 42).all());
  EXPECT_TRUE(reference::same_bits(weights.w, start({3, 6, "mixer."}).w));
}

}  // namespace
}  // namespace heed
