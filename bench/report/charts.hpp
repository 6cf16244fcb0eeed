// The charts of the page: what they show and how. Drawing them: drawing.hpp.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

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

/// A little above the largest figure from the second tenth of the steps on; what is higher belongs to the first steps.
inline double top_of(const Series& series) {
  double top = 0, bottom = 1e9;
  for (const auto& column : series.columns)
    for (std::size_t row = column.size() / 10; row < column.size(); ++row)
      if (std::isfinite(column[row])) top = (std::max)(top, column[row]), bottom = (std::min)(bottom, column[row]);
  return top + (std::max)(0.01, (top - bottom) / 20);
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
  charts.push_back({.name = "training",
                    .title = "Training loss",
                    .caption = "All variants see the same windows in the same order. Running mean, window: " +
                               grouped(smoothing_window(report.plan)) + ". A uniform guess is ln 256 = 5.55.",
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

}  // namespace report
