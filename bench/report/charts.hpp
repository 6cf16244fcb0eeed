// The charts: tables written beside the page, drawn by gnuplot as SVG.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "files.hpp"
#include "gnuplot.hpp"
#include "series.hpp"

namespace report {

struct Chart {
  std::string name;  // of its files: name.tsv, name.gnuplot, name.svg
  std::string title;
  std::string caption;
  std::string axes;   // gnuplot commands
  std::string style;  // how a curve is drawn
  Series series;
  Drawn drawn = Drawn::failed;
  std::string svg = {};  // to stand in a page
};

namespace detail {

inline std::string quoted(std::string text) {
  replace_all(text, "'", "''");
  return "'" + text + "'";
}

inline std::string gnuplot_script(const Chart& chart, const std::filesystem::path& folder) {
  std::string script = "# Draws " + chart.name + ".svg from " + chart.name + ".tsv.\n";
  script += "cd " + quoted(folder.string()) + "\n";
  script += "set terminal svg size 860,420 dynamic font 'Helvetica,Arial,sans-serif,14' background '#ffffff' name " +
            quoted(chart.name) + "\n";
  script += "set output " + quoted(chart.name + ".svg") + "\n";
  script +=
      "set datafile separator tab\n"
      "set border 3 linecolor rgb 'black'\n"
      "set tics nomirror out scale 0.6\n"
      "set grid ytics linetype 1 linecolor rgb '#b0b0b0' linewidth 0.5\n"
      "set key outside right top Left reverse samplen 3.5 spacing 1.5 width -4\n";
  script += chart.axes + "plot \\\n";
  std::string curves;
  for (std::size_t i = 0; i < chart.series.variants.size(); ++i) {
    if (!chart.series.has_figures(i)) continue;
    const Variant& variant = *chart.series.variants[i];
    curves += (curves.empty() ? "" : ", \\\n") + std::string("  ") + quoted(chart.name + ".tsv") +
              " using 1:" + std::to_string(i + 2) + " " + chart.style + " linecolor rgb " +
              quoted(std::string(variant.colour)) + " dashtype " + std::string(variant.dashes) + " title " +
              quoted(std::string(variant.name));
  }
  return script + curves + "\n";
}

/// An SVG file as a part of a page: without the XML around it, under names of its own, in the colours of the page.
inline std::string svg_for_page(std::string svg, const std::string& name) {
  svg.erase(0, (std::min)(svg.find("<svg"), svg.size()));
  replace_all(svg, "id='", "id='" + name + "-");
  replace_all(svg, "id=\"", "id=\"" + name + "-");
  replace_all(svg, "'#", "'#" + name + "-");
  replace_all(svg, "url(#", "url(#" + name + "-");
  replace_all(svg, "fill=\"#ffffff\"", "fill=\"none\"");  // the background
  for (const std::string_view black : {"rgb(  0,   0,   0)", "rgb(0,0,0)", "\"black\""})
    replace_all(svg, black, black.front() == '"' ? "\"currentColor\"" : "currentColor");
  return svg;
}

/// A little above the largest figure from the second tenth of the steps on; what is higher belongs to the first steps.
inline double top_of(const Series& series) {
  double top = 0, bottom = 1e9;
  for (const auto& column : series.columns)
    for (std::size_t row = column.size() / 10; row < column.size(); ++row)
      if (std::isfinite(column[row])) top = (std::max)(top, column[row]), bottom = (std::min)(bottom, column[row]);
  return top + (top - bottom) / 20;
}

/// Which curves cannot be told apart, because the variants cache the same.
inline std::string coinciding(const std::vector<Result>& results) {
  std::string text;
  for (std::size_t i = 0; i < results.size(); ++i) {
    const auto same = [&](const Result& other) {
      return other.cache.at(0) == results[i].cache.at(0) && other.cache.at(1) == results[i].cache.at(1);
    };
    if (std::any_of(results.begin(), results.begin() + static_cast<std::ptrdiff_t>(i), same)) continue;
    std::string others;
    for (std::size_t j = i + 1; j < results.size(); ++j)
      if (same(results[j])) others += " and " + std::string(results[j].variant->name);
    if (!others.empty())
      text += " " + std::string(results[i].variant->name) + others + " cache the same and lie on one line.";
  }
  return text;
}

}  // namespace detail

inline std::vector<Chart> charts_of(const Report& report) {
  const std::string steps = "set xlabel 'step'\nset xrange [0:" + std::to_string(report.plan.steps) + "]\n";
  Series training = training_losses(report);
  const std::string top = fixed(detail::top_of(training), 3);
  std::vector<Chart> charts;
  charts.push_back(
      {.name = "training",
       .title = "Training loss",
       .caption = "Mean over the last " + grouped(smoothing_window(report.plan)) +
                  " steps. All variants see the same windows in the same order. A uniform guess is ln 256 = 5.55.",
       .axes = steps + "set ylabel 'nats per byte'\nset yrange [:" + top + "]\n",
       .style = "with lines linewidth 2",
       .series = std::move(training)});
  charts.push_back({.name = "held_out",
                    .title = "Held-out loss",
                    .caption = "On " + grouped(report.held_out_bytes) + " bytes that no variant has learned from.",
                    .axes = steps + "set ylabel 'nats per byte'\n",
                    .style = "with linespoints linewidth 2 pointtype 7 pointsize 0.4",
                    .series = held_out_losses(report)});
  charts.push_back({.name = "cache",
                    .title = "Cache against length",
                    .caption = "One sequence in float, without checkpoints, computed." + detail::coinciding(report.results),
                    .axes = "set xlabel 'positions in the sequence'\nset xrange [0:32768]\n"
                            "set xtics ('0' 0, '8k' 8192, '16k' 16384, '24k' 24576, '32k' 32768)\n"
                            "set ylabel 'MiB'\n",
                    .style = "with lines linewidth 2",
                    .series = cache_mebibytes(report)});
  charts.push_back({.name = "decode",
                    .title = "Decode time against length",
                    .caption = "Median time for one more token, on one thread. The axis of positions is logarithmic.",
                    .axes = "set xlabel 'positions in the sequence'\nset logscale x 2\nset xrange [60:4400]\n"
                            "set xtics ('64' 64, '256' 256, '1k' 1024, '2k' 2048, '4k' 4096)\n"
                            "set ylabel 'microseconds per token'\nset yrange [0:]\n",
                    .style = "with linespoints linewidth 2 pointtype 7 pointsize 0.4",
                    .series = decode_times(report)});
  return charts;
}

/// Writes the data, and draws if there is something to draw and something to draw with.
inline void draw(Chart& chart, const std::filesystem::path& folder) {
  write_file(folder / (chart.name + ".tsv"), chart.series.tsv());
  const std::filesystem::path svg = folder / (chart.name + ".svg");
  std::filesystem::remove(svg);
  if (chart.series.empty()) return;
  const std::filesystem::path script = folder / (chart.name + ".gnuplot");
  write_file(script, detail::gnuplot_script(chart, folder));
  chart.drawn = run_gnuplot(script, folder / "gnuplot.log");
  if (chart.drawn == Drawn::yes) chart.svg = detail::svg_for_page(read_file(svg), chart.name);
}

}  // namespace report
