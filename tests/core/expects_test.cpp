#include "heed/core/expects.hpp"

#include <gtest/gtest.h>

#include <string>

#include "heed/core/matrix.hpp"

namespace heed {
namespace {

TEST(Expects, LetsATrueConditionPassWithoutBuildingAText) {
  int conditions = 0, texts = 0;
  const auto condition = [&] { return ++conditions > 0; };
  const auto text = [&] {
    ++texts;
    return "text";
  };
  HEED_EXPECTS(ShapeError, condition(), text());
  EXPECT_EQ(conditions, 1);
  EXPECT_EQ(texts, 0);
}

TEST(Expects, ThrowsTheErrorForAFalseOne) {
  EXPECT_THROW(HEED_EXPECTS(ConfigError, 1 > 2, "one is not more than ", 2), ConfigError);
}

TEST(Expects, IsOneStatement) {
  if (false)
    HEED_EXPECTS(ShapeError, false, "not reached");
  else
    SUCCEED();
}

TEST(ExpectsShape, NamesWhatItExpectedAndWhatItFound) {
  const Matrix<float> x(2, 3);
  EXPECT_NO_THROW(detail::expects_shape("x", x, Index(2), Index(3)));
  try {
    detail::expects_shape("x", x, Index(2), Index(4));
    FAIL() << "no error for a wrong width";
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "x: expected [2 x 4], found [2 x 3]");
  }
  EXPECT_THROW(detail::expects_shape("x", x, Index(3), Index(3)), ShapeError);
}

#if defined(HEED_DEBUG_CHECKS) && !defined(NDEBUG)
TEST(DebugCheckDeathTest, StopsAtAFalseCondition) {
  EXPECT_DEATH(HEED_DEBUG_CHECK(1 > 2), "1 > 2");
}
#elif !defined(HEED_DEBUG_CHECKS)
TEST(DebugCheck, DoesNotEvaluateItsConditionWhenChecksAreOff) {
  int evaluated = 0;
  HEED_DEBUG_CHECK(++evaluated > 0);
  EXPECT_EQ(evaluated, 0);
}
#endif

}  // namespace
}  // namespace heed
