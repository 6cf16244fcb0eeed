// What can be asked on the command line.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

namespace limits {

struct Options {
  bool limits = false;
  bool check = false;
  std::string json;                     // a file, or empty
  std::string page;                     // a file, or empty
  std::vector<std::string> benchmarks;  // files that Google Benchmark wrote
  std::string rows;                     // part of the workload's name
  int threads = static_cast<int>((std::max)(1u, std::thread::hardware_concurrency()));
  std::string commit = "unknown";
};

/// Fills the options. Returns the exit status if there is nothing more to do: --help was asked, or something is wrong.
inline std::optional<int> parse(int argc, char** argv, Options& options) {
  CLI::App app(
      "Measures heed's kernels against the limits of this machine, which are measured beside them.\n"
      "Without options: builds and runs all benchmarks, and writes the tables of docs/benchmarks.md.");
  app.name("scripts/bench");
  app.add_flag("--limits", options.limits, "the table of limits and nothing else, in a few minutes");
  app.add_option("--json", options.json, "file for the table of limits: a list with one object for every row");
  app.add_option("--rows", options.rows, "only rows whose workload contains this");
  app.add_option("--threads", options.threads, "of the column for all threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_flag("--check", options.check, "small sizes: all results are checked, no time means anything");
  app.add_option("--page", options.page)->group("");  // scripts/bench says it
  app.add_option("--benchmarks", options.benchmarks)->group("");
  app.add_option("--commit", options.commit)->group("");  // and this
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

}  // namespace limits
