#include "../../bench/report/page.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "../../bench/report/drawing.hpp"
#include "../../bench/report/json.hpp"

namespace {

using report::Index;
using report::Report;
using report::Result;
using testing::HasSubstr;
using testing::Not;

Result finished(const report::Variant& variant) {
  Result result;
  result.variant = &variant;
  result.parameters = 771200;
  result.curve.losses = {5.5, 4.5, 3.5, 2.5};
  result.curve.held_out = {{2, 4.25}, {4, 2.125}};
  result.curve.finished = true;
  result.cache = {.constant = 512, .per_position = 2048, .allocated = true};
  result.agreement = report::Agreement{1e-6, 2e-6, 3e-6};
  result.prefill = 20000;
  result.decode = {{64, 1e-4}, {256, 2e-4}, {1024, 3e-4}, {2048, 4e-4}, {4096, 5e-4}};
  result.generated = "a < b && \"c\"\n";
  return result;
}

Report some_report() {
  Report report{.plan = {.steps = 4}, .variants = report::pick_variants({"standard", "svformer"})};
  report.text_name = "<a & b>.txt";
  report.commit = "0123abc";
  report.text_hash = "cbf29ce484222325";
  report.prompt = "Once ";
  report.results.push_back(finished(*report.variants[0]));
  return report;
}

/// Charts that nothing has drawn.
std::string page_without_charts(const Report& report) {
  return report::page(report, report::charts_of(report));
}

TEST(Page, escapes_what_models_write_and_what_texts_are_called) {
  const std::string page = page_without_charts(some_report());
  EXPECT_THAT(page, HasSubstr("a &lt; b &amp;&amp; &quot;c&quot;"));
  EXPECT_THAT(page, HasSubstr("&lt;a &amp; b&gt;.txt"));
  EXPECT_THAT(page, Not(HasSubstr("<a & b>")));
}

TEST(Page, says_that_one_short_run_is_not_a_ranking) {
  EXPECT_THAT(page_without_charts(some_report()), HasSubstr("not a ranking"));
  EXPECT_THAT(report::markdown_table(some_report()), HasSubstr("not a ranking"));
}

TEST(Page, shows_the_figures_it_was_given) {
  const std::string page = page_without_charts(some_report());
  for (const char* figure :
       {"771,200", "2.125", "1.0e-06", "20,000", "5,000", "2,000", "512", "2,048", "2.00", "16.00", "64.00"})
    EXPECT_THAT(page, HasSubstr(">" + std::string(figure) + "</td>"));
}

TEST(Page, has_a_dash_for_what_did_not_run) {
  Report report = some_report();
  Result& result = report.results[0];
  result.curve.losses.resize(2);
  result.curve.finished = false;
  result.agreement.reset();
  result.prefill.reset();
  result.decode.clear();
  report.interrupted = true;
  const std::string page = page_without_charts(report);
  EXPECT_THAT(page, HasSubstr("stopped at step 2 of 4"));
  EXPECT_THAT(page, HasSubstr("<td>–</td>"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
}

TEST(Page, is_whole_before_anything_ran) {
  Report report = some_report();
  report.results.clear();
  const std::string page = page_without_charts(report);
  EXPECT_THAT(page, HasSubstr("Nothing was measured yet"));
  EXPECT_THAT(page, HasSubstr("</html>"));
}

TEST(Page, says_when_variants_are_still_to_come) {
  Report report = some_report();
  EXPECT_THAT(page_without_charts(report), HasSubstr("not done yet"));
  report.results.push_back(finished(*report.variants[1]));
  EXPECT_THAT(page_without_charts(report), Not(HasSubstr("not done yet")));
}

TEST(Page, tells_a_chunked_pass_that_is_too_far_off) {
  Report report = some_report();
  report.results[0].agreement = report::Agreement{4.5e-6, 2e-6, 5e-6};
  EXPECT_THAT(page_without_charts(report), HasSubstr("More than twice is too much"));
  report.results[0].agreement = report::Agreement{4e-6, 2e-6, 4e-6};
  EXPECT_THAT(page_without_charts(report), Not(HasSubstr("More than twice is too much")));
}

TEST(Page, names_gnuplot_when_it_is_missing) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / ("heed_page_" + std::to_string(getpid()));
  std::filesystem::create_directories(folder);
  const std::string path = std::getenv("PATH") == nullptr ? "" : std::getenv("PATH");
  setenv("PATH", folder.c_str(), 1);
  Report report = some_report();
  std::vector<report::Chart> charts = report::charts_of(report);
  for (report::Chart& chart : charts) report::draw(chart, folder);
  setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(charts[0].drawn, report::Drawn::no_gnuplot);
  EXPECT_THAT(report::page(report, charts), HasSubstr("gnuplot-nox"));
  EXPECT_TRUE(std::filesystem::exists(folder / "cache.tsv"));
  EXPECT_FALSE(std::filesystem::exists(folder / "cache.svg"));
  std::filesystem::remove_all(folder);
}

TEST(Series, has_a_column_for_every_variant_and_nan_for_what_did_not_run) {
  Report report = some_report();
  report.results.push_back(finished(*report.variants[1]));
  report.results[1].curve.losses.resize(3);
  report.results[1].curve.held_out.resize(1);
  EXPECT_EQ(report::held_out_losses(report).tsv(), "step\tstandard\tsvformer\n2\t4.25\t4.25\n4\t2.125\tnan\n");
  EXPECT_THAT(report::training_losses(report).tsv(), HasSubstr("\n4\t2.5\tnan\n"));
}

TEST(Series, smooths_over_the_last_steps) {
  Report report = some_report();
  report.plan.steps = 50;  // so that two steps are one window
  const report::Series losses = report::training_losses(report);
  EXPECT_EQ(losses.columns[0], (std::vector<double>{5.5, 5.0, 4.0, 3.0}));
}

TEST(Json, takes_bytes_that_are_no_text) {
  Report report = some_report();
  report.results[0].generated = "\xFF\xFE";
  report.text_name = "caf\xE9";
  const auto json = nlohmann::json::parse(report::json_text(report));
  EXPECT_EQ(json["results"][0]["generated"], "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(json["results"][0]["cache"]["bytes_per_position"], 2048);
}

TEST(PickVariants, keeps_the_order_of_the_page) {
  const auto picked = report::pick_variants({"recurrent-mix", "standard", "standard"});
  ASSERT_EQ(picked.size(), 2u);
  EXPECT_EQ(picked[0]->key, "standard");
  EXPECT_EQ(picked[1]->key, "recurrent-mix");
}

TEST(PickVariants, names_the_menu_when_it_does_not_know_one) {
  EXPECT_THAT([] { report::pick_variants({"mamba"}); },
              testing::ThrowsMessage<std::invalid_argument>(testing::AllOf(HasSubstr("svformer"), HasSubstr("'mamba'"))));
}

}  // namespace
