#include "heed/model/sampler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "../reference/bounds.hpp"
#include "support/allocations.hpp"

namespace heed {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

Matrix<double> row(std::initializer_list<double> logits) {
  Matrix<double> row(1, static_cast<Index>(logits.size()));
  std::copy(logits.begin(), logits.end(), row.data());
  return row;
}

std::vector<Index> counts(Sampler sampler, const Matrix<double>& logits, int draws) {
  std::vector<Index> counts(static_cast<std::size_t>(logits.cols()));
  for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sampler(logits))];
  return counts;
}

// What the counts are off by, against what chance allows: chi^2 with n degrees of freedom exceeds n + 2 sqrt(n x) + 2 x
// with a probability of at most e^-x (Laurent and Massart 2000, lemma 1). x = 20: once in 4e8 seeds.
void expect_distribution(const std::vector<Index>& counts, const std::vector<double>& probabilities, int draws) {
  double chi_square = 0;
  double freedom = -1;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (probabilities[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i;
      continue;
    }
    const double expected = draws * probabilities[i];
    const double off = static_cast<double>(counts[i]) - expected;
    chi_square += off * off / expected;
    freedom += 1;
  }
  constexpr double x = 20;
  EXPECT_LE(chi_square, freedom + 2 * std::sqrt(freedom * x) + 2 * x);
}

// softmax(logits / temperature) over the k largest, by sorting.
std::vector<double> probabilities(const Matrix<double>& logits, double temperature, std::size_t k) {
  const auto at = [&](std::size_t i) { return logits(0, static_cast<Index>(i)); };
  std::vector<std::size_t> order(static_cast<std::size_t>(logits.cols()));
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return at(a) > at(b); });
  order.resize((std::min)(order.size(), k));
  std::vector<double> p(static_cast<std::size_t>(logits.cols()));
  double sum = 0;
  for (const std::size_t i : order) sum += p[i] = std::exp(at(i) / temperature);
  for (double& p_i : p) p_i /= sum;
  return p;
}

TEST(Sampler, DrawsTheSoftmaxOfTheLogits) {
  const auto logits = reference::random_matrix<double>(1, 33, "logits");
  for (const double temperature : {0.5, 1.0, 3.0})
    expect_distribution(counts(Sampler({.temperature = temperature, .seed = 3}), logits, 20000),
                        probabilities(logits, temperature, 33), 20000);
}

TEST(Sampler, DrawsAmongTheLargestLogitsOnly) {
  const auto logits = reference::random_matrix<double>(1, 33, "logits");
  for (const Index k : {1, 2, 7, 32, 33, 1000})
    expect_distribution(counts(Sampler({.top_k = k}), logits, 20000), probabilities(logits, 1, static_cast<std::size_t>(k)),
                        20000);
}

TEST(Sampler, KeepsTheLowerOfEqualLogits) {
  const auto logits = row({-1, 2, 0, 2, -0.0, 2, 0, -1});
  for (const Index k : {1, 2, 3, 4, 5, 6, 7})
    expect_distribution(counts(Sampler({.top_k = k}), logits, 5000), probabilities(logits, 1, static_cast<std::size_t>(k)),
                        5000);
}

TEST(Sampler, TakesTheLargestLogitAtTemperatureZero) {
  EXPECT_EQ(Sampler({.temperature = 0})(row({1, 3, -2, 3})), 1);
  EXPECT_EQ(Sampler({.temperature = 0})(row({nan, -5, nan})), 1);
  EXPECT_EQ(Sampler({.temperature = 1e-320})(row({1, 3, -2})), 1);
}

TEST(Sampler, IsAlmostUniformAtAnInfiniteTemperature) {
  const auto logits = row({1, -300, 20, 0});
  expect_distribution(counts(Sampler({.temperature = infinity}), logits, 5000), {0.25, 0.25, 0.25, 0.25}, 5000);
}

TEST(Sampler, NeverChoosesWhatIsNotANumber) {
  const auto logits = row({nan, 1, -infinity, 0, nan, -infinity});
  for (const Index k : {0, 1, 2, 3, 5, 6}) {
    const double other = k == 1 ? 0 : 1 / (1 + std::exp(1));
    expect_distribution(counts(Sampler({.top_k = k}), logits, 5000), {0, 1 - other, 0, other, 0, 0}, 5000);
  }
}

TEST(Sampler, AlwaysChoosesAnInfiniteLogit) {
  EXPECT_EQ(counts(Sampler(), row({7, infinity, nan, infinity}), 100)[1], 100);
}

TEST(Sampler, GivesZeroWhenThereIsNothingToChooseFrom) {
  EXPECT_EQ(Sampler()(row({-infinity, nan})), 0);
  EXPECT_EQ(Sampler()(row({nan, -infinity})), 0);
  EXPECT_EQ(Sampler({.top_k = 1})(row({nan, nan})), 0);
}

TEST(Sampler, StaysFiniteForLargeLogits) {
  expect_distribution(counts(Sampler(), row({1e308, 1e308, -1e308}), 5000), {0.5, 0.5, 0}, 5000);
}

TEST(Sampler, RepeatsItselfForTheSameSeed) {
  const auto logits = reference::random_matrix<double>(1, 256, "logits");
  const auto tokens = [&](std::uint64_t seed) {
    Sampler sampler({.seed = seed});
    std::vector<int> drawn;
    for (int i = 0; i < 20; ++i) drawn.push_back(sampler(logits));
    return drawn;
  };
  EXPECT_EQ(tokens(1), tokens(1));
  EXPECT_NE(tokens(1), tokens(2));
}

TEST(Sampler, TakesARowOfAMatrixOfFloats) {
  Matrix<float> logits = Matrix<float>::Zero(3, 5);
  logits(1, 4) = 100;
  EXPECT_EQ(Sampler({.top_k = 2})(logits.row(1)), 4);
  EXPECT_EQ(Sampler()(view_of(logits).row(1)), 4);
}

TEST(Sampler, AllocatesNothing) {
  const auto logits = reference::random_matrix<float>(1, 256, "logits");
  Sampler all, some({.top_k = 40});
  const std::size_t before = allocations_so_far();
  for (int i = 0; i < 10; ++i) static_cast<void>(all(logits) + some(logits));
  EXPECT_EQ(allocations_so_far(), before);
}

TEST(Sampler, RefusesWhatItCannotSampleFrom) {
  EXPECT_THROW(Sampler({.temperature = -1}), ConfigError);
  EXPECT_THROW(Sampler({.temperature = nan}), ConfigError);
  EXPECT_THROW(Sampler({.top_k = -1}), ConfigError);
  EXPECT_THROW(Sampler()(Matrix<float>(1, 0)), ShapeError);
  EXPECT_THROW(Sampler()(Matrix<float>(2, 3)), ShapeError);
}

}  // namespace
}  // namespace heed
