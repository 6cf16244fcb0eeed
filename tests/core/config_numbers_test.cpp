#include "heed/core/config_numbers.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "support/error_text.hpp"

namespace heed {
namespace {

const double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();

TEST(ConfigNumbers, AreSizesThatCanBeCounted) {
  const auto refusal = [](Index size) {
    return error_text<ConfigError>([&] { detail::expects_size("layer 3", "taps", size, 1); });
  };
  EXPECT_EQ(refusal(1), "no error");
  EXPECT_EQ(refusal(largest_size), "no error");
  EXPECT_EQ(refusal(0), "layer 3: taps: expected 1 or more, found 0");
  EXPECT_EQ(refusal(largest_size + 1), "layer 3: taps: expected at most 1048576, found 1048577");
}

TEST(ConfigNumbers, AreFiniteInFloatToo) {
  for (const double number : {0.0, -2.5, 1e30, -1e30}) EXPECT_NO_THROW(detail::expects_number("", "scale", number));
  for (const double number : {2e30, -2e30, infinity, -infinity, nan})
    EXPECT_THROW(detail::expects_number("", "scale", number), ConfigError);
  EXPECT_EQ(error_text<ShapeError>([] { detail::expects_number<ShapeError>("attend", "scale", nan); }),
            "attend: scale: expected a finite number of at most 1e30, found nan");
}

TEST(ConfigNumbers, AreEpsilonsAboveZero) {
  for (const double number : {1e-30, 1e-5, 1.0}) EXPECT_NO_THROW(detail::expects_epsilon("", "epsilon", number));
  for (const double number : {0.0, -1.0, infinity, nan, 1e-31})
    EXPECT_THROW(detail::expects_epsilon("", "epsilon", number), ConfigError);
}

TEST(ConfigNumbers, AreCapsThatScoresCanBeDividedBy) {
  for (const double number : {0.0, 1e-6, 50.0, 1e30}) EXPECT_NO_THROW(detail::expects_soft_cap("", number));
  for (const double number : {-1.0, 1e-7, 1e39, infinity, nan})
    EXPECT_THROW(detail::expects_soft_cap("", number), ConfigError);
  static_assert(1e30f / 1e-6f < std::numeric_limits<float>::max());
}

}  // namespace
}  // namespace heed
