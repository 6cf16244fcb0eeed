// What can be asked on the command line.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

#include "plan.hpp"

namespace report {

struct Options {
  Plan plan;
  std::filesystem::path text;  // empty: this repository
  std::vector<std::string> variants;
  std::filesystem::path out;
  std::string commit = "unknown";
};

inline Options default_options(const std::filesystem::path& repository) {
  Options options;
  options.plan.threads = static_cast<int>((std::max)(1u, std::thread::hardware_concurrency()));
  options.out = repository / "build" / "report";
  return options;
}

/// Fills the options. Returns the exit status if there is nothing more to do: --help was asked, or something is wrong.
inline std::optional<int> parse(int argc, char** argv, Options& options) {
  CLI::App app("Trains heed's attention variants side by side on a text, measures them, and draws a page.");
  app.name("scripts/report");
  Plan& plan = options.plan;
  app.add_option("--text", options.text, "file or folder to learn (default: this repository's source and docs)");
  app.add_option("--variants", options.variants,
                 "some of standard, resformer, resformer-learned, svformer, score-reuse, recurrent-mix (default: all)")
      ->delimiter(',');
  app.add_flag("--quick", plan.quick, "train less: a look in under 90 seconds");
  app.add_option("--steps", plan.steps, "training steps of every variant (default: what the time allows)")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", plan.seed, "of weights, windows and samples")->capture_default_str();
  app.add_option("--threads", plan.threads, "for training and prefill; results do not depend on it")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--width", plan.width, "D")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--layers", plan.layers, "L")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--heads", plan.heads, "H")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--kv-heads", plan.kv_heads, "G, two at least: one to attend and one to recur")
      ->check(CLI::Range(2, 4096))
      ->capture_default_str();
  app.add_option("--length", plan.length, "bytes of a training window")
      ->check(CLI::Range(64, 65536))
      ->capture_default_str();
  app.add_option("--batch", plan.batch, "windows of a step")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--out", options.out, "folder of the page")->capture_default_str();
  app.add_option("--commit", options.commit)->group("");  // scripts/report says it
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return std::nullopt;
}

}  // namespace report
