// The tables of a page, between the lines that mark them.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "../support/files.hpp"
#include "../support/machine.hpp"
#include "benchmarks.hpp"
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

inline void write_tables(const std::string& file, const Results& results, const std::vector<std::string>& benchmarks,
                         const std::string& commit) {
  write_between(file, "machine", markdown(machine_cells_of(results)));
  write_between(file, "limits", markdown(cells_of(results)) + "\n" + origin(commit) + "\n");
  if (!benchmarks.empty())
    write_between(file, "operations", markdown(benchmark_cells(benchmarks)) + "\n" + origin(commit) + "\n");
}

}  // namespace limits
