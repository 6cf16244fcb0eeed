#include "heed/core/errors.hpp"

#include <gtest/gtest.h>

#include <string>

namespace heed {
namespace {

template <class Error, class F>
std::string text_thrown_by(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Fail, ThrowsWhatItIsToldTo) {
  EXPECT_THROW(fail<ConfigError>("text"), ConfigError);
  EXPECT_THROW(fail<CheckpointError>("text"), CheckpointError);
  EXPECT_THROW(fail<ShapeError>("text"), ShapeError);
}

TEST(Fail, JoinsStringsAndNumbers) {
  const std::string name = "w_q";
  EXPECT_EQ(text_thrown_by<ShapeError>(
                [&] { fail<ShapeError>(name, ": expected ", 3, " rows, found ", std::size_t(4), std::string_view(".")); }),
            "w_q: expected 3 rows, found 4.");
}

TEST(Fail, CanBeCaughtAsAnyOtherRuntimeError) {
  EXPECT_THROW(fail<ConfigError>("text"), std::runtime_error);
}

TEST(Errors, KnowTheirNames) {
  EXPECT_STREQ(ConfigError::name, "ConfigError");
  EXPECT_STREQ(CheckpointError::name, "CheckpointError");
  EXPECT_STREQ(ShapeError::name, "ShapeError");
}

}  // namespace
}  // namespace heed
