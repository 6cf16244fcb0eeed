#include "../../bench/report/utf8.hpp"

#include <gtest/gtest.h>

namespace {

using report::readable;
using report::why_not_text;

TEST(WhyNotText, accepts_characters_of_every_length) {
  EXPECT_EQ(
      why_not_text("a \xC2\x80 \xC3\xA9 \xE0\xA0\x80 \xE2\x82\xAC \xED\x9F\xBF \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF\n\t"), "");
}

TEST(WhyNotText, refuses_what_utf8_does_not_have) {
  for (const std::string bytes : {"\x80", "\xC3", "\xC3(", "\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xE2\x82",
                                  "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"})
    EXPECT_EQ(why_not_text("ab" + bytes), "a byte at 2 that is not UTF-8");
}

TEST(WhyNotText, refuses_a_NUL_byte) {
  EXPECT_NE(why_not_text(std::string("a\0", 2)), "");
}

TEST(Readable, keeps_text_and_replaces_what_is_none) {
  EXPECT_EQ(readable("caf\xC3\xA9\n\tok"), "caf\xC3\xA9\n\tok");
  EXPECT_EQ(readable("a\xE9z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(readable(std::string("a\0\x1B[31m\x7F", 8)), "a  [31m ");
  EXPECT_EQ(readable("cut \xE2\x82"), "cut \xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
