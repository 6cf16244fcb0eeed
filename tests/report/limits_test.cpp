#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "../../bench/agree.hpp"
#include "../../bench/limits/page.hpp"
#include "../../bench/limits/results.hpp"

namespace {

using limits::Measurement;
using limits::Result;
using limits::Results;
using limits::Row;
using testing::HasSubstr;

Row row(const std::string& workload, double must, double aim) {
  return {.workload = workload,
          .unit = "x",
          .must = must,
          .aim = aim,
          .rate = {},
          .limit_of = "a limit",
          .limit_unit = "GFLOP/s",
          .expected_seconds = 0,
          .prepare = {}};
}
Result measured(const Row& of, std::vector<double> figures) {
  return {.row = of, .one = Measurement{.figures = std::move(figures), .limits = {2, 3, 4}}};
}

TEST(Measurement, has_the_median_and_the_distance_of_the_quartiles) {
  const Measurement of{.figures = {1, 2, 3, 4, 10}};
  EXPECT_EQ(of.median(), 3);
  EXPECT_DOUBLE_EQ(of.spread(), 2.0 / 3);
}

TEST(Result, reaches_less_where_less_is_better) {
  EXPECT_EQ(measured(row("more", 1, 2), {0.9}).verdict(), "below");
  EXPECT_EQ(measured(row("more", 1, 2), {1.0}).verdict(), "must");
  EXPECT_EQ(measured(row("more", 1, 2), {2.5}).verdict(), "aim");
  EXPECT_EQ(measured(row("less", 3, 2.5), {3.1}).verdict(), "below");
  EXPECT_EQ(measured(row("less", 3, 2.5), {2.7}).verdict(), "must");
  EXPECT_EQ(measured(row("less", 3, 2.5), {2.5}).verdict(), "aim");
}

TEST(JsonText, has_every_row_in_order_and_says_why_one_has_no_figure) {
  const Results results{.all = {measured(row("first", 1, 2), {1.4, 1.5, 1.6}),
                                {.row = row("second", 1, 2), .why = "not on this machine: no AMX"}}};
  const auto list = nlohmann::json::parse(limits::json_text(results));
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0]["workload"], "first");
  EXPECT_EQ(list[0]["measured"], 1.5);
  EXPECT_EQ(list[0]["limit"], 3);
  EXPECT_EQ(list[0]["limit_unit"], "GFLOP/s");
  EXPECT_EQ(list[0]["must"], 1);
  EXPECT_EQ(list[0]["aim"], 2);
  EXPECT_FALSE(list[0].contains("why"));
  EXPECT_TRUE(list[1]["measured"].is_null());
  EXPECT_EQ(list[1]["limit_unit"], "GFLOP/s");
  EXPECT_EQ(list[1]["why"], "not on this machine: no AMX");
}

TEST(Agree, is_false_where_a_number_is_none) {
  using heed::bench::agree;
  const heed::Matrix<float> right = heed::Matrix<float>::Constant(2, 20, 1.5f);
  EXPECT_TRUE(agree(right, right, 1));
  for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1.6f}) {
    heed::Matrix<float> found = right;
    found(1, 3) = wrong;
    EXPECT_FALSE(agree(found, right, 1)) << wrong;
    EXPECT_FALSE(agree(right, found, 1)) << wrong;
    EXPECT_FALSE(agree({{right, right, 1}, {found, right, 1}})) << wrong;
  }
}

class MarkedPage : public testing::Test {
 protected:
  std::string path_ = testing::TempDir() + "heed_limits_page.md";
  void TearDown() override { std::filesystem::remove(path_); }
};

TEST_F(MarkedPage, keeps_what_is_outside_of_the_marks) {
  bench::write_file(path_, "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n");
  limits::write_between(path_, "x", "new\n");
  EXPECT_EQ(bench::read_file(path_), "a\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nb\n");
}

TEST_F(MarkedPage, without_marks_is_refused) {
  bench::write_file(path_, "a\n");
  EXPECT_THAT([&] { limits::write_between(path_, "x", "new\n"); },
              testing::ThrowsMessage<std::runtime_error>(HasSubstr("<!-- begin: x -->")));
  EXPECT_EQ(bench::read_file(path_), "a\n");
}

TEST_F(MarkedPage, has_a_line_for_every_benchmark_of_heeds) {
  bench::write_file(path_, R"({"benchmarks": [
    {"run_name": "attend/T:1", "aggregate_name": "mean", "real_time": 9, "time_unit": "us"},
    {"run_name": "attend/T:1", "aggregate_name": "median", "real_time": 8, "time_unit": "us", "FLOP/s": 5e9},
    {"run_name": "attend/T:1", "aggregate_name": "cv", "real_time": 0.03, "time_unit": "us"}]})");
  const auto cells = limits::benchmark_cells({path_});
  ASSERT_EQ(cells.size(), 2u);
  EXPECT_THAT(cells[1], testing::ElementsAre("`attend`", "T 1", "8.00 us", "3 %", "5.00 GFLOP/s", "–", "–", "–"));
}

TEST_F(MarkedPage, has_the_rate_that_is_nearest_to_its_limit) {
  bench::write_file(path_, R"({"benchmarks": [
    {"run_name": "attend/T:64", "aggregate_name": "median", "real_time": 8, "time_unit": "us",
     "FLOP/s": 5e9, "bytes/s": 3e9, "of the peak": 0.625, "of the read rate": 0.03},
    {"run_name": "attend/T:1", "aggregate_name": "median", "real_time": 8, "time_unit": "us",
     "FLOP/s": 5e9, "bytes/s": 3e9, "of the peak": 0.06, "of the read rate": 0.31},
    {"run_name": "add/T:1", "aggregate_name": "median", "real_time": 8, "time_unit": "us", "rows/s": 5},
    {"run_name": "scan/T:1", "aggregate_name": "median", "real_time": 8, "time_unit": "us", "steps/s": 5,
     "of the exponentials": 0.7}]})");
  const auto cells = limits::benchmark_cells({path_});
  ASSERT_EQ(cells.size(), 5u);
  EXPECT_THAT(cells[0], testing::ElementsAre("operation", "sizes", testing::_, testing::_, "rate", "of the limit",
                                             testing::_, testing::_));
  EXPECT_THAT(cells[1], testing::ElementsAre("`attend`", "T 64", "8.00 us", "0 %", "5.00 GFLOP/s", "0.62", "–", "–"));
  EXPECT_THAT(cells[2], testing::ElementsAre("`attend`", "T 1", "8.00 us", "0 %", "3.00 GB/s", "0.31", "–", "–"));
  EXPECT_THAT(cells[3], testing::ElementsAre("`add`", "T 1", "8.00 us", "0 %", "5.00 rows/s", "–", "–", "–"));
  EXPECT_THAT(cells[4], testing::ElementsAre("`scan`", "T 1", "8.00 us", "0 %", "5.00 steps/s", "0.70", "–", "–"));
}

TEST_F(MarkedPage, has_eigens_time_beside_that_of_the_same_sizes) {
  bench::write_file(path_, R"({"benchmarks": [
    {"run_name": "add/heed/T:1/D:8", "aggregate_name": "median", "real_time": 2, "time_unit": "us", "bytes/s": 12e6},
    {"run_name": "add/eigen/T:1/D:8", "aggregate_name": "median", "real_time": 5, "time_unit": "us"},
    {"run_name": "add/heed/T:2/D:8", "aggregate_name": "median", "real_time": 1, "time_unit": "ms", "rows/s": 2000},
    {"run_name": "ssd/T:2/chunk:4", "aggregate_name": "median", "real_time": 100, "time_unit": "ns"},
    {"run_name": "ssd_naive_eigen/T:2", "aggregate_name": "median", "real_time": 150, "time_unit": "ns"}]})");
  const auto cells = limits::benchmark_cells({path_});
  ASSERT_EQ(cells.size(), 4u);
  EXPECT_THAT(cells[1], testing::ElementsAre("`add`", "T 1, D 8", "2.00 us", "0 %", "12.0 MB/s", "–", "5.00 us", "2.50"));
  EXPECT_THAT(cells[2], testing::ElementsAre("`add`", "T 2, D 8", "1.00 ms", "0 %", "2.00 k rows/s", "–", "–", "–"));
  EXPECT_THAT(cells[3], testing::ElementsAre("`ssd`", "T 2, chunk 4", "0.10 us", "0 %", "–", "–", "0.15 us", "1.50"));
}

}  // namespace
