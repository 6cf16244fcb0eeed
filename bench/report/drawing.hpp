// Draws charts with gnuplot, as SVG files beside the page and as parts of it.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "charts.hpp"
#include "shared.hpp"

namespace report {

namespace detail {

inline std::string quoted(std::string text) {
  replace_all(text, "'", "''");
  return "'" + text + "'";
}

/// What all pictures begin with.
inline std::string picture(const std::string& name, const std::string& size, const std::filesystem::path& folder) {
  return "# Draws " + name + ".svg from the tables beside it.\ncd " + quoted(folder.string()) + "\nset terminal svg size " +
         size + " dynamic font 'Helvetica,Arial,sans-serif,14' background '#ffffff' name " + quoted(name) +
         "\nset output " + quoted(name + ".svg") +
         "\nset datafile separator tab\n"
         "set border 3 linecolor rgb 'black'\n"
         "set tics nomirror out scale 0.6\n"
         "set grid ytics linetype 1 linecolor rgb '#b0b0b0' linewidth 0.5\n";
}

inline std::string curves(const Chart& chart) {
  std::string all;
  for (std::size_t i = 0; i < chart.series.variants.size(); ++i) {
    if (!chart.series.has_figures(i)) continue;
    const Variant& variant = *chart.series.variants[i];
    all += (all.empty() ? "" : ", \\\n") + std::string("  ") + quoted(chart.name + ".tsv") +
           " using 1:" + std::to_string(i + 2) + " " + chart.style + " linecolor rgb " +
           quoted(std::string(variant.colour)) + " dashtype " + std::string(variant.dashes) + " title " +
           quoted(std::string(variant.name));
  }
  return chart.axes + "plot \\\n" + all + "\n";
}

/// Draws folder/name.svg. What gnuplot complained about, if it did, is in gnuplot.log.
inline Drawn draw(const std::string& name, const std::string& script, const std::filesystem::path& folder) {
  write_file(folder / (name + ".gnuplot"), script);
  const std::filesystem::path complaints = folder / "gnuplot.log";
  const Drawn drawn = run_gnuplot(folder / (name + ".gnuplot"), complaints);
  if (drawn != Drawn::failed) std::filesystem::remove(complaints);
  return drawn;
}

/// An SVG file as a part of a page: without the XML around it, under names of its own, in the colours of the page.
inline std::string svg_for_page(std::string svg, const std::string& name) {
  svg.erase(0, (std::min)(svg.find("<svg"), svg.size()));
  replace_all(svg, "id='", "id='" + name + "-");
  replace_all(svg, "id=\"", "id=\"" + name + "-");
  replace_all(svg, "'#", "'#" + name + "-");
  replace_all(svg, "url(#", "url(#" + name + "-");
  replace_all(svg, "fill=\"#ffffff\"", "fill=\"none\"");  // the background
  replace_all(svg, "rgb(  0,   0,   0)", "currentColor");
  replace_all(svg, "rgb(0,0,0)", "currentColor");
  replace_all(svg, "\"black\"", "\"currentColor\"");
  return svg;
}

}  // namespace detail

/// Writes the table of a chart, and draws it if there is something to draw and something to draw with.
inline void draw(Chart& chart, const std::filesystem::path& folder) {
  write_file(folder / (chart.name + ".tsv"), chart.series.tsv());
  const std::filesystem::path svg = folder / (chart.name + ".svg");
  std::filesystem::remove(svg);
  if (chart.series.empty()) return;
  const std::string key = "set key outside right top Left reverse samplen 3.5 spacing 1.5 width -4\n";
  chart.drawn =
      detail::draw(chart.name, detail::picture(chart.name, "860,420", folder) + key + detail::curves(chart), folder);
  if (chart.drawn == Drawn::yes) chart.svg = detail::svg_for_page(read_file(svg), chart.name);
}

/// Two charts side by side in one picture, for a README: overview.svg.
inline void draw_overview(const Chart& left, const Chart& right, const std::filesystem::path& folder) {
  std::filesystem::remove(folder / "overview.svg");
  if (left.drawn != Drawn::yes || right.drawn != Drawn::yes) return;
  const auto panel = [](const Chart& chart, const std::string& from, const std::string& to) {
    return "set lmargin at screen " + from + "\nset rmargin at screen " + to + "\nset title " +
           detail::quoted(chart.title) + "\n" + detail::curves(chart);
  };
  detail::draw("overview",
               detail::picture("overview", "1060,380", folder) +
                   "set multiplot\nset tmargin at screen 0.88\nset bmargin at screen 0.18\nunset key\n" +
                   panel(left, "0.085", "0.375") +
                   "set xtics autofreq\nset key at screen 0.795,0.89 left top Left reverse samplen 3.5 spacing 1.5\n" +
                   panel(right, "0.485", "0.775") + "unset multiplot\n",
               folder);
}

}  // namespace report
