#include "heed/ops/sine_cosine.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "heed/core/random.hpp"

namespace heed {
namespace {

TEST(SineAndCosine, AreGoodToFourRoundingsUpToAMillion) {
  const double eps = std::numeric_limits<double>::epsilon();
  Random random(7);
  for (int i = 0; i < 20000; ++i) {
    const double size = random.uniform(-6, 6);
    const double x = (i % 2 == 0 ? 1 : -1) * std::pow(10.0, size);
    double sine, cosine;
    detail::transform(
        1, &sine, [](auto v) { return detail::sine_and_cosine(v).sine; }, &x);
    detail::transform(
        1, &cosine, [](auto v) { return detail::sine_and_cosine(v).cosine; }, &x);
    // the two roundings of the reduction, one of the polynomial, one of the library: half an eps each
    ASSERT_NEAR(sine, std::sin(x), 2 * eps * std::abs(std::sin(x))) << x;
    ASSERT_NEAR(cosine, std::cos(x), 2 * eps * std::abs(std::cos(x))) << x;
  }
}

}  // namespace
}  // namespace heed
