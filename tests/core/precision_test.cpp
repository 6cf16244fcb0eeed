#include "heed/core/precision.hpp"

#include <gtest/gtest.h>

namespace heed {
namespace {

TEST(Precision, OfAScalarIsThatScalarThroughout) {
  using P = PrecisionOf<float>;
  EXPECT_TRUE((std::is_same_v<P, Precision<float>>));
  EXPECT_TRUE(
      (std::is_same_v<P::Arithmetic, float> && std::is_same_v<P::Weight, float> && std::is_same_v<P::Cached, float>));
}

TEST(Precision, OfAPrecisionIsItself) {
  EXPECT_TRUE((std::is_same_v<PrecisionOf<Precision<double>>, Precision<double>>));
}

}  // namespace
}  // namespace heed
