// The page: everything in one index.html that needs nothing else.
#pragma once

#include <string>
#include <vector>

#include "charts.hpp"
#include "table.hpp"

namespace report {

namespace detail {

inline constexpr std::string_view style = R"(
:root { color-scheme: light dark; --page: #ffffff; --text: #1c2128; --soft: #59636e; --line: #d8dee4; --card: #f6f8fa; --note: #fff8e1; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181d; --text: #e4e8ec; --soft: #9aa4af; --line: #333b45; --card: #1c2229; --note: #2b2613; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; }
h3 { font-size: 1rem; margin: 0 0 .2rem; }
p { margin: .4rem 0; max-width: 76ch; }
.soft, figcaption, dt, th small { color: var(--soft); }
.note { background: var(--note); border-radius: 6px; padding: .6rem .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1.2rem 0 0; font-size: .92rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; white-space: nowrap; width: 100%; }
th, td { padding: .42rem .45rem; text-align: right; border-bottom: 1px solid var(--line); }
thead th { font-weight: 600; vertical-align: bottom; }
thead small { display: block; font-weight: 400; }
thead tr:first-child th[colspan] { text-align: center; }
tbody th { text-align: left; font-weight: 600; }
.first { border-left: 1px solid var(--line); }
.chip { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .5em; }
figure { margin: 0 0 2rem; max-width: 900px; }
figure h3 { font-size: 1.05rem; }
figcaption { font-size: .9rem; }
figure svg { display: block; min-width: 640px; width: 100%; height: auto; }
.sample { margin: 1.1rem 0; }
pre { background: var(--card); border-radius: 6px; padding: .8rem 1rem; margin: .4rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre .soft { font-style: normal; }
code { font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
a { color: inherit; }
ul.variants { list-style: none; margin: 0; padding: 0; }
ul.variants li { margin: .5rem 0; }
)";

inline std::string chip(const Variant& variant) {
  const std::string colour = variant.colour == "black" ? "currentColor" : std::string(variant.colour);
  return "<span class=\"chip\" style=\"background:" + colour + "\"></span>";
}

/// Whether a column is the first of several of one subject.
inline bool begins_group(const std::vector<Column>& all, std::size_t i) {
  const auto same = [&](std::size_t other) { return other < all.size() && all[other].subject == all[i].subject; };
  return same(i + 1) && !(i > 0 && same(i - 1));
}

inline std::string html_table(const Report& report) {
  const std::vector<Column> all = columns();
  const auto unit = [](const Column& column) {
    return column.unit.empty() ? "" : "<small>" + escaped(column.unit) + "</small>";
  };
  std::string top, below;
  for (std::size_t i = 0; i < all.size();) {
    std::size_t end = i + 1;
    while (end < all.size() && all[end].subject == all[i].subject) ++end;
    if (end == i + 1) top += "<th rowspan=\"2\">" + escaped(all[i].title()) + unit(all[i]) + "</th>";
    if (end > i + 1)
      top += "<th class=\"first\" colspan=\"" + std::to_string(end - i) + "\">" + escaped(all[i].subject) + "</th>";
    for (std::size_t j = i; end > i + 1 && j < end; ++j)
      below += std::string(j == i ? "<th class=\"first\">" : "<th>") + escaped(all[j].detail) + unit(all[j]) + "</th>";
    i = end;
  }
  std::string html = "<div class=\"wide\"><table><thead><tr><th rowspan=\"2\" style=\"text-align:left\">Variant</th>" +
                     top + "</tr><tr>" + below + "</tr></thead><tbody>\n";
  for (const Result& result : report.results) {
    html += "<tr><th scope=\"row\">" + chip(*result.variant) + escaped(result.variant->name) + "</th>";
    for (std::size_t i = 0; i < all.size(); ++i)
      html += std::string(begins_group(all, i) ? "<td class=\"first\">" : "<td>") + escaped(all[i].cell(result)) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

inline std::string note(std::string_view text) {
  return "<p class=\"note\">" + escaped(text) + "</p>\n";
}

inline std::string fact(std::string_view name, const std::string& value) {
  return "<dt>" + std::string(name) + "</dt><dd>" + escaped(value) + "</dd>\n";
}

inline std::string html_facts(const Report& report) {
  const Plan& plan = report.plan;
  const auto number = [](Index n) { return grouped(n); };
  std::string html = "<dl>\n";
  html += fact("Commit", report.commit);
  html += fact("Text", report.text_name + ": " + number(report.text_bytes) + " bytes" +
                           (report.text_files == 1 ? "" : " in " + number(report.text_files) + " files") +
                           (report.text_skipped == 0 ? "" : ", " + number(report.text_skipped) + " skipped") +
                           ", FNV-1a 64 " + report.text_hash);
  html += fact("Held out", "the last 10 %; losses are on the first " + number(report.held_out_bytes) + " bytes of it");
  html += fact("Model", number(plan.layers) + " layers, width " + number(plan.width) + ", " + number(plan.heads) +
                            " heads, " + number(plan.kv_heads) + " kv heads, bytes as tokens (vocabulary 256), float");
  html += fact("Training", number(plan.steps) + " steps of " + number(plan.batch) + " × " + number(plan.length) +
                               " bytes (" + report.steps_chosen + "), AdamW, seed " + std::to_string(plan.seed));
  html +=
      fact("Machine", report.machine + "; " + std::to_string(plan.threads) + " for training and prefill, 1 for decoding");
  html += fact("Compiler", report.compiler);
  html += fact("When", report.date + ", " + minutes(report.seconds) + " minutes");
  html += fact("The same again", report.command);
  return html + "</dl>\n";
}

inline std::string html_chart(const Chart& chart) {
  std::string html = "<figure><h3>" + escaped(chart.title) + "</h3>\n<div class=\"wide\">" + chart.svg + "</div>\n";
  if (chart.series.empty()) html += note("Nothing was measured yet.");
  return html + "<figcaption>" + escaped(chart.caption) + " <a href=\"" + chart.name + ".tsv\">" + chart.name +
         ".tsv</a></figcaption></figure>\n";
}

inline std::string html_charts(const std::vector<Chart>& charts) {
  bool missing = false, failed = false;
  for (const Chart& chart : charts) {
    missing = missing || chart.drawn == Drawn::no_gnuplot;
    failed = failed || (chart.drawn == Drawn::failed && !chart.series.empty());
  }
  std::string html = "<h2>Charts</h2>\n";
  if (missing)
    html += note(
        "The charts are missing: they are drawn by gnuplot, which was not found. Install it (Debian and Ubuntu: "
        "gnuplot-nox) "
        "and run the report again. The data they would show are here:");
  if (failed)
    html += "<p class=\"note\">A chart is missing: gnuplot failed. <a href=\"gnuplot.log\">gnuplot.log</a> says why.</p>\n";
  for (const Chart& chart : charts) html += html_chart(chart);
  return html;
}

inline std::string html_samples(const Report& report) {
  std::string html =
      "<h2>What they write</h2>\n<p>After the held-out beginning, in <span class=\"soft\">grey</span>; temperature "
      "0.8, of the 40 likeliest bytes, seed " +
      std::to_string(report.plan.seed) + ".</p>\n";
  for (const Result& result : report.results) {
    if (result.generated.empty()) continue;
    html += "<div class=\"sample\"><h3>" + chip(*result.variant) + escaped(result.variant->name) +
            "</h3><pre><span class=\"soft\">" + escaped(readable(report.prompt)) + "</span>" +
            escaped(readable(result.generated)) + "</pre></div>\n";
  }
  return html;
}

inline std::string html_variants(const Report& report) {
  std::string html = "<h2>The variants</h2>\n<ul class=\"variants\">\n";
  for (const Variant* variant : report.variants)
    html += "<li>" + chip(*variant) + "<b>" + escaped(variant->name) + "</b> <code>" + escaped(variant->key) + "</code>. " +
            escaped(variant->sentence) + " <span class=\"soft\">" + escaped(variant->source) + "</span></li>\n";
  return html + "</ul>\n";
}

inline std::string html_notes(const Report& report) {
  std::string html;
  if (report.interrupted)
    html += note("The report was stopped before its end. What had run is here.");
  else if (report.results.size() < report.variants.size())
    html += note("The report is not done yet: this page is written anew after every variant.");
  for (const Result& result : report.results) {
    const std::string name(result.variant->name);
    if (!result.curve.finished)
      html +=
          note(name + " was stopped at step " + grouped(result.curve.steps()) + " of " + grouped(report.plan.steps) + ".");
    if (result.agreement && !result.agreement->holds())
      html += note(name + ": the chunked pass is " + scientific(result.agreement->chunked_double) +
                   " from the same model in double, the whole pass " + scientific(result.agreement->whole_double) +
                   ". More than twice is too much, so its speeds were not timed.");
    if (!result.cache.allocated) html += note(name + ": the cache that was made has other sizes than those computed.");
  }
  return html;
}

}  // namespace detail

inline std::string page(const Report& report, const std::vector<Chart>& charts) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>heed: variants side by "
      "side</title>\n"
      "<style>" +
      std::string(detail::style) +
      "</style></head>\n<body><main>\n"
      "<h1>heed: attention variants side by side</h1>\n"
      "<p>The same text, the same sizes, the same seed, the same number of steps. "
      "<b>One short run of small models is not a ranking.</b> It shows that the variants learn, what they cost, and what "
      "they cache.</p>\n";
  html += detail::html_notes(report);
  html += detail::html_facts(report);
  html += "<h2>Figures</h2>\n" + detail::html_table(report);
  html +=
      "<p class=\"soft\">Chunked − whole: the same text in chunks of 1 to 64 bytes and in one call, the largest "
      "difference of "
      "any logit; it must stay within twice what float loses against double. Prefill: one call of " +
      grouped(report.plan.prefill_rows()) +
      " tokens. Cache: float, one sequence, no checkpoints. The same as <a href=\"results.md\">Markdown</a> and "
      "<a href=\"results.json\">JSON</a>.</p>\n";
  html += detail::html_charts(charts);
  html += detail::html_samples(report);
  html += detail::html_variants(report);
  return html + "</main></body></html>\n";
}

}  // namespace report
