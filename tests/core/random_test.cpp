#include "heed/core/random.hpp"

#include <gtest/gtest.h>

#include <set>

namespace heed {
namespace {

TEST(Random, RepeatsForTheSameSeedAndName) {
  Random a(3, "layers.0.w_q"), b(3, "layers.0.w_q");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
}

TEST(Random, DiffersForAnotherSeedOrName) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    for (const char* name : {"", "a", "b", "ab", "ba", "layers.0.w_q", "layers.1.w_q"}) {
      Random random(seed, name);
      for (int i = 0; i < 10; ++i) seen.insert(random.next());
    }
  EXPECT_EQ(seen.size(), 10u * 7 * 10);
}

// Weights of seeds must not change from one version to the next, nor from one machine to another.
TEST(Random, DrawsTheBitsItAlwaysDrew) {
  Random random(1, "w");
  EXPECT_EQ(random.next(), 0xD71C6731D24AB065u);
  EXPECT_EQ(random.next(), 0x37B2BB3C391A7ECCu);
}

TEST(Random, UniformNumbersFillTheirRangeEvenly) {
  Random random(1);
  constexpr int n = 100000, bins = 10;
  int counts[bins] = {};
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++counts[static_cast<int>(u * bins)];
  }
  // A count has variance n p (1 - p); five deviations are exceeded once in a million.
  const double p = 1.0 / bins, deviation = std::sqrt(n * p * (1 - p));
  for (const int count : counts) EXPECT_NEAR(count, n * p, 5 * deviation);
}

TEST(Random, UniformNumbersOfARangeLieInIt) {
  Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const double u = random.uniform(-3, -1);
    EXPECT_GE(u, -3.0);
    EXPECT_LE(u, -1.0);
  }
}

TEST(Random, NormalNumbersHaveTheMomentsOfANormalDistribution) {
  Random random(2);
  constexpr int n = 100000;
  double sums[5] = {};
  for (int i = 0; i < n; ++i) {
    const double x = random.normal();
    ASSERT_TRUE(std::isfinite(x));
    for (int k = 1; k <= 4; ++k) sums[k] += std::pow(x, k) / n;
  }
  // The mean of x^k has variance (E x^2k - (E x^k)^2) / n, with E x^2 = 1, E x^4 = 3, E x^6 = 15, E x^8 = 105.
  EXPECT_NEAR(sums[1], 0, 5 * std::sqrt(1.0 / n));
  EXPECT_NEAR(sums[2], 1, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(sums[3], 0, 5 * std::sqrt(15.0 / n));
  EXPECT_NEAR(sums[4], 3, 5 * std::sqrt(96.0 / n));
}

TEST(Random, FillsAFloatMatrixWithTheRoundedNumbersOfADoubleOne) {
  Matrix<double> wide(5, 7);
  Matrix<float> narrow(5, 7);
  Random(4, "w").normal(wide, 0.02);
  Random(4, "w").normal(narrow, 0.02);
  EXPECT_EQ(narrow, wide.cast<float>());
  Random(4, "w").uniform(wide, -1, 1);
  Random(4, "w").uniform(narrow, -1, 1);
  EXPECT_EQ(narrow, wide.cast<float>());
}

TEST(Random, FillsRowAfterRowAndOnlyTheBlockItIsGiven) {
  Matrix<double> matrix = Matrix<double>::Zero(4, 6);
  Random random(4, "w"), same(4, "w");
  random.normal(matrix.block(1, 2, 2, 3), 1);
  for (Index row = 1; row < 3; ++row)
    for (Index col = 2; col < 5; ++col) EXPECT_EQ(matrix(row, col), same.normal());
  matrix.block(1, 2, 2, 3).setZero();
  EXPECT_TRUE(matrix.isZero(0));
}

}  // namespace
}  // namespace heed
