#include "../../bench/support/format.hpp"

#include <gtest/gtest.h>

#include "../../bench/support/files.hpp"

namespace {

TEST(Grouped, puts_commas_between_thousands) {
  EXPECT_EQ(bench::grouped(0), "0");
  EXPECT_EQ(bench::grouped(999), "999");
  EXPECT_EQ(bench::grouped(1000), "1,000");
  EXPECT_EQ(bench::grouped(201326592), "201,326,592");
  EXPECT_EQ(bench::grouped(-1234), "-1,234");
}

TEST(Speed, has_three_digits) {
  EXPECT_EQ(bench::speed(23456), "23,500");
  EXPECT_EQ(bench::speed(999.6), "1,000");
  EXPECT_EQ(bench::speed(1234567), "1,230,000");
  EXPECT_EQ(bench::speed(12.34), "12.3");
  EXPECT_EQ(bench::speed(0), bench::no_figure);
}

TEST(Minutes, are_those_of_a_clock) {
  EXPECT_EQ(bench::minutes(0), "0:00");
  EXPECT_EQ(bench::minutes(59.6), "1:00");
  EXPECT_EQ(bench::minutes(605), "10:05");
  EXPECT_EQ(bench::minutes(-3), "0:00");
}

TEST(Escaped, leaves_no_markup) {
  EXPECT_EQ(bench::escaped("<script>\"a\" & 'b'</script>"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;");
}

TEST(ShellWord, is_one_word_to_a_shell) {
  EXPECT_EQ(bench::shell_word("--text=a/b.txt"), "--text=a/b.txt");
  EXPECT_EQ(bench::shell_word("my text's"), "'my text'\\''s'");
  EXPECT_EQ(bench::shell_word(""), "''");
}

}  // namespace
