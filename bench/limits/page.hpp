// The tables of a page, between the lines that mark them.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/files.hpp"
#include "../support/machine.hpp"
#include "results.hpp"

namespace limits {

/// Where figures come from, in a line.
inline std::string origin(const std::string& commit) {
  return "Commit " + commit + ", " + bench::machine() + ", " + bench::compiler() + ", " + bench::today() + ".";
}

/// Puts `text` between the lines <!-- begin: NAME --> and <!-- end: NAME --> of a file.
inline void write_between(const std::string& file, const std::string& name, const std::string& text) {
  std::string page = bench::read_file(file);
  const std::string begin = "<!-- begin: " + name + " -->\n", end = "<!-- end: " + name + " -->";
  const std::size_t from = page.find(begin), to = page.find(end);
  if (from == std::string::npos || to == std::string::npos || to < from)
    throw std::runtime_error("page: expected the lines '" + begin.substr(0, begin.size() - 1) + "' and '" + end + "' in " +
                             file + ", found them not");
  page.replace(from + begin.size(), to - from - begin.size(), "\n" + text + "\n");
  bench::write_file(file, page);
}

/// One line for every benchmark: the median of its repetitions, their deviation, and its rate if it has one.
inline std::vector<std::vector<std::string>> benchmark_cells(const std::vector<std::string>& files) {
  std::vector<std::vector<std::string>> lines{{"benchmark", "median time", "deviation", "rate"}};
  for (const std::string& file : files) {
    const auto json = nlohmann::json::parse(bench::read_file(file));
    for (const auto& run : json.at("benchmarks")) {
      const std::string aggregate = run.value("aggregate_name", "");
      if (aggregate == "cv" && lines.size() > 1 && lines.back()[0] == run.at("run_name"))
        lines.back()[2] = bench::fixed(100 * run.at("real_time").get<double>(), 0) + " %";
      if (aggregate != "median") continue;
      std::string rate;
      for (const auto& [name, value] : run.items())
        if (name.size() > 2 && name.substr(name.size() - 2) == "/s" && rate.empty())
          rate = bench::fixed(value.get<double>() / 1e9, 2) + " G " + name;
      lines.push_back({run.at("run_name"),
                       bench::printed("%.3g ", run.at("real_time").get<double>()) + run.at("time_unit").get<std::string>(),
                       std::string(bench::no_figure), rate});
    }
  }
  return lines;
}

inline void write_tables(const std::string& file, const Results& results, const std::vector<std::string>& benchmarks,
                         const std::string& commit) {
  write_between(file, "machine", markdown(machine_cells_of(results)));
  write_between(file, "limits", markdown(cells_of(results)) + "\n" + origin(commit) + "\n");
  if (!benchmarks.empty())
    write_between(file, "operations", markdown(benchmark_cells(benchmarks)) + "\n" + origin(commit) + "\n");
}

}  // namespace limits
